//! The admin port: what it says, to whom, and that nothing about it stops a job.

use crate::{
    asking::Port,
    bench::{Bench, Worker, wait_until},
};
use rustix::process::Signal;
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

/// A worker with an admin port, and more in its config.
fn start(more: &str) -> (Bench, Worker, Port) {
    let bench = Bench::new();
    let listen = if more.contains("[admin]") { "" } else { "[admin]\nlisten = '127.0.0.1:0'" };
    bench.config("", &format!("[handler.stdout]\n{listen}\n{more}"));
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    (bench, worker, port)
}

#[test]
fn it_tells_how_much_is_waiting_and_how_many_workers_that_takes() {
    let bench = Bench::new();
    bench.config(
        "concurrency = 1",
        "[handler.command]\nprogram = 'sh'\nargs = ['-c', 'while [ ! -e go ]; do sleep 0.02; done']\n\
         [admin]\nlisten = '127.0.0.1:0'\npoll = '100ms'",
    );
    bench.send(&["1", "2", "3", "4", "5"]);
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    wait_until("the backlog is read", || port.scale()["backlog"] == 5);
    wait_until("it is busy", || port.scale()["worker"]["busy"].as_f64() > Some(0.9));
    let scale = port.scale();
    assert_eq!(scale["queue"], "orders");
    assert_eq!((&scale["ready"], &scale["leased"]), (&1.into(), &4.into()), "{scale}");
    assert!(scale["oldest_age_seconds"].as_f64() > Some(0.0), "{scale}");
    assert_eq!((&scale["workers"], &scale["trouble"]), (&1.into(), &().into()), "{scale}");
    // Nothing has been handled: how fast a worker is, nobody can know.
    assert_eq!((&scale["desired_workers"], &scale["because"]), (&1.into(), &"learning".into()));
    assert!(port.is("ready") && port.is("live"));

    bench.write("go", "");
    wait_until("all is done", || port.scale()["worker"]["handled"] == 5);
    wait_until("nothing waits", || port.scale()["backlog"] == 0);
    let metrics = port.get("/metrics");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{metrics:?}");
    let sample = "forebay_scale_backlog_messages{queue=\"orders\"} 0\n";
    assert!(metrics.body.contains(sample), "{metrics:?}");
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn a_worker_that_drains_is_live_and_not_ready() {
    let bench = Bench::new();
    bench.config(
        "concurrency = 1",
        "[handler.command]\nprogram = 'sh'\n\
         args = ['-c', 'echo started >> log; while [ ! -e go ]; do sleep 0.02; done']\n\
         [admin]\nlisten = '127.0.0.1:0'",
    );
    bench.send(&["1"]);
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    wait_until("it is ready", || port.is("ready"));
    wait_until("it has started", || bench.read("log") == "started\n");
    worker.signal(Signal::TERM);
    wait_until("it is not ready", || !port.is("ready"));
    let ready = port.get("/health/ready");
    assert_eq!((ready.status, &*ready.body), (503, "not ready\nit drains\n"));
    assert!(port.is("live"));
    wait_until("it is no longer counted", || port.scale()["workers"] == 0);
    bench.write("go", "");
    assert_eq!(worker.ended().code, Some(0));
}

#[test]
fn a_port_that_is_taken_is_an_error_at_start_and_takes_no_message() {
    let (_other, _worker, port) = start("");
    let bench = Bench::new();
    bench.config("", &format!("[handler.stdout]\n[admin]\nlisten = '{}'", port.address));
    bench.send(&["1"]);
    let done = bench.run().ended();
    assert_eq!(done.code, Some(2), "{done:#?}");
    let expected = format!("w.toml:12: admin.listen: cannot listen on {}: ", port.address);
    assert!(done.stderr.contains(&expected), "{done:#?}");
    assert!(done.stderr.contains("help: give each worker of a machine a port"), "{done:#?}");
    assert_eq!((done.stdout.as_str(), &bench.depth()["ready"]), ("", &1.into()));
}

#[test]
fn who_has_no_token_learns_nothing_but_whether_it_lives() {
    let token = "correct-horse-battery-staple";
    let (bench, worker, port) =
        start(&format!("[admin]\nlisten = '0.0.0.0:0'\ntoken = '{token}'\n"));
    let port = port.at_loopback();
    wait_until("it is ready", || port.is("ready"));
    assert!(port.is("live"));
    for path in ["/scale", "/metrics"] {
        for asks in [port.clone(), port.with("authorization: Bearer wrong-horse-battery-staple")] {
            let reply = asks.get(path);
            assert_eq!(reply.status, 401, "{path}: {reply:?}");
            assert!(reply.head.contains("www-authenticate: bearer"), "{reply:?}");
            assert!(!reply.body.contains("orders"), "{reply:?}");
        }
    }
    let known = port.with(&format!("authorization: Bearer {token}"));
    assert_eq!(known.scale()["queue"], "orders");
    // With a token, it may be asked by any name: a browser never adds the token by itself.
    assert_eq!(known.with("host: workers.example").get("/scale").status, 200);
    for path in ["/scale", "/metrics", "/health/ready"] {
        assert!(!known.get(path).body.contains("horse"), "{path} shows the token");
    }
    assert_eq!(worker.stop().code, Some(0));
    assert!(!bench.read("run.err").contains("horse"));
}

#[test]
fn a_foreign_web_page_is_not_answered() {
    let (_bench, worker, port) = start("");
    assert_eq!(port.get("/scale").status, 200);
    for host in ["evil.example", "localhost.evil.example"] {
        assert_eq!(port.with(&format!("host: {host}")).get("/scale").status, 421);
    }
    let posted = |port: &Port| port.ask("POST", "/scale").status;
    assert_eq!(posted(&port), 405, "it reaches the route");
    for header in ["origin: http://evil.example", "origin: null", "sec-fetch-site: cross-site"] {
        assert_eq!(posted(&port.with(header)), 403, "{header}");
    }
    let headers = port.get("/scale").head;
    for header in ["cache-control: no-store", "x-frame-options: deny", "nosniff"] {
        assert!(headers.contains(header), "{headers}");
    }
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn clients_that_hang_or_pour_stop_neither_probes_nor_jobs() {
    let (bench, worker, port) = start("");
    // More than there may be: they connect, and say nothing, or half of something.
    let mut hanging: Vec<TcpStream> = (0..100)
        .map(|n| {
            let mut stream = TcpStream::connect(port.address).unwrap();
            if n % 2 == 0 {
                let _ = stream.write_all(b"GET /scale HTTP/1.1\r\nhost: ");
            }
            stream
        })
        .collect();
    wait_until("it is ready", || port.is("ready"));
    // Headers without end.
    let mut pouring = TcpStream::connect(port.address).unwrap();
    pouring.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let poured = thread::spawn(move || {
        let line = format!("x-{}: y\r\n", "a".repeat(1000));
        let _ = pouring.write_all(b"GET /scale HTTP/1.1\r\n");
        for _ in 0..100_000 {
            if pouring.write_all(line.as_bytes()).is_err() {
                return true;
            }
        }
        false
    });
    assert!(poured.join().unwrap(), "100 MB of headers were taken");
    bench.send(&["1", "2"]);
    wait_until("jobs are done", || bench.read("run.out") == "1\n2\n");
    assert!(port.is("live"));
    // Who says nothing is let go.
    let mut silent = hanging.pop().unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ended = silent.read_to_end(&mut Vec::new());
    let waited = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    assert!(!waited, "a silent client was kept for 20 s");
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn without_a_table_there_is_no_port() {
    let bench = Bench::with_handler("[handler.stdout]");
    bench.send(&["1"]);
    let done = bench.work_off();
    assert!(!done.stderr.contains("admin port"), "{done:#?}");
}
