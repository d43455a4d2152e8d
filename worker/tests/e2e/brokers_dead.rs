//! `send`, `check`, `run`, `depth` and `dead` at each broker: the same commands, the same answers.

use crate::{
    bench::{Bench, wait_until},
    brokers_at::{Broker, fresh},
};
use serde_json::Value;

/// Notes what it is given in `done.txt`; some payloads fail.
const HANDLER: &str = "[handler.command]\nprogram = 'sh'\nargs = ['-c', '''\
    read -r line; case $line in *poison*) echo no such customer >&2; exit 65;; \
    *flaky*) echo timed out >&2; exit 1;; esac; echo \"$FOREBAY_ID $FOREBAY_KEY $line\" >> done.txt\
    ''']\n";

struct At {
    bench: Bench,
    broker: Broker,
    queue: String,
}

impl At {
    #[track_caller]
    fn new(broker: Broker) -> Self {
        let (bench, queue) = (Bench::new(), fresh("dead"));
        let text = format!(
            "[source.{}]\n{}[worker]\nconcurrency = 4\ndrain_timeout = '5s'\n\
             [retry]\nbase = '1ms'\ncap = '50ms'\nattempts = 2\n{HANDLER}",
            broker.name(),
            broker.keys(&queue)
        );
        bench.write("w.toml", &text);
        Self { bench, broker, queue }
    }

    fn send(&self, lines: &[&str]) {
        let args = ["send", "--config", "w.toml", "--id-path", "$.id", "--key-path", "$.key", "-"];
        let sent = self.bench.forebay_with(&args, &lines.join("\n")).ok();
        assert!(sent.starts_with(&format!("sent {} in ", lines.len())), "{sent}");
    }

    fn dead(&self, command: &str, more: &[&str]) -> crate::bench::Done {
        self.bench.forebay(&[&["dead", command, "--config", "w.toml"], more].concat())
    }

    /// Runs the worker until so many are done in all and so many are dead.
    #[track_caller]
    fn work(&self, done: usize, dead: usize) -> Vec<Value> {
        let worker = self.bench.run();
        let lines = || self.bench.read("done.txt").lines().count();
        wait_until("enough are done", || lines() >= done);
        wait_until("enough are dead", || self.bench.dead().len() >= dead);
        let drained = worker.stop();
        assert_eq!(drained.code, Some(0), "{drained:#?}");
        let letters = self.bench.dead();
        assert_eq!((lines(), letters.len()), (done, dead), "{letters:#?}");
        letters
    }
}

