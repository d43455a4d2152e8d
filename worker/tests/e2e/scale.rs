//! `forebay scale`: a fleet's workers, taken together.

use crate::{
    asking::Port,
    bench::{Bench, Worker, wait_until},
};
use rustix::process::Signal;
use serde_json::Value;

const TOKEN: &str = "correct-horse-battery-staple";

/// A bench with a worker's config under this name. Handlers wait for a file `go`.
fn config(bench: &Bench, name: &str, more: &str) {
    bench.config(
        "concurrency = 1\nwindow = { messages = 1 }",
        &format!(
            "[handler.command]\nprogram = 'sh'\n\
             args = ['-c', 'while [ ! -e go ]; do sleep 0.02; done; sleep 0.05']\n\
             [admin]\nlisten = '127.0.0.1:0'\npoll = '200ms'\ntoken = '{TOKEN}'\n{more}"
        ),
    );
    std::fs::rename(bench.path("w.toml"), bench.path(&format!("{name}.toml"))).unwrap();
}

fn start(bench: &Bench, command: &str, name: &str) -> (Worker, Port) {
    let process = bench.launch(&[command, &format!("{name}.toml")], name);
    let port = Port::of(bench, &format!("{name}.err"));
    (process, port.with(&format!("authorization: Bearer {TOKEN}")))
}

#[test]
fn it_adds_up_its_workers_notices_who_goes_and_asks_for_one_where_there_is_none() {
    let bench = Bench::new();
    config(&bench, "w", "");
    let send: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    bench.send(&send.iter().map(String::as_str).collect::<Vec<_>>());
    let (first, a) = start(&bench, "run", "w");
    config(&bench, "v", "");
    let (second, b) = start(&bench, "run", "v");
    let workers = format!(
        "[scale]\nmax = 5\nworkers = ['http://{}', 'http://localhost:{}']",
        a.address,
        b.address.port()
    );
    config(&bench, "scale", &workers);
    let (scaler, port) = start(&bench, "scale", "scale");

    let says = |what: &str, value: Value| {
        let mut seen = Value::Null;
        let so = || {
            seen = port.scale();
            seen[what] == value
        };
        wait_until(&format!("{what} is {value}"), so);
        port.scale()
    };
    let scale = says("workers", 2.into());
    assert_eq!(scale["worker"], Value::Null, "it handles no jobs: {scale}");
    says("leased", 2.into());
    assert_eq!(port.scale()["backlog"], 400);
    assert!(port.is("ready") && port.is("live"));

    // They work: how fast each is becomes known, and more of them are asked for.
    bench.write("go", "");
    let mut rate = None;
    wait_until("it knows how fast they are", || {
        rate = port.scale()["worker_rate"].as_f64();
        rate > Some(0.0)
    });
    // Each message takes 50 ms at least, so a worker cannot do 20 a second. How busy they are is a
    // sample, of some twenty looks at first.
    println!("learned first: {rate:?} a second");
    assert!(rate < Some(40.0), "{rate:?}");

    first.signal(Signal::KILL);
    first.ended();
    says("workers", 1.into());
    second.signal(Signal::KILL);
    second.ended();
    let scale = says("workers", 0.into());
    assert_eq!(scale["silent_workers"], 0, "{scale}");
    assert!(scale["backlog"].as_u64() > Some(0), "{scale}");
    wait_until("one is asked for at least", || {
        let scale = port.scale();
        scale["workers"] == 0 && scale["desired_workers"].as_u64() >= Some(1)
    });
    assert_eq!(scaler.stop().code, Some(0));
}

#[test]
fn a_worker_with_another_token_is_a_worker_that_says_nothing_and_it_is_said_why() {
    let bench = Bench::new();
    config(&bench, "w", "");
    bench.send(&["1"]);
    let (worker, a) = start(&bench, "run", "w");
    let scale = format!(
        "[scale]\nworkers = ['http://{}']\ntoken = 'wrong-horse-battery-staple'",
        a.address
    );
    config(&bench, "scale", &scale);
    let (scaler, port) = start(&bench, "scale", "scale");
    wait_until("it is counted", || port.scale()["workers"] == 1);
    let scale = port.scale();
    assert_eq!(scale["silent_workers"], 1, "{scale}");
    let expected = format!("{}: it wants another token: see `scale.token`", a.address);
    assert_eq!(scale["workers_trouble"], expected);
    assert_eq!(scaler.stop().code, Some(0));
    bench.write("go", "");
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn it_needs_no_secret_of_the_handler() {
    let bench = Bench::new();
    bench.config("", "[handler.stdout]");
    bench.send(&["1"]);
    bench.config(
        "",
        "[handler.http]\nurl = 'http://x/${NO_SUCH_VARIABLE}'\n[admin]\nlisten = '127.0.0.1:0'",
    );
    let scaler = bench.launch(&["scale", "w.toml"], "scale");
    let port = Port::of(&bench, "scale.err");
    wait_until("the backlog is read", || port.scale()["backlog"] == 1);
    assert_eq!(scaler.stop().code, Some(0));
}
