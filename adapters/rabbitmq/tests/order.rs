//! In key order: what one key may cost the others, and when that is told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{Outgoing, Source, Verdict};
use forebay_rabbitmq::RabbitOptions;
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{CleanUp, open, options, publish, receive, receive_for, receive_n, retry, settle};
use tracing::{Event, Level, Metadata, Subscriber, field::Visit, span};

fn text(out: &support::Out) -> &str {
    std::str::from_utf8(&out.message.payload).unwrap()
}

/// A key whose first waits for its retry, and a long backlog of it behind that.
#[tokio::test]
async fn another_key_comes_while_hundreds_of_one_key_wait_behind_its_first() {
    let options = options().ordered(true);
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let many: Vec<_> = (0..600).map(|n| Outgoing::new(n.to_string()).key("busy")).collect();
    publish(&queue, &many).await;
    publish(&queue, &[Outgoing::new("other").key("other")]).await;
    let source = queue.source().await.unwrap();
    let first = receive(&source, 1).await;
    assert_eq!(text(&first[0]), "0");
    assert_eq!(settle(&source, &first, retry(Duration::from_secs(6))).await, [true]);
    let start = Instant::now();
    let other = receive(&source, 1).await;
    let took = start.elapsed();
    assert!(text(&other[0]) == "other" && took < Duration::from_secs(4), "after {took:?}");
    assert_eq!(settle(&source, &other, Verdict::Ack).await, [true]);
    // And all of the key comes, in its order.
    let rest = receive_n(&source, 600).await;
    assert!(start.elapsed() >= Duration::from_millis(5_900), "the first came too early");
    assert!(rest.iter().enumerate().all(|(n, out)| text(out) == n.to_string()));
    assert_eq!((rest[0].message.attempt, rest[1].message.attempt), (1, 0));
    assert!(settle(&source, &rest, Verdict::Ack).await.iter().all(|ok| *ok));
    source.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap().outstanding(), 0);
}

/// Warnings of this crate's, as they would be in the log.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn about(&self, words: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(words)).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("forebay_rabbitmq")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The prefetch is the bound: with all of it behind one key, the log says why nothing comes.
#[tokio::test]
async fn a_key_that_takes_up_all_of_the_prefetch_is_told_once() {
    let log = Log::default();
    let _log = tracing::subscriber::set_default(log.clone());
    let options = RabbitOptions { prefetch: Some(5), ..options() }.ordered(true);
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let keys = ["busy", "busy", "busy", "busy", "busy", "other"];
    publish(&queue, &keys.map(|key| Outgoing::new(key).key(key))).await;
    let source = queue.source().await.unwrap();
    let first = receive(&source, 1).await;
    let words = "take up the prefetch";
    settle(&source, &first, retry(Duration::from_secs(4))).await;
    assert!(receive_for(&source, Duration::from_millis(500)).await.is_empty());
    assert!(log.about(words).is_empty(), "it may be over soon");
    assert!(receive_for(&source, Duration::from_secs(3)).await.is_empty());
    let told = log.about(words);
    assert_eq!(told.len(), 1, "{told:?}");
    for part in [&*options.queue, "prefetch=5", "messages=5", "keys=1"] {
        assert!(told[0].contains(part), "{told:?}");
    }
    let all = receive_n(&source, 5).await;
    assert!(settle(&source, &all, Verdict::Ack).await.iter().all(|ok| *ok));
    assert_eq!(text(&receive(&source, 1).await[0]), "other");
    assert_eq!(log.about(words).len(), 1);
}
