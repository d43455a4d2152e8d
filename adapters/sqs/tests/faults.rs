//! What AWS answers when it does not do what was asked, and emulators never do: throttling, limits,
//! expired credentials, a clock that is off, entries of a batch that fail alone, answers that are lost.
//! A responder in front of the real emulator says it; all else is the emulator's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    DeadFilter, DeadLetters, Outgoing, PublishError, SettleError, Sink, Source, SourceError,
    Verdict, Want,
};
use forebay_sqs::{SqsQueue, SqsSource, Topology};
use std::time::{Duration, Instant, SystemTime};
use support::{
    Emulator, Own, dead_letter, nothing_comes, publish, receive, receive_n,
    responder::{Act, Responder},
    sdk, settlement, text,
};

/// A queue of the emulator's, and the same through a responder.
struct Stage {
    own: Own,
    responder: Responder,
    queue: SqsQueue,
}

async fn stage(fifo: bool) -> Stage {
    let own = Own::new(Emulator::Fauxqs, fifo, |o| o.lease(Duration::from_secs(20))).await;
    let responder = Responder::start(own.direct).await;
    let options = own.options.clone().topology(Topology::Verify);
    let queue = SqsQueue::open_with(options, &sdk(responder.address).await).await.unwrap();
    Stage { own, responder, queue }
}

impl Stage {
    /// Refuses the next `times` requests for an action.
    fn refuse(&self, action: &'static str, mut times: u32, code: &'static str, text: &'static str) {
        self.responder.rule(move |request| {
            if request.action == action && times > 0 {
                times -= 1;
                return Act::Refuse(code, text);
            }
            Act::Pass
        });
    }
}

async fn try_receive(source: &SqsSource) -> Result<Vec<support::Out>, SourceError> {
    let mut out = Vec::new();
    let want = Want { messages: 10, bytes: 1 << 20 };
    let received = tokio::time::timeout(Duration::from_secs(25), source.receive(want, &mut out));
    received.await.expect("an answer in time").map(|()| out)
}

/// Takes the error of the next receive, then goes on until a message comes.
async fn fails_then_works(source: &SqsSource) -> (String, Duration) {
    let start = Instant::now();
    let text = match try_receive(source).await {
        Err(SourceError::Unavailable(error)) => error.to_string(),
        other => panic!("expected the broker to be unavailable: {other:?}"),
    };
    loop {
        if let Ok(out) = try_receive(source).await {
            assert_eq!(out.len(), 1);
            return (text, start.elapsed());
        }
    }
}

/// Receives cost money: on a quiet queue there is one at a time, each of the full length.
#[tokio::test]
async fn a_quiet_queue_is_asked_by_one_poller() {
    let stage = stage(false).await;
    let source = stage.queue.source().await.unwrap();
    assert!(nothing_comes(&source, Duration::from_millis(3500)).await);
    let asked = stage.responder.seen("ReceiveMessage").len();
    assert!((3..=5).contains(&asked), "{asked} receives of 1 second in 3.5 seconds");
    // Demand brings more of them.
    let batch: Vec<_> = (0..400).map(|n| Outgoing::new(n.to_string())).collect();
    publish(&stage.own.queue, &batch).await;
    let before = stage.responder.seen("ReceiveMessage").len();
    let out = receive_n(&source, 400).await;
    let asked = stage.responder.seen("ReceiveMessage").len() - before;
    assert!(out.len() == 400 && asked <= 60, "{asked} receives for 400 messages");
}

#[tokio::test]
async fn throttling_is_told_and_slows_the_pollers_down() {
    let stage = stage(false).await;
    publish(&stage.queue, &[Outgoing::new("x")]).await;
    stage.refuse("ReceiveMessage", 6, "ThrottlingException", "Rate exceeded");
    let source = stage.queue.source().await.unwrap();
    let (text, _) = fails_then_works(&source).await;
    assert!(text.contains("SQS throttles `sqs:ReceiveMessage`"), "{text}");
    assert!(text.contains("Rate exceeded") && text.contains(stage.queue.name()), "{text}");
    assert!(stage.responder.seen("ReceiveMessage").len() >= 7, "all refusals were met");
}

