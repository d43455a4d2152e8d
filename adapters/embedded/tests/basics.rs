//! What the contract's suite does not ask: names, listings, sharing, cancelling, closing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, FOREBAY_ID, MessageId, Outgoing, PublishError, Sink,
    Source, Verdict, Want,
};
use forebay_embedded::{QueueError, SourceOptions, Store};
use rusqlite::Connection;
use std::time::{Duration, SystemTime};
use support::{note, nothing_comes, publish, queue, receive, receive_and_give_up, settle};

#[tokio::test]
async fn queues_of_one_file_are_apart_and_listed_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("q.db")).unwrap();
    let [b, a] = [store.queue("b").await.unwrap(), store.queue("a").await.unwrap()];
    publish(&b, &[Outgoing::new("1"), Outgoing::new("2").delay(Duration::from_secs(60))]).await;
    assert!(nothing_comes(&a.source(&SourceOptions::default())).await);
    let listed = store.queues().await.unwrap();
    assert_eq!(listed.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let backlog = listed[1].backlog;
    assert_eq!(backlog.ready.unwrap().value, 1);
    assert_eq!(backlog.delayed.unwrap().value, 1);
    assert_eq!(listed[0].backlog.outstanding(), 0);
}

#[tokio::test]
async fn names_that_no_shell_could_type_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("q.db")).unwrap();
    for name in ["", "two words", "ümlaut", "tab\t", &"x".repeat(201)] {
        let error = store.queue(name).await.unwrap_err();
        assert!(matches!(error, QueueError::Invalid(_)), "{error}");
    }
    for name in ["orders", "eu-1/orders.v2:hot_ones"] {
        assert_eq!(store.queue(name).await.unwrap().name(), name);
    }
}

#[tokio::test]
async fn no_two_files_number_their_messages_alike() {
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(&directory.path().join("q.db")).await;
        for id in publish(&queue, &vec![Outgoing::new("x"); 50]).await {
            // Numbers that JavaScript, for one, reads exactly.
            assert!(id.as_number().unwrap() < 1 << 53);
            assert!(seen.insert(id.clone()), "{id} comes again");
        }
    }
}

/// What has just died has died before now, also within the same millisecond.
#[tokio::test]
async fn what_has_just_died_is_among_what_died_before_now() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory.path().join("q.db")).await;
    let source = queue.source(&SourceOptions::default());
    let verdict = Verdict::DeadLetter { reason: DeadReason::Permanent, note: note("no") };
    for died in 1..=100 {
        publish(&queue, &[Outgoing::new("x")]).await;
        let out = receive(&source, 1).await;
        settle(&source, &out, verdict.clone()).await;
        let before = DeadFilter { died_before: Some(SystemTime::now()), ..DeadFilter::default() };
        assert_eq!(queue.list(&before, None, 1000).await.unwrap().len(), died);
    }
}

#[tokio::test]
async fn the_header_identifies_before_the_id_and_the_row() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory.path().join("q.db")).await;
    let ids = publish(
        &queue,
        &[
            Outgoing::new("a"),
            Outgoing::new("b").id("b-1"),
            Outgoing::new("c").id("c-1").header(FOREBAY_ID, "c-0"),
            Outgoing::new("d").id(u64::MAX),
        ],
    )
    .await;
    assert!(ids[0].as_number().is_some());
    assert_eq!(ids[1..3], [MessageId::from("b-1"), MessageId::from("c-0")]);
    let out = receive(&queue.source(&SourceOptions::default()), 10).await;
    let seen: Vec<_> = out.iter().map(|out| out.message.id.clone()).collect();
    assert_eq!(seen, ids);
    assert_eq!(out[2].message.headers.get_str(FOREBAY_ID), Some("c-0"));
}

#[tokio::test]
async fn a_payload_beyond_the_limit_is_refused_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::options().max_payload(10).open(directory.path().join("q.db")).unwrap();
    let queue = store.queue("orders").await.unwrap();
    let results =
        queue.publish(&["x", &"x".repeat(11), "y"].map(|x| Outgoing::new(x.to_owned()))).await;
    assert!(results[0].is_ok() && results[2].is_ok());
    let Err(PublishError::Refused(error)) = &results[1] else { panic!("{results:?}") };
    assert!(error.to_string().contains("11 bytes"), "{error}");
    assert_eq!(queue.backlog().await.unwrap().outstanding(), 2);
}

