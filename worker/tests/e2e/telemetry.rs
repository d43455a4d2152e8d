//! `[telemetry]`: what the binary sends arrives at a real OTLP receiver; and where that is in trouble,
//! jobs go on and the worker says so once.

#[path = "../../../core/telemetry/tests/otlp/collector.rs"]
#[allow(unreachable_pub, reason = "it belongs to two tests")]
mod collector;

use crate::{
    asking::Port,
    bench::{Bench, wait_until},
    brokers_at::{Broker, fresh},
    https::Authority,
    server::Server,
};
use collector::{Collector, TOKEN, text};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::transport::{Identity, Server as Grpc, ServerTlsConfig};

/// What a producer has begun, in hexadecimal.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER: &str = "b7ad6b7169203331";

/// A collector under way; gone when it is dropped.
struct Running {
    collector: Collector,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Running {
    /// Over gRPC, at `address`, which may have port 0.
    fn at(address: SocketAddr, server: Grpc) -> Self {
        let (collector, runtime) = (Collector::default(), Runtime::new().unwrap());
        let address = runtime.block_on(async {
            collector.grpc_on(TcpListener::bind(address).await.unwrap(), server)
        });
        Self { collector, address, _runtime: runtime }
    }

    fn start() -> Self {
        let (collector, runtime) = (Collector::default(), Runtime::new().unwrap());
        let url = runtime.block_on(collector.grpc());
        let address = url.trim_start_matches("http://").parse().unwrap();
        Self { collector, address, _runtime: runtime }
    }

    fn has(&self, metric: &str) -> bool {
        self.collector.metric(metric).is_some()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans of the producer's trace with this name, oldest first.
fn spans(collector: &Collector, name: &str) -> Vec<Span> {
    let mut spans = collector.spans();
    spans.retain(|span| span.name == name && hex(&span.trace_id) == TRACE);
    spans.sort_by_key(|span| span.start_time_unix_nano);
    spans
}

fn send_traced(bench: &Bench, payload: &str) {
    let traceparent = format!("traceparent=00-{TRACE}-{PRODUCER}-01");
    let headers = ["--header", &traceparent, "--header", "baggage=tenant=blue"];
    let args = [&["send", "--config", "w.toml", "--raw"][..], &headers, &[payload]].concat();
    bench.forebay(&args).ok();
}

/// Sums the samples of a metric that have all of these labels.
fn sum(port: &Port, name: &str, labels: &[&str]) -> f64 {
    let body = port.get("/metrics").body;
    let lines = body.lines().filter(|line| line.starts_with(name));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// What the page says of the worker.
fn states(port: &Port) -> Vec<String> {
    let status: Value = serde_json::from_str(&port.get("/api/status").body).unwrap();
    let states = status["states"].as_array().unwrap().iter();
    states.map(|state| state["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_trace_goes_from_the_producer_over_a_retry_to_the_ack_and_on_to_the_server() {
    let running = Running::start();
    let down = AtomicBool::new(true);
    let server = Server::start(move |request, _| {
        let fails = request.body == "1" && down.swap(false, Ordering::Relaxed);
        (if fails { 503 } else { 200 }, "", String::new())
    });
    let bench = Bench::with_handler(&format!(
        "[handler.http]\nurl = 'http://{}/'\n\
         [telemetry]\nendpoint = 'http://{}'\nprotocol = 'grpc'\nsample = 0\nservice = 'keeper'\n\
         interval = '100ms'\nheaders = {{ {TOKEN} = {{ file = 'token' }} }}",
        server.address, running.address
    ));
    bench.write("token", "hush-hush\n");
    let check = bench.forebay(&["check", "w.toml"]).ok();
    let sent = format!(
        "OTLP over gRPC to http://{}, sampling 0 of new traces, {TOKEN}: ***",
        running.address
    );
    assert!(check.contains(&sent) && !check.contains("hush"), "{check}");

    send_traced(&bench, "1");
    // Of what begins here, no trace is recorded.
    bench.send(&["2"]);
    let worker = bench.run();
    bench.wait_until_empty();
    wait_until("the broker's word has arrived", || running.has("forebay.backlog"));
    let done = worker.stop();
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(!done.stderr.contains("hush") && !done.stderr.contains("WARN"), "{done:#?}");

    let collector = &running.collector;
    let process = spans(collector, "process orders");
    let outcome = |span: &Span| text(&span.attributes, "forebay.outcome").unwrap();
    assert_eq!(process.iter().map(outcome).collect::<Vec<_>>(), ["transient", "done"]);
    for (span, verdict) in process.iter().zip(["retry orders", "ack orders"]) {
        assert_eq!(hex(&span.parent_span_id), PRODUCER);
        let [verdict] = &spans(collector, verdict)[..] else { panic!("not once: {verdict}") };
        assert_eq!(verdict.parent_span_id, span.span_id);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let ours: Vec<_> = requests.iter().filter(|it| it.body == "1").collect();
    assert_eq!(ours.len(), process.len());
    for (request, span) in ours.iter().zip(&process) {
        let expected = format!("00-{TRACE}-{}-01", hex(&span.span_id));
        assert_eq!(request.headers["traceparent"], expected);
        assert_eq!(request.headers["baggage"], "tenant=blue");
    }
    let theirs = requests.iter().find(|it| it.body == "2").unwrap();
    assert!(theirs.headers["traceparent"].ends_with("-00"), "{theirs:?}");
    assert!(collector.spans().iter().all(|span| hex(&span.trace_id) == TRACE));

    assert!(running.has("messaging.client.consumed.messages"));
    assert!(running.has("messaging.process.duration"));
    assert!(collector.services().iter().all(|name| name == "keeper"));
    let tokens = collector.tokens();
    assert!(!tokens.is_empty() && tokens.iter().all(|token| token == "hush-hush"), "{tokens:?}");
}

#[test]
fn what_the_config_leaves_out_the_environment_says() {
    let (collector, runtime) = (Collector::default(), Runtime::new().unwrap());
    let address = runtime.block_on(collector.http());
    let bench = Bench::with_handler("[handler.stdout]");
    bench.send(&["1"]);
    let header = format!("{TOKEN}=hush-hush");
    let worker = bench.run_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &address),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", &header),
        ("OTEL_SERVICE_NAME", "keeper"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ]);
    bench.wait_until_empty();
    wait_until("metrics arrive", || collector.metric("forebay.messages.handled").is_some());
    assert_eq!(worker.stop().code, Some(0));
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
    for name in ["receive orders", "process orders", "ack orders"] {
        assert!(names.iter().any(|it| it == name), "{names:?}");
    }
    assert!(collector.services().iter().all(|name| name == "keeper"));
    let tokens = collector.tokens();
    assert!(!tokens.is_empty() && tokens.iter().all(|token| token == "hush-hush"), "{tokens:?}");

    let wrong = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "it is no URL of http or https"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "`http/json` is not spoken here"),
    ];
    for (name, value, why) in wrong {
        let worker = bench.run_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address), (name, value)]);
        let said = worker.ended().err(2);
        assert!(said.contains(&format!("{name}: {why}")), "{said}");
    }
}

