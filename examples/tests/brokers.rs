//! The examples on each broker, as their reader would run them: only the source is another.
//!
//! Where the brokers are is said by the variables that `scripts/brokers env` prints. A broker that is
//! not there fails its test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    path::PathBuf,
    process::{self, Command},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where a broker is: the example's variable, the tests' variable, and what that usually says.
const PLACES: [(&str, &str, &str, &str); 3] = [
    ("kafka", "FOREBAY_KAFKA", "FOREBAY_TEST_KAFKA", "127.0.0.1:29092"),
    ("rabbitmq", "FOREBAY_AMQP", "FOREBAY_TEST_AMQP", "amqp://guest:guest@127.0.0.1:25672/%2f"),
    ("sqs", "FOREBAY_SQS", "FOREBAY_TEST_SQS", "http://127.0.0.1:29324"),
];

/// Runs an example on a queue of its own, and returns the lines that it printed.
#[track_caller]
fn run(example: &str, broker: &str) -> Vec<String> {
    let (_, variable, test, usual) = PLACES.into_iter().find(|it| it.0 == broker).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let queue = format!("example-{example}-{}-{now}", process::id());
    let usual_postgres = "postgres://postgres@127.0.0.1:25432/forebay";
    let postgres = env::var("FOREBAY_TEST_POSTGRES").unwrap_or_else(|_| usual_postgres.to_owned());
    let test_program = env::current_exe().unwrap();
    let profile: PathBuf = test_program.parent().and_then(|deps| deps.parent()).unwrap().into();
    let output = Command::new(profile.join("examples").join(example))
        .args(["--source", broker, "--queue", &queue])
        .env("FOREBAY_POSTGRES", postgres)
        .env(variable, env::var(test).unwrap_or_else(|_| usual.to_owned()))
        // Any will do for an emulator; without, the SDK would ask the network for some.
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{example} on {broker}: {errors}\nis it up? scripts/brokers up {broker}"
    );
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[track_caller]
fn hello(broker: &str) {
    let mut lines = run("hello", broker);
    assert_eq!(lines.pop().unwrap(), "everybody is greeted");
    lines.sort();
    assert_eq!(lines, ["hello, river", "hello, turbine", "hello, weir"]);
}

#[track_caller]
fn typed_jobs(broker: &str) {
    let lines = run("typed_jobs", broker);
    let has = |line: &str| assert!(lines.iter().any(|it| it == line), "no `{line}` in {lines:?}");
    has("attempt 1 at gate: reserved 2, 8 left");
    has("attempt 1 at penstock: no answer");
    has("attempt 2 at penstock: reserved 1, 2 left");
    let dead = "dead (permanent): there is no item called `perpetual motion machine`";
    assert_eq!(lines.last().unwrap(), dead);
}

#[test]
fn hello_on_kafka() {
    hello("kafka");
}

#[test]
fn hello_on_rabbitmq() {
    hello("rabbitmq");
}

#[test]
fn hello_on_sqs() {
    hello("sqs");
}

#[test]
fn burst_smoothing_on_rabbitmq() {
    let lines = run("burst_smoothing", "rabbitmq");
    let has = |line: &str| assert!(lines.iter().any(|it| it == line), "no `{line}` in {lines:?}");
    has("done 2000, recognised as done before 2000");
    has("in the database: 2000 rows, 2000 different, 2199000 cents of 2199000");
}

#[test]
fn typed_jobs_on_kafka() {
    typed_jobs("kafka");
}

#[test]
fn typed_jobs_on_rabbitmq() {
    typed_jobs("rabbitmq");
}

#[test]
fn typed_jobs_on_sqs() {
    typed_jobs("sqs");
}