/// Losing a receive to a timeout is everyday: `select!` does it all the time.
#[tokio::test]
async fn a_cancelled_receive_leaves_its_messages_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory.path().join("q.db")).await;
    let source = queue.source(&SourceOptions::default());
    publish(&queue, &vec![Outgoing::new("x"); 20]).await;
    let mut out = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..1000 {
        tokio::select! {
            biased;
            received = source.receive(Want { messages: 3, bytes: 1 << 20 }, &mut out) => {
                received.unwrap();
            }
            () = tokio::task::yield_now() => {}
        }
        seen.append(&mut out);
        if seen.len() == 20 {
            break;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    assert_eq!(seen.len(), 20, "some are lost, or came twice");
    assert!(seen.iter().all(|out| out.message.deliveries == Some(1)), "some were given back");
    assert_eq!(settle(&source, &seen, Verdict::Ack).await, [true; 20]);
}

#[tokio::test]
async fn no_more_is_claimed_than_was_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory.path().join("q.db")).await;
    publish(&queue, &vec![Outgoing::new("x".repeat(100)); 20]).await;
    let source = queue.source(&SourceOptions::default());
    assert_eq!(receive(&source, 3).await.len(), 3);
    let mut out = Vec::new();
    source.receive(Want { messages: 10, bytes: 250 }, &mut out).await.unwrap();
    assert_eq!(out.len(), 2, "by bytes");
    out.clear();
    source.receive(Want { messages: 10, bytes: 1 }, &mut out).await.unwrap();
    assert_eq!(out.len(), 1, "one that is too large comes alone");
    assert_eq!(queue.backlog().await.unwrap().leased.unwrap().value, 6);
}

#[tokio::test]
async fn closing_gives_back_the_unseen_unsuspected_and_the_seen_as_suspects() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory.path().join("q.db")).await;
    let source = queue.source(&SourceOptions::default());
    publish(&queue, &vec![Outgoing::new("x"); 4]).await;
    receive_and_give_up(&source, 4).await;
    while queue.backlog().await.unwrap().leased.unwrap().value < 4 {
        tokio::task::yield_now().await;
    }
    let seen = receive(&source, 1).await;
    source.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(settle(&source, &seen, Verdict::Ack).await, [false]);
    let again = receive(&queue.source(&SourceOptions::default()), 10).await;
    let mut interrupted: Vec<_> = again.iter().map(|out| out.message.interrupted).collect();
    interrupted.sort_unstable();
    assert_eq!(interrupted, [0, 0, 0, 1]);
    assert!(again.iter().all(|out| out.message.attempt == 0));
}

#[tokio::test]
async fn several_receivers_of_one_source_share_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory.path().join("q.db")).await;
    let source = queue.source(&SourceOptions::default());
    let (a, b, c, ()) =
        tokio::join!(receive(&source, 1), receive(&source, 1), receive(&source, 1), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            publish(&queue, &vec![Outgoing::new("x"); 3]).await;
        });
    assert_eq!([a.len(), b.len(), c.len()], [1; 3]);
}

#[tokio::test]
async fn a_dropped_source_gives_back_what_it_had_not_handed_out() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(&directory.path().join("q.db")).await;
    publish(&queue, &vec![Outgoing::new("x"); 4]).await;
    let source = queue.source(&SourceOptions::default());
    receive_and_give_up(&source, 4).await;
    drop(source);
    let again = receive(&queue.source(&SourceOptions::default()), 4).await;
    assert!(again.iter().all(|out| out.message.interrupted == 0));
}

#[tokio::test]
async fn what_nobody_receives_any_more_is_given_back_before_its_lease_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let store = Store::options().poll(Duration::from_millis(20)).open(&file).unwrap();
    let abandoned = store.queue("orders").await.unwrap();
    publish(&abandoned, &vec![Outgoing::new("x"); 3]).await;
    let source = abandoned.source(&SourceOptions::default().lease(Duration::from_secs(2)));
    receive_and_give_up(&source, 3).await;
    let again = receive(&queue(&file).await.source(&SourceOptions::default()), 3).await;
    assert!(again.iter().all(|out| out.message.interrupted == 0), "taken for suspects");
    drop(source);
}

/// A copy goes on counting where the file was when it was made: what has been given a number since would
/// share it with another message, and an inbox would take the one for the other.
#[tokio::test]
async fn a_backup_that_is_put_back_numbers_on_beyond_with_the_line_from_the_docs() {
    const LINE: &str = "UPDATE sequence SET next = next + 1000000000";
    assert!(include_str!("../../../docs/embedded.md").contains(LINE));
    let directory = tempfile::tempdir().unwrap();
    let [file, copy] = ["q.db", "copy.db"].map(|name| directory.path().join(name));
    let original = queue(&file).await;
    publish(&original, &[Outgoing::new("a")]).await;
    let saved = Connection::open(&file).unwrap();
    saved.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let since = publish(&original, &[Outgoing::new("b"), Outgoing::new("c")]).await;

    let backup = Connection::open(&copy).unwrap();
    backup.execute(LINE, ()).unwrap();
    drop(backup);
    let restored = queue(&copy).await;
    let new = publish(&restored, &[Outgoing::new("d"), Outgoing::new("e")]).await;
    assert!(new.iter().all(|id| !since.contains(id)), "{new:?} after {since:?}");
    let out = receive(&restored.source(&SourceOptions::default()), 9).await;
    assert_eq!(
        out.iter().map(|out| &out.message.payload[..]).collect::<Vec<_>>(),
        [b"a", b"d", b"e"]
    );
}
