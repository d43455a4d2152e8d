//! What an observer is told: each message once for each step, and its call made current wherever the
//! handler is polled.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{at_once, publish, start, three_attempts};
use forebay::{
    BatchOptions, BatchOutcome, Ending, Failure, FailureKind, InHand, Job, ObservedCall, Observer,
    Settling, Starting, Verdict, Worker, WorkerPhase,
    testing::{MemoryOptions, MemoryQueue, until_done},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::sleep;

thread_local! {
    /// The hand-out whose call is being polled.
    static CURRENT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// What was told.
#[derive(Default)]
struct Told {
    received: usize,
    waits: Vec<Duration>,
    started: Vec<u64>,
    polls: usize,
    ended: Vec<Ending>,
    called: u32,
    longest_call: Duration,
    handled: BTreeMap<&'static str, u32>,
    settled: Vec<(u64, bool)>,
    refused: u32,
    forgotten: Vec<u64>,
    extended: usize,
    phases: Vec<WorkerPhase>,
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Told>>);

impl Notes {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }
}

struct Call(Notes, u64);

impl ObservedCall for Call {
    fn within(&mut self, poll: &mut dyn FnMut()) {
        self.0.told().polls += 1;
        CURRENT.set(Some(self.1));
        poll();
        CURRENT.set(None);
    }

    fn ended(self: Box<Self>, ending: Ending) {
        self.0.told().ended.push(ending);
    }
}

impl Observer for Notes {
    fn received(&self, messages: &mut dyn ExactSizeIterator<Item = InHand<'_>>, _: Duration) {
        self.told().received += messages.map(|m| m.hand_out).collect::<HashSet<_>>().len();
    }

    fn refused(&self, messages: u32) {
        self.told().refused += messages;
    }

    fn starting(&self, messages: &[Starting<'_>]) -> Option<Box<dyn ObservedCall>> {
        let mut told = self.told();
        told.started.extend(messages.iter().map(|starting| starting.hand_out));
        told.waits.extend(messages.iter().map(|starting| starting.waited));
        Some(Box::new(Call(self.clone(), messages[0].hand_out)))
    }

    fn called(&self, calls: u32, _: Ending, took: Duration) {
        let mut told = self.told();
        told.called += calls;
        told.longest_call = told.longest_call.max(took);
    }

    fn handled(&self, messages: u32, ending: Ending) {
        *self.told().handled.entry(ending.as_str()).or_default() += messages;
    }

    fn settled(&self, batch: &mut dyn ExactSizeIterator<Item = Settling<'_>>, _: Duration) {
        let settled = batch.map(|settling| (settling.hand_out, settling.error.is_none()));
        self.told().settled.extend(settled);
    }

    fn forgotten(&self, hand_out: u64) {
        self.told().forgotten.push(hand_out);
    }

    fn extended(&self, extended: usize, _: usize) {
        self.told().extended += extended;
    }

    fn entered(&self, phase: WorkerPhase) {
        self.told().phases.push(phase);
    }
}

/// Fails as its payload says, and sees its call made current before and after it waits.
async fn as_told(job: Job<String>) -> Result<(), Failure> {
    let hand_out = CURRENT.get();
    assert!(hand_out.is_some(), "the call is current in the first poll");
    if job.payload.starts_with("slow") {
        sleep(Duration::from_millis(30)).await;
        assert_eq!(CURRENT.get(), hand_out, "and after it has waited");
    }
    match job.payload.trim_start_matches("slow ") {
        "permanent" => Err(Failure::permanent("never")),
        "transient" => Err(Failure::transient("not now")),
        "throttled" if job.message().history.notes().is_empty() => {
            Err(Failure::throttled("less", None))
        }
        "discard" => Err(Failure::Discard("not worth it".into())),
        "panic" => panic!("on purpose"),
        _ => Ok(()),
    }
}

fn quoted(payloads: &[&str]) -> Vec<String> {
    payloads.iter().map(|payload| format!("{payload:?}")).collect()
}

#[tokio::test(start_paused = true)]
async fn each_step_of_each_message_is_told_once() {
    let (queue, notes) = (MemoryQueue::new(), Notes::default());
    let mut payloads = quoted(&[
        "a",
        "b",
        "slow c",
        "slow d",
        "permanent",
        "transient",
        "slow throttled",
        "discard",
        "slow panic",
    ]);
    payloads.push("no JSON".into());
    publish(&queue, payloads).await;
    let builder = Worker::builder(queue.source())
        .retry(three_attempts())
        .observer(Arc::new(notes.clone()))
        .handler(as_told);
    let worker = start(builder);
    until_done(&queue).await;
    worker.drain().await;

    let told = notes.told();
    let verdicts = queue.verdicts().len();
    // Three tries for what fails for a while or panics, two for what was throttled, one for the rest.
    assert_eq!(verdicts, 7 + 2 * 3 + 2);
    assert_eq!(told.received, verdicts);
    assert_eq!(told.called as usize, verdicts);
    let expected = [
        ("decode", 1),
        ("discarded", 1),
        ("done", 5),
        ("panic", 3),
        ("permanent", 1),
        ("throttled", 1),
        ("transient", 3),
    ];
    assert_eq!(told.handled, BTreeMap::from(expected));
    assert_eq!(told.ended.len(), verdicts, "each call that was followed has ended");
    assert_eq!(
        told.ended.iter().filter(|ending| **ending == Ending::Failed(FailureKind::Panic)).count(),
        3
    );
    assert!(told.polls > verdicts, "those that waited were polled again");
    assert!(told.longest_call >= Duration::from_millis(30));
    let unique: HashSet<_> = told.started.iter().collect();
    assert_eq!(unique.len(), verdicts, "a hand-out has a number of its own");
    let settled: HashSet<_> = told.settled.iter().map(|(hand_out, _)| hand_out).collect();
    assert_eq!(settled, unique, "what is started is settled");
    assert_eq!(told.received, unique.len());
    assert_eq!(told.phases, [WorkerPhase::Stopped], "nothing was in hand any more");
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_from_when_it_was_received() {
    let (queue, notes) = (MemoryQueue::new(), Notes::default());
    publish(&queue, quoted(&["slow a", "slow b", "slow c"])).await;
    let builder = Worker::builder(queue.source())
        .concurrency(at_once(1))
        .observer(Arc::new(notes.clone()))
        .handler(as_told);
    let worker = start(builder);
    until_done(&queue).await;
    worker.drain().await;
    let told = notes.told();
    // Each took 30 ms, to the millisecond that a timer is exact to.
    for (nth, waited) in told.waits.iter().enumerate() {
        let expected = Duration::from_millis(30) * u32::try_from(nth).unwrap();
        assert!(waited.abs_diff(expected) < Duration::from_millis(10), "{:?}", told.waits);
    }
    assert!(told.refused >= 2, "two of them waited for a permit");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_call_and_halves_are_calls_of_their_own() {
    async fn poisoned(jobs: Vec<Job<String>>) -> BatchOutcome {
        if jobs.iter().any(|job| job.payload == "poison") {
            return BatchOutcome::Failed(Failure::permanent("one of you"));
        }
        BatchOutcome::Each(jobs.iter().map(|_| Ok(())).collect())
    }
    let (queue, notes) = (MemoryQueue::new(), Notes::default());
    publish(&queue, quoted(&["a", "b", "c", "poison"])).await;
    let builder = Worker::builder(queue.source())
        .observer(Arc::new(notes.clone()))
        .batch_handler(BatchOptions::of(4), poisoned);
    let worker = start(builder);
    until_done(&queue).await;
    worker.drain().await;
    let told = notes.told();
    assert_eq!(told.called, 5, "of four, of two, of two, of one, of one");
    assert_eq!(told.ended.len(), 5);
    assert_eq!(told.handled, BTreeMap::from([("done", 3), ("permanent", 1)]));
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_extended_or_lost_are_told() {
    async fn long(_: Job<String>) -> Result<(), Failure> {
        sleep(Duration::from_secs(60)).await;
        Ok(())
    }
    let options = MemoryOptions::default().lease(Duration::from_secs(10));
    let (queue, notes) = (MemoryQueue::with(options), Notes::default());
    publish(&queue, quoted(&["a"])).await;
    let builder = Worker::builder(queue.source())
        .timeout(None)
        .observer(Arc::new(notes.clone()))
        .handler(long);
    let worker = start(builder);
    sleep(Duration::from_secs(30)).await;
    assert!(notes.told().extended >= 2);
    queue.sever();
    sleep(Duration::from_secs(30)).await;
    let first = notes.told().started[0];
    assert_eq!(notes.told().forgotten, [first]);
    assert!(!notes.told().settled.iter().any(|(hand_out, _)| *hand_out == first));
    worker.control.drain();
    worker.control.drain();
    worker.task.await.unwrap().unwrap();
    let acked = queue.verdicts().iter().filter(|(_, verdict)| *verdict == Verdict::Ack).count();
    assert!(acked <= 1);
    let phases = [WorkerPhase::Draining, WorkerPhase::Cancelling, WorkerPhase::Stopped];
    assert_eq!(notes.told().phases, phases);
}
