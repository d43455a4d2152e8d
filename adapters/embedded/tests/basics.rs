//! A message's way through a queue, as a user of the crate sees it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_contract::{Delivery, Outgoing, Settlement, Sink, Source, Verdict, Want};
use forebay_embedded::{EmbeddedSource, Queue, Receipt, SourceOptions, Store};
use std::time::Duration;

const TEN: Want = Want { messages: 10, bytes: 1 << 20 };

async fn queue(directory: &tempfile::TempDir) -> Queue {
    Store::open(directory.path().join("q.db")).unwrap().queue("orders").await.unwrap()
}

async fn receive(source: &EmbeddedSource) -> Vec<Delivery<Receipt>> {
    let mut out = Vec::new();
    let received = source.receive(TEN, &mut out);
    tokio::time::timeout(Duration::from_secs(5), received).await.expect("a message").unwrap();
    out
}

fn verdict(delivery: &Delivery<Receipt>, verdict: Verdict) -> Settlement<Receipt> {
    let Delivery { receipt, message, .. } = delivery.clone();
    Settlement { receipt, message, verdict }
}

#[tokio::test]
async fn published_received_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory).await;
    let ids = queue.publish(&[Outgoing::new("a"), Outgoing::new("b").key("k")]).await;
    let ids: Vec<_> = ids.into_iter().map(Result::unwrap).collect();
    let source = queue.source(&SourceOptions::default());
    let got = receive(&source).await;
    assert_eq!(got.iter().map(|d| d.message.id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(queue.backlog().await.unwrap().leased.unwrap().value, 2);
    let acks: Vec<_> = got.iter().map(|d| verdict(d, Verdict::Ack)).collect();
    assert!(source.settle(&acks).await.iter().all(Result::is_ok));
    assert!(source.settle(&acks).await.iter().all(Result::is_err), "settled twice");
    assert_eq!(queue.backlog().await.unwrap().outstanding(), 0);
}