#[tokio::test]
async fn too_many_in_flight_is_told_and_waited_for() {
    let stage = stage(false).await;
    publish(&stage.queue, &[Outgoing::new("x")]).await;
    stage.refuse("ReceiveMessage", 2, "OverLimit", "too many messages in flight");
    let source = stage.queue.source().await.unwrap();
    let (text, took) = fails_then_works(&source).await;
    assert!(text.contains("120,000") && text.contains("backing off"), "{text}");
    assert!(took >= Duration::from_secs(1), "it came again after {took:?} already");
}

#[tokio::test]
async fn expired_credentials_lose_nothing_and_are_told() {
    let stage = stage(false).await;
    publish(&stage.queue, &[Outgoing::new("x")]).await;
    let source = stage.queue.source().await.unwrap();
    let out = receive(&source, 1).await.remove(0);
    stage.refuse("DeleteMessageBatch", 3, "ExpiredTokenException", "The token has expired");
    let ack = [settlement(&out, Verdict::Ack)];
    match source.settle(&ack).await.remove(0) {
        Err(SettleError::Unavailable(error)) => {
            let text = error.to_string();
            assert!(text.contains("credentials have expired") && text.contains("renew"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    stage.responder.rule(|_| Act::Pass);
    source.settle(&ack).await.remove(0).expect("with new credentials it is settled");
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_where_aws_tells_the_time() {
    let stage = stage(false).await;
    let ahead = httpdate(SystemTime::now() + Duration::from_secs(3600));
    let mut refused = 0;
    stage.responder.rule(move |request| {
        if request.action == "SendMessageBatch" && refused < 1 {
            refused += 1;
            let text = "Signature expired: 20251125T120000Z is now earlier than 20251125T130000Z";
            return Act::RefuseAt("InvalidSignatureException", text, ahead.clone());
        }
        Act::Pass
    });
    publish(&stage.queue, &[Outgoing::new("x")]).await;
    let sent = stage.responder.seen("SendMessageBatch");
    assert_eq!(sent.len(), 2);
    assert!(sent[1].signed_at > sent[0].signed_at, "{:?}", sent.map_times());
    let hour = |at: &str| at[9..11].parse::<u32>().unwrap();
    let (first, second) = (hour(&sent[0].signed_at), hour(&sent[1].signed_at));
    assert_eq!((first + 1) % 24, second % 24, "signed anew by the service's clock");
}

trait MapTimes {
    fn map_times(&self) -> Vec<&str>;
}

impl MapTimes for Vec<support::responder::Request> {
    fn map_times(&self) -> Vec<&str> {
        self.iter().map(|request| &*request.signed_at).collect()
    }
}

#[tokio::test]
async fn a_clock_that_stays_off_is_named() {
    let stage = stage(false).await;
    stage.responder.rule(|request| match request.action.as_str() {
        "SendMessageBatch" => Act::Refuse("RequestTimeTooSkewed", "The difference is too large"),
        _ => Act::Pass,
    });
    match stage.queue.publish(&[Outgoing::new("x")]).await.remove(0) {
        Err(PublishError::Unavailable(error)) => {
            let text = error.to_string();
            assert!(text.contains("clock is off") && text.contains("NTP"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_denied_right_is_named_and_ends_the_source() {
    let stage = stage(false).await;
    stage.refuse("ReceiveMessage", 9, "AccessDeniedException", "User x is not authorized");
    let source = stage.queue.source().await.unwrap();
    match try_receive(&source).await {
        Err(SourceError::Fatal(error)) => {
            let text = error.to_string();
            assert!(text.contains("`sqs:ReceiveMessage`") && text.contains("IAM"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_the_worker_is_named() {
    let stage = stage(false).await;
    stage.refuse("ReceiveMessage", 9, "QueueDoesNotExist", "gone");
    let source = stage.queue.source().await.unwrap();
    match try_receive(&source).await {
        Err(SourceError::Fatal(error)) => {
            let text = error.to_string();
            assert!(
                text.contains("there is no queue") && text.contains(stage.queue.name()),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn entries_of_a_batch_fail_alone() {
    let stage = stage(false).await;
    publish(&stage.queue, &["a", "b", "c", "d"].map(Outgoing::new)).await;
    let source = stage.queue.source().await.unwrap();
    let out = receive_n(&source, 4).await;
    stage.responder.rule(|request| match request.action.as_str() {
        "DeleteMessageBatch" => Act::Answer(
            r#"{"Successful":[{"Id":"0"}],"Failed":[
                {"Id":"1","SenderFault":false,"Code":"InternalError","Message":"try again"},
                {"Id":"2","SenderFault":true,"Code":"ReceiptHandleIsInvalid","Message":"no"}]}"#
                .into(),
        ),
        _ => Act::Pass,
    });
    let batch: Vec<_> = out.iter().map(|out| settlement(out, Verdict::Ack)).collect();
    let results = source.settle(&batch).await;
    assert!(results[0].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(SettleError::Unavailable(_))), "{results:?}");
    assert!(matches!(results[2], Err(SettleError::Stale)), "{results:?}");
    assert!(matches!(results[3], Err(SettleError::Unavailable(_))), "not mentioned: {results:?}");
    // What can be settled again is; what is over stays over.
    stage.responder.rule(|_| Act::Pass);
    let results = source.settle(&batch).await;
    assert!(results[0].is_ok() && results[1].is_ok() && results[3].is_ok(), "{results:?}");
    assert!(matches!(results[2], Err(SettleError::Stale)), "{results:?}");
    assert_eq!(stage.responder.seen("DeleteMessageBatch").len(), 2);
}

#[tokio::test]
async fn published_entries_are_refused_or_worth_another_try() {
    let stage = stage(false).await;
    stage.responder.rule(|request| match request.action.as_str() {
        "SendMessageBatch" => Act::Answer(
            r#"{"Successful":[{"Id":"1","MessageId":"m-1","MD5OfMessageBody":"x"}],"Failed":[
                {"Id":"0","SenderFault":true,"Code":"InvalidMessageContents","Message":"no"},
                {"Id":"2","SenderFault":false,"Code":"InternalError","Message":"again"}]}"#
                .into(),
        ),
        _ => Act::Pass,
    });
    let results = stage.queue.publish(&["a", "b", "c"].map(Outgoing::new)).await;
    assert!(matches!(results[0], Err(PublishError::Refused(_))), "{results:?}");
    assert!(results[1].is_ok(), "{results:?}");
    assert!(matches!(results[2], Err(PublishError::Unavailable(_))), "{results:?}");
}

#[tokio::test]
async fn after_a_failed_send_a_fifo_queue_is_sent_nothing_more_of_the_batch() {
    let stage = stage(true).await;
    stage.refuse("SendMessageBatch", 3, "InternalError", "again");
    let batch: Vec<_> = (0..25).map(|n| Outgoing::new(n.to_string()).key("k")).collect();
    let results = stage.queue.publish(&batch).await;
    let unavailable = |result: &Result<_, PublishError>| result.is_err();
    assert!(results.iter().all(unavailable), "later messages must not overtake: {results:?}");
    let batches = stage.responder.seen("SendMessageBatch");
    assert!(batches.iter().all(|request| request.body.contains("\"MessageBody\":\"0\"")));
}

/// A dead letter that is confirmed, and an original that cannot be deleted.
#[tokio::test]
async fn a_dead_letter_is_not_sent_again_when_only_the_delete_failed() {
    let stage = stage(false).await;
    publish(&stage.queue, &[Outgoing::new("x")]).await;
    let source = stage.queue.source().await.unwrap();
    let out = receive(&source, 1).await.remove(0);
    let sent_before = stage.responder.seen("SendMessageBatch").len();
    stage.refuse("DeleteMessageBatch", 3, "InternalError", "again");
    let bury = [settlement(&out, dead_letter())];
    for _ in 0..3 {
        if source.settle(&bury).await.remove(0).is_ok() {
            break;
        }
    }
    source.settle(&bury).await.remove(0).expect("settled by now");
    assert_eq!(stage.responder.seen("SendMessageBatch").len(), sent_before + 1);
    let letters = stage.queue.list(&DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
}

/// The answer to a send is lost, so it is sent again: it is there twice, and counts once.
#[tokio::test]
async fn a_dead_letter_sent_twice_is_one() {
    let stage = stage(false).await;
    publish(&stage.queue, &[Outgoing::new("x").id("m-1")]).await;
    let source = stage.queue.source().await.unwrap();
    let out = receive(&source, 1).await.remove(0);
    let mut lost = 0;
    stage.responder.rule(move |request| {
        if request.action == "SendMessageBatch" && lost < 1 {
            lost += 1;
            return Act::LoseAnswer;
        }
        Act::Pass
    });
    let bury = [settlement(&out, dead_letter())];
    while source.settle(&bury).await.remove(0).is_err() {}
    assert_eq!(stage.queue.backlog().await.unwrap().dead.unwrap().value, 2, "it is there twice");
    let letters = stage.queue.list(&DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.len(), 1, "and is one letter");
    let moved = stage.queue.redrive(&DeadFilter::default(), 10).await.unwrap().moved;
    assert_eq!(moved.len(), 1);
    assert_eq!(text(&receive(&source, 10).await.remove(0)), "x");
    assert_eq!(stage.own.queue.backlog().await.unwrap().dead.unwrap().value, 0);
}

/// Makes `n` dead letters.
async fn bury_n(stage: &Stage, n: usize) {
    let batch: Vec<_> = (0..n).map(|n| Outgoing::new(n.to_string())).collect();
    publish(&stage.own.queue, &batch).await;
    let source = stage.own.source().await;
    let out = receive_n(&source, n).await;
    let bury: Vec<_> = out.iter().map(|out| settlement(out, dead_letter())).collect();
    assert!(source.settle(&bury).await.iter().all(Result::is_ok));
    source.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_redrive_passes_over_letters_that_cannot_be_sent_and_says_so() {
    let stage = stage(false).await;
    bury_n(&stage, 25).await;
    stage.refuse("SendMessageBatch", 1, "InvalidMessageContents", "characters");
    let redriven = stage.queue.redrive(&DeadFilter::default(), 100).await.unwrap();
    assert_eq!(redriven.moved.len(), 15, "the other two batches");
    assert!(redriven.stopped.unwrap().to_string().contains("characters"));
    let redriven = stage.queue.redrive(&DeadFilter::default(), 100).await.unwrap();
    assert!(redriven.moved.len() == 10 && redriven.stopped.is_none(), "and now the rest");
}

#[tokio::test]
async fn a_redrive_that_breaks_off_tells_what_it_moved_and_why_it_ended() {
    let stage = stage(false).await;
    bury_n(&stage, 25).await;
    let mut sends = 0;
    stage.responder.rule(move |request| {
        sends += u32::from(request.action == "SendMessageBatch");
        if sends > 1 { Act::Refuse("AccessDeniedException", "no more") } else { Act::Pass }
    });
    let redriven = stage.queue.redrive(&DeadFilter::default(), 100).await.unwrap();
    assert!(redriven.stopped.unwrap().to_string().contains("is denied"));
    assert_eq!(redriven.moved.len(), 10);
}

/// A letter that cannot be held while it is moved, since somebody else has it, is not moved; the rest is.
#[tokio::test]
async fn a_letter_that_cannot_be_held_stays_and_is_told() {
    let stage = stage(false).await;
    bury_n(&stage, 15).await;
    stage.responder.rule(move |request| {
        // Ten to be held, for half a minute; giving back is for 0 seconds.
        let holds = request.action == "ChangeMessageVisibilityBatch"
            && request.body.contains("\"VisibilityTimeout\":30")
            && request.body.contains("\"Id\":\"9\"");
        if holds { Act::Refuse("ReceiptHandleIsInvalid", "not yours") } else { Act::Pass }
    });
    let redriven = stage.queue.redrive(&DeadFilter::default(), 100).await.unwrap();
    assert_eq!(redriven.moved.len(), 5);
    assert!(redriven.stopped.unwrap().to_string().contains("not yours"));
}

/// An HTTP date.
fn httpdate(at: SystemTime) -> String {
    let secs = i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let at = aws_sdk_sqs::primitives::DateTime::from_secs(secs);
    at.fmt(aws_sdk_sqs::primitives::DateTimeFormat::HttpDate).unwrap()
}