#[track_caller]
fn from_sending_to_purging(broker: Broker) {
    let at = At::new(broker);
    let (bench, queue) = (&at.bench, &*at.queue);

    // Nothing is made by looking.
    let plan = bench.forebay(&["check", "w.toml"]).ok();
    assert!(plan.contains(&format!("source    {}: ", at.broker.name())), "{plan}");
    assert!(!plan.contains("guest:guest"), "a password is shown: {plan}");
    let missing = bench.forebay(&["depth", "--config", "w.toml"]).err(2);
    assert!(missing.contains(queue), "{missing}");

    let fine = |i: u32| format!("{{\"id\": \"fine-{i}\", \"key\": \"k{}\"}}", i % 3);
    let fine: Vec<String> = (0..8).map(fine).collect();
    at.send(&fine.iter().map(|line| &**line).collect::<Vec<_>>());
    let depth = bench.depth();
    assert_eq!((&depth["queue"], &depth["ready"]), (&queue.into(), &8.into()), "{depth}");
    let poison = "{\"id\": \"o-1\", \"key\": \"a\", \"x\": \"poison\"}";
    let flaky = "{\"id\": \"o-2\", \"key\": \"b\", \"x\": \"flaky\"}";
    at.send(&[poison, flaky]);
    let letters = at.work(8, 2);
    assert!(bench.read("done.txt").contains("fine-4 k1 {\"id\": \"fine-4\""));

    // What is known of the dead.
    let find = |id: &str| letters.iter().find(|it| it["message"]["id"] == id).unwrap().clone();
    let (poison, flaky) = (find("o-1"), find("o-2"));
    assert_eq!((&poison["reason"], &poison["attempts"]), (&"permanent".into(), &1.into()));
    assert_eq!(flaky["reason"], "attempts_exhausted");
    assert!(flaky["attempts"].as_u64().unwrap() >= 2, "{flaky}");
    assert_eq!((&flaky["message"]["key"], &flaky["queue"]), (&"b".into(), &queue.into()));
    let id = flaky["dead_id"].as_str().unwrap();
    let shown = at.dead("show", &[id]).ok();
    assert!(shown.contains("exit code 1: timed out") && shown.contains("flaky"), "{shown}");

    // Moved back only as meant; dead again; counted.
    let preview = at.dead("redrive", &["--filter", "reason=permanent", "--dry-run"]).ok();
    assert_eq!(preview.lines().count(), 1, "{preview}");
    assert_eq!(at.dead("redrive", &["--from", "elsewhere"]).ok(), "");
    let args = ["--from", queue, "--error", "customer", "--rate", "100", "--json"];
    let moved = at.dead("redrive", &args).ok();
    let line: Value = serde_json::from_str(&moved).unwrap();
    assert_eq!((&line["message_id"], &line["redrives"]), (&"o-1".into(), &1.into()), "{line}");
    assert_eq!((&line["from"], &line["to"]), (&queue.into(), &queue.into()), "{line}");
    assert_eq!(bench.dead().len(), 1);
    let letters = at.work(8, 2);
    let again = letters.iter().find(|it| it["message"]["id"] == "o-1").unwrap();
    assert_eq!(again["message"]["redrives"], 1, "{again}");
    assert_eq!(again["history"].as_array().unwrap().len(), 2, "{again}");

    // The guard leaves what went round once; a purge takes what is meant.
    let done = at.dead("redrive", &["--all", "--max-redrives", "1"]);
    assert!(done.stderr.contains("left 1 that had been redriven 1 times"), "{done:#?}");
    let moved = done.ok();
    assert!(moved.lines().count() == 1 && moved.contains("message=o-2"), "{moved}");
    at.work(8, 2);
    assert_eq!(at.dead("purge", &["--reason", "permanent", "--yes"]).ok(), "purged 1\n");
    assert_eq!(at.dead("purge", &["--all", "--yes"]).ok(), "purged 1\n");
    assert!(bench.dead().is_empty());
}

#[test]
fn kafka_from_sending_to_purging() {
    from_sending_to_purging(Broker::Kafka);
}

#[test]
fn rabbitmq_from_sending_to_purging() {
    from_sending_to_purging(Broker::Rabbitmq);
}

#[test]
fn sqs_from_sending_to_purging() {
    from_sending_to_purging(Broker::Sqs);
}

#[test]
fn what_a_broker_cannot_honour_is_refused_at_its_line() {
    let bench = Bench::new();
    let rest = "[worker]\nordered = true\n[retry]\ncap = '1day'\n[handler.stdout]\n";
    for (broker, more, expected) in [
        (Broker::Kafka, "revoke_wait = '5m'\n", ":6: source.kafka.revoke_wait: it is 300s"),
        (Broker::Kafka, "librdkafka = { 'no.such' = 'x' }\n", "source.kafka.librdkafka.no.such: "),
        (Broker::Kafka, "order = 'none'\n", ":8: worker.ordered: kafka, as this queue is set up, "),
        (
            Broker::Rabbitmq,
            "max_priority = 5\n",
            ":5: source.rabbitmq.max_priority: a quorum queue",
        ),
        (Broker::Rabbitmq, "prefetc = 5\n", "did you mean `prefetch`?"),
        (Broker::Rabbitmq, "", ":8: retry.cap: it is 1d, and rabbitmq delays a message by "),
        (Broker::Sqs, "wait = '1m'\n", ":5: source.sqs.wait: it is 60s\n  help: at most 20 s"),
        (Broker::Sqs, "lease = '3h'\n", ":5: source.sqs.lease: it is 10800s"),
        (Broker::Sqs, "", ":6: worker.ordered: sqs, as this queue is set up, keeps no order"),
    ] {
        let queue = fresh("refused");
        let (name, keys) = (broker.name(), broker.keys(&queue));
        bench.write("w.toml", &format!("[source.{name}]\n{keys}{more}{rest}"));
        let error = bench.forebay(&["run", "w.toml"]).err(2);
        assert!(error.contains(expected), "expected {expected}\n{error}");
    }
}
