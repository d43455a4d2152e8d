//! A collector that is dead, or hangs: jobs go on, nothing grows, and it is counted.

use crate::work_off;
use forebay::{Failure, Job, Outgoing, Sink, testing::MemoryQueue};
use forebay_telemetry::{About, Otlp, Protocol, Telemetry};
use std::{
    future::Future,
    io, mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// More than may wait for the exporter.
const MESSAGES: usize = 3000;

async fn done(_: Job<u32>) -> Result<(), Failure> {
    Ok(())
}

async fn filled() -> MemoryQueue {
    let queue = MemoryQueue::new();
    let batch: Vec<_> = (0..MESSAGES).map(|n| Outgoing::new(n.to_string())).collect();
    for result in queue.publish(&batch).await {
        result.unwrap();
    }
    queue
}

fn sum(telemetry: &Telemetry, name: &str, labels: &[&str]) -> f64 {
    let text = telemetry.render();
    let lines = text.lines().filter(|line| line.starts_with(name));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A log that tests can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until `found` finds something, for as long as a busy machine may take.
async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut found: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_stops_no_job_and_is_told_of_once() {
    // A port on which nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // The exporters' threads log by the program's subscriber, which is this test's.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    for protocol in [Protocol::Grpc, Protocol::Http] {
        log.0.lock().unwrap().clear();
        let otlp = Otlp {
            endpoint: Some(format!("http://{free}")),
            protocol,
            interval: Some(Duration::from_millis(50)),
            timeout: Some(Duration::from_secs(1)),
            ..Otlp::default()
        };
        let about = About::new("rabbitmq", "orders");
        let telemetry = Telemetry::builder(about).sample(1.0).otlp(otlp).build().unwrap();
        let queue = filled().await;
        work_off(&queue, &telemetry, |builder| builder.handler(done)).await;
        let handled = sum(&telemetry, "forebay_messages_handled_total", &["done"]);
        assert_eq!(handled, MESSAGES as f64);
        eventually("exports of both signals have failed, more than once", || async {
            let failed = |signal| {
                sum(&telemetry, "forebay_telemetry_exports_total", &["failed", signal]) > 1.0
            };
            (failed("metrics") && failed("traces")).then_some(())
        })
        .await;
        let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(told.matches("cannot send metrics by OTLP").count(), 1, "{told}");
        assert_eq!(told.matches("cannot send traces by OTLP").count(), 1, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_spans_and_no_jobs() {
    // It takes connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let otlp = Otlp {
        endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
        timeout: Some(Duration::from_secs(600)),
        ..Otlp::default()
    };
    let about = About::new("rabbitmq", "orders");
    let telemetry = Telemetry::builder(about).sample(1.0).otlp(otlp).build().unwrap();
    let (queue, begun) = (filled().await, Instant::now());
    work_off(&queue, &telemetry, |builder| builder.handler(done)).await;
    assert!(begun.elapsed() < Duration::from_secs(300), "the timeout was waited for");
    let dropped = sum(&telemetry, "forebay_telemetry_spans_total", &["dropped"]);
    // A span for each call, and one for each verdict; two batches may be on their way.
    let most = (2 * MESSAGES + MESSAGES) as f64;
    let kept = 2048.0 + 2.0 * 512.0;
    assert!(dropped >= 2.0 * MESSAGES as f64 - kept && dropped <= most, "{dropped}");
    assert_eq!(sum(&telemetry, "forebay_messages_handled_total", &["done"]), MESSAGES as f64);
    // It hangs for as long as the process lives, and says nothing into the log of the other test.
    mem::forget((listener, telemetry));
}
