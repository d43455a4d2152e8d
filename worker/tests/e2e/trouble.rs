//! What the admin port says when the database or the disk is away: soon, and to the point. Jobs go on as
//! they can.

use crate::{
    asking::Port,
    bench::{Bench, wait_until},
    python::in_repository,
    server::Server,
};
use forebay_conformance::proxy::FaultProxy;
use serde_json::Value;
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

/// It is to be said within two seconds; a machine that is busy with other tests may take a few more.
const SOON: Duration = Duration::from_secs(10);

/// Waits until probe, metrics and page say that the broker can be worked with, or cannot, and insists
/// that the latter is said soon.
#[track_caller]
#[expect(clippy::print_stdout, reason = "a test's figures")]
pub(crate) fn soon(port: &Port, connected: bool) {
    let started = Instant::now();
    wait_until(&format!("ready is {connected}"), || port.is("ready") == connected);
    let probe = started.elapsed();
    let sample = if connected { " 1" } else { " 0" };
    wait_until("it is measured", || metric(port, "forebay_scale_connected").ends_with(sample));
    let measured = started.elapsed();
    wait_until("the page says so", || (page(port) == "broker_gone") != connected);
    let page = started.elapsed();
    println!("connected is {connected}: probe {probe:?}, metrics {measured:?}, page {page:?}");
    assert!(connected || page < SOON, "it took {page:?}");
}

/// What the page says first.
#[track_caller]
fn page(port: &Port) -> String {
    let status: Value = serde_json::from_str(&port.get("/api/status").body).unwrap();
    status["states"][0]["name"].as_str().unwrap().to_owned()
}

/// The sample of a metric.
#[track_caller]
pub(crate) fn metric(port: &Port, name: &str) -> String {
    let body = port.get("/metrics").body;
    let sample = body.lines().find(|line| line.starts_with(name));
    sample.unwrap_or_else(|| panic!("no {name} in {body}")).to_owned()
}

#[test]
fn a_database_that_goes_opens_the_breaker_and_the_worker_stays_ready() {
    let server = Server::start(|_, _| (200, "", String::new()));
    let proxy = FaultProxy::start(server.address).unwrap();
    let bench = Bench::new();
    bench.config(
        "concurrency = 2",
        &format!(
            "[breaker]\nmin_throughput = 3\nopen_for = '1m'\n\
             [handler.http]\nurl = 'http://{}/'\n\
             [admin]\nlisten = '127.0.0.1:0'\npoll = '200ms'",
            proxy.address()
        ),
    );
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    bench.send(&["1"]);
    wait_until("it works", || server.requests().len() == 1);
    proxy.refuse(true);
    bench.send(&["2", "3", "4", "5", "6", "7", "8", "9"]);
    wait_until("it is said", || port.get("/health/ready").body.contains("the breaker is open"));
    let ready = port.get("/health/ready");
    assert_eq!((ready.status, &*ready.body), (200, "ready\nthe breaker is open\n"));
    assert!(port.is("live"));
    wait_until("it holds the worker down", || port.scale()["worker"]["held"] == "breaker");
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn a_disk_that_is_full_is_said_and_nothing_is_lost() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    bench.write(
        "w.toml",
        "[source.embedded]\npath = 'data/q.db'\nqueue = 'orders'\n[worker]\nconcurrency = 1\n\
         [handler.command]\nprogram = 'sh'\n\
         args = ['-c', 'echo x >> started; while [ ! -e go ]; do sleep 0.02; done']\n\
         [admin]\nlisten = '127.0.0.1:0'\n",
    );
    bench.send(&["1", "2", "3"]);
    let (data, full, shim) = (bench.path("data"), bench.path("full"), shim(&bench));
    let worker = bench.run_with(&[
        ("LD_PRELOAD", &shim),
        ("FOREBAY_SHIM_DIR", data.to_str().unwrap()),
        ("FOREBAY_SHIM_FULL", full.to_str().unwrap()),
    ]);
    let port = Port::of(&bench, "run.err");
    wait_until("it works", || bench.read("started") == "x\n");
    wait_until("it is ready", || port.is("ready"));
    fs::write(&full, "").unwrap();
    bench.write("go", "");
    soon(&port, false);
    let ready = port.get("/health/ready");
    assert!(ready.body.contains("messages cannot be"), "{ready:?}");
    assert!(port.is("live"));

    fs::remove_file(&full).unwrap();
    wait_until("all is done", || port.scale()["worker"]["handled"] == 3);
    soon(&port, true);
    assert_eq!(worker.stop().code, Some(0));
    // Once each: what could not be settled was not handled again.
    assert_eq!(bench.read("started"), "x\nx\nx\n");
}

/// The library that can make a disk full, which the tests of the embedded queue have.
fn shim(bench: &Bench) -> String {
    let library = bench.path("shim.so").to_str().unwrap().to_owned();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o", &library])
        .arg(in_repository("adapters/embedded/tests/shim/shim.c"))
        .arg("-ldl")
        .status();
    assert!(compiled.unwrap().success(), "`cc` could not compile the shim");
    library
}