#[test]
fn grpc_speaks_tls_to_whom_the_system_trusts() {
    let authority = Authority::new();
    let (certificate, key) = authority.certificate("127.0.0.1");
    let identity = Identity::from_pem(certificate, key);
    let tls = Grpc::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    let running = Running::at(([127, 0, 0, 1], 0).into(), tls);
    let bench = Bench::with_handler(&format!(
        "[handler.stdout]\n[telemetry]\nendpoint = 'https://127.0.0.1:{}'\nsample = 1\n\
         interval = '100ms'",
        running.address.port()
    ));
    bench.write("ca.pem", &authority.pem());
    bench.send(&["1"]);
    let trusted = bench.path("ca.pem");
    let worker = bench.run_with(&[("SSL_CERT_FILE", trusted.to_str().unwrap())]);
    wait_until("metrics arrive", || running.has("forebay.messages.handled"));
    assert_eq!(worker.stop().code, Some(0));
    assert!(!running.collector.spans().is_empty());

    let worker = bench.run();
    wait_until("it is not trusted", || bench.read("run.err").contains("cannot send metrics"));
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn kafkas_consumer_group_is_named() {
    let (bench, topic) = (Bench::new(), fresh("group"));
    let keys = Broker::Kafka.keys(&topic);
    let rest = "[handler.stdout]\n[admin]\nlisten = '127.0.0.1:0'\n";
    bench.write("w.toml", &format!("[source.kafka]\n{keys}group = 'keepers-{topic}'\n{rest}"));
    bench.send(&["1"]);
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    let labels = [
        format!("messaging_consumer_group_name=\"keepers-{topic}\""),
        format!("messaging_destination_name=\"{topic}\""),
    ];
    let labels = labels.each_ref().map(String::as_str);
    let consumed = || sum(&port, "messaging_client_consumed_messages_total", &labels);
    wait_until("it is counted for its group", || consumed() >= 1.0);
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn a_collector_that_goes_stops_no_job_and_is_told_of_once_each_time() {
    let running = Running::start();
    let address = running.address;
    let bench = Bench::with_handler(&format!(
        "[handler.stdout]\n[admin]\nlisten = '127.0.0.1:0'\n\
         [telemetry]\nendpoint = 'http://{address}'\nsample = 1\ninterval = '100ms'"
    ));
    let worker = bench.run_with(&[("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let port = Port::of(&bench, "run.err");
    bench.send(&["1"]);
    wait_until("metrics arrive", || running.has("forebay.messages.handled"));
    let said = |what: &str| bench.read("run.err").matches(what).count();
    assert_eq!(said("WARN"), 0);

    drop(running);
    let mut expected = "1\n".to_owned();
    for outage in 1..=2 {
        let payload = (outage + 1).to_string();
        let exports = |signal| sum(&port, "forebay_telemetry_exports_total", &["failed", signal]);
        let before = (exports("metrics"), exports("traces"));
        bench.send(&[&payload]);
        expected = format!("{expected}{payload}\n");
        wait_until("jobs go on", || bench.read("run.out") == expected);
        wait_until("it has failed, more than once", || {
            exports("metrics") > before.0 + 1.0 && exports("traces") > before.1
        });
        for signal in ["metrics", "traces"] {
            assert_eq!(said(&format!("cannot send {signal} by OTLP")), outage);
            let line = format!("{signal} cannot be sent by OTLP");
            wait_until("the probe says so", || port.get("/health/ready").body.contains(&line));
        }
        wait_until("so does the page", || states(&port) == ["running", "unsent"]);
        // Nobody else says so too.
        assert_eq!(said("WARN") + said("ERROR"), 2 * outage, "{}", bench.read("run.err"));
        assert!(sum(&port, "forebay_telemetry_spans_total", &["failed"]) >= outage as f64);
        assert!(port.is("ready") && port.is("live"));

        let _back = Running::at(address, Grpc::builder());
        bench.send(&["back"]);
        expected.push_str("back\n");
        wait_until("it is well", || {
            let well = |signal: &str| said(&format!("{signal} are sent by OTLP again")) == outage;
            well("metrics") && well("traces")
        });
        wait_until("the page is content", || states(&port) == ["running"]);
        wait_until("so is the probe", || port.get("/health/ready").body == "ready\n");
    }
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn a_collector_that_hangs_costs_spans_which_are_counted_and_no_job() {
    // It takes connections, and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::with_handler(&format!(
        "[handler.stdout]\n[admin]\nlisten = '127.0.0.1:0'\n\
         [telemetry]\nendpoint = 'http://{}'\nsample = 1",
        listener.local_addr().unwrap()
    ));
    let jobs: String = (0..2500).map(|n| format!("{n}\n")).collect();
    bench.forebay_with(&["send", "--config", "w.toml", "--raw", "-"], &jobs).ok();
    let worker = bench.run_with(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")]);
    let port = Port::of(&bench, "run.err");
    wait_until("all is done", || bench.read("run.out").lines().count() == 2500);
    bench.wait_until_empty();
    // A span for each call and for each verdict; 2,048 may wait, and a batch of 512 is on its way.
    let dropped = sum(&port, "forebay_telemetry_spans_total", &["dropped"]);
    assert!(dropped >= 5000.0 - 2048.0 - 512.0, "{dropped}");
    assert!(port.is("ready") && port.is("live"));
    let done = worker.stop();
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(done.stderr.contains("the last metrics or traces could not be sent"), "{done:#?}");
}
