//! KEDA's side of the external scaler: a client generated from its interface, in another language.

use crate::{
    asking::Port,
    bench::{Bench, wait_until},
    python::{in_repository, python},
};
use serde_json::{Value, json};
use std::{
    fs::File,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

const TOKEN: &str = "correct-horse-battery-staple";

fn client(address: SocketAddr, args: &[&str]) -> Command {
    let mut client = Command::new(python());
    client
        .arg(in_repository("worker/tests/e2e/keda.py"))
        .arg(in_repository("worker/src/admin/keda/externalscaler.proto"))
        .arg(format!("127.0.0.1:{}", address.port()))
        .args(args);
    client
}

/// What the scaler answers to each method.
#[track_caller]
fn ask(address: SocketAddr, args: &[&str]) -> Vec<Value> {
    let output = client(address, args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ends with the test.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keda_is_told_how_many_workers_there_should_be() {
    // Made before the worker is: the first time it takes minutes, in which the messages would time out.
    let _ = python();
    let bench = Bench::new();
    bench.config(
        "concurrency = 1",
        "[handler.command]\nprogram = 'sh'\nargs = ['-c', 'while [ ! -e go ]; do sleep 0.02; done']\n\
         [admin]\nlisten = '127.0.0.1:0'\npoll = '100ms'",
    );
    bench.send(&["1", "2"]);
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    wait_until("there is an answer", || port.scale()["desired_workers"] == 1);
    let asked = ["IsActive", "GetMetricSpec", "GetMetrics"];
    assert_eq!(
        ask(port.address, &asked),
        [
            json!({"method": "IsActive", "answer": {"result": true}}),
            json!({"method": "GetMetricSpec", "answer": {"metricSpecs": [
                {"metricName": "desired_workers", "targetSize": "1", "targetSizeFloat": 1.0}
            ]}}),
            json!({"method": "GetMetrics", "answer": {"metricValues": [
                {"metricName": "desired_workers", "metricValue": "1", "metricValueFloat": 1.0}
            ]}}),
        ]
    );
    bench.write("go", "");
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn keda_shows_the_token_in_what_it_can_send() {
    let bench = Bench::new();
    let admin = format!("[admin]\nlisten = '0.0.0.0:0'\ntoken = '{TOKEN}'\n");
    bench.config("", &format!("[handler.stdout]\n{admin}"));
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    let probe = port.at_loopback();
    wait_until("it is ready", || probe.is("ready"));
    let code = |args: &[&str]| ask(port.address, args).remove(0)["code"].clone();
    for method in ["IsActive", "GetMetricSpec", "GetMetrics", "StreamIsActive"] {
        assert_eq!(code(&[method]), "UNAUTHENTICATED", "{method}");
        assert_eq!(code(&["token=wrong-horse-battery-staple", method]), "UNAUTHENTICATED");
    }
    for shown in ["tokenFromEnv=", "token=", "HEADER=Bearer "] {
        let answers = ask(port.address, &[&format!("{shown}{TOKEN}"), "IsActive", "GetMetrics"]);
        let told = answers.iter().all(|it| it["answer"].is_object());
        assert!(told && answers.len() == 2, "{shown}: {answers:?}");
    }
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn a_scaler_without_workers_wakes_the_first_and_tells_keda_of_it_unasked() {
    let bench = Bench::new();
    bench.config(
        "",
        "[handler.stdout]\n[admin]\nlisten = '127.0.0.1:0'\npoll = '100ms'\n[scale]\nidle = '1s'",
    );
    // The scaler makes no queue.
    bench.send(&["0"]);
    bench.work_off();
    let scaler = bench.launch(&["scale", "w.toml"], "scale");
    let port = Port::of(&bench, "scale.err");
    let mut follower = client(port.address, &["StreamIsActive"]);
    let told = File::create(bench.path("told")).unwrap();
    let _follower = Follower(follower.stdout(told).stderr(Stdio::inherit()).spawn().unwrap());
    let told = || {
        let lines = bench.read("told");
        let active = |line: &str| serde_json::from_str::<Value>(line).ok();
        let lines = lines.lines().filter_map(active);
        lines.map(|line| line["answer"]["result"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    wait_until("no worker is wanted", || told().last() == Some(&false));
    assert_eq!(port.scale()["because"], "idle");
    let before = told().len();
    bench.send(&["1"]);
    wait_until("a worker is wanted", || told().len() > before);
    assert_eq!(told()[before..], [true]);
    wait_until("and it is said how many", || port.scale()["desired_workers"] == 1);
    assert_eq!(ask(port.address, &["IsActive"])[0]["answer"]["result"], true);
    assert_eq!(scaler.stop().code, Some(0));
}
