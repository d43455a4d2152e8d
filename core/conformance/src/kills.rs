//! A broker that is killed (SIGKILL) three times, and started again, while a producer and a worker are
//! under load. The oracle is what the handler has seen: nothing that was confirmed may be missing,
//! neither at the worker nor among the dead letters.

use crate::Broker;
use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, Delivery, FailureKind, FailureNote, Outgoing, SettleError,
    Settlement, Sink, Source, SourceError, Verdict, Want,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

const KILLS: usize = 3;
/// What the worker handles before each kill.
const BETWEEN: usize = 200;
/// How long anything may take: a broker that starts on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const MOMENT: Duration = Duration::from_millis(20);

/// What the worker has seen through to its end, and how often.
#[derive(Debug, Default)]
struct Oracle(Mutex<BTreeMap<usize, usize>>);

impl Oracle {
    fn seen(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: usize) {
        *self.seen().entry(number).or_default() += 1;
    }
}

/// Kills the broker of a queue three times under load, and asserts that nothing is lost.
///
/// # Panics
/// When something is lost, or it does not go on.
#[expect(clippy::print_stdout, reason = "a test's figures")]
pub async fn nothing_is_lost_when_killed<Q, S>(broker: &Arc<Broker>, queue: &Q, source: &S)
where
    Q: Sink + DeadLetters,
    S: Source,
{
    let (oracle, enough, done) =
        (Oracle::default(), AtomicBool::new(false), AtomicBool::new(false));
    let crashing = async {
        for kill in 0..KILLS {
            let handled = oracle.seen().len();
            until("the worker handles messages", || oracle.seen().len() > handled + BETWEEN).await;
            let broker = Arc::clone(broker);
            let crashed = tokio::task::spawn_blocking(move || broker.crash()).await;
            crashed.expect("the broker comes back");
            println!("after kill {kill}: {} handled", oracle.seen().len());
        }
        enough.store(true, Ordering::Relaxed);
    };
    let published = async {
        let (confirmed, ()) = tokio::join!(produce(queue, &enough), crashing);
        // What is left is worked off.
        until("all is handled or dead", || {
            let seen = oracle.seen();
            confirmed.iter().all(|n| n % 100 == 0 || seen.contains_key(n))
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        done.store(true, Ordering::Relaxed);
        confirmed
    };
    let (confirmed, ()) = tokio::join!(published, work(source, &oracle, &done));

    let letters = queue.list(&DeadFilter::default(), None, usize::MAX).await;
    let letters = letters.expect("the broker is back");
    let dead: BTreeSet<_> = letters.iter().map(|letter| number(&letter.message.payload)).collect();
    let seen = oracle.seen().clone();
    let lost: Vec<_> =
        confirmed.iter().filter(|n| !seen.contains_key(n) && !dead.contains(n)).collect();
    let again: usize = seen.values().map(|times| times - 1).sum();
    println!(
        "{} confirmed, {} handled, {} dead, {again} handled again, {} lost",
        confirmed.len(),
        seen.len(),
        dead.len(),
        lost.len()
    );
    assert!(lost.is_empty(), "confirmed and neither handled nor dead: {lost:?}");
    assert!(confirmed.len() > KILLS * BETWEEN, "{} confirmed: a poor test", confirmed.len());
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it never came to this: {what}");
        tokio::time::sleep(MOMENT).await;
    }
}

fn number(payload: &[u8]) -> usize {
    String::from_utf8_lossy(payload).parse().expect("a payload is a number")
}

/// Publishes numbers until told to stop; returns those that were confirmed.
async fn produce(sink: &impl Sink, stop: &AtomicBool) -> BTreeSet<usize> {
    let (mut confirmed, mut next) = (BTreeSet::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let numbers = next..next + 20;
        next = numbers.end;
        let batch: Vec<_> =
            numbers.clone().map(|n| Outgoing::new(n.to_string()).key(n.to_string())).collect();
        // What is not confirmed may be there or not: nobody was promised anything.
        let answers = sink.publish(&batch).await;
        confirmed.extend(numbers.zip(answers).filter(|(_, answer)| answer.is_ok()).map(|(n, _)| n));
        tokio::time::sleep(MOMENT).await;
    }
    confirmed
}

/// Every tenth fails once, every hundredth for good.
fn verdict<R>(out: &Delivery<R>) -> Verdict {
    let note = || FailureNote::new(FailureKind::Transient, "as planned", SystemTime::now());
    match number(&out.message.payload) % 100 {
        0 => Verdict::DeadLetter { reason: DeadReason::Permanent, note: note() },
        at if at % 10 == 0 && out.message.attempt == 0 => {
            Verdict::Retry { after: Duration::from_millis(50), note: note() }
        }
        _ => Verdict::Ack,
    }
}

/// Handles messages until told to stop, and settles until it is told that it is settled.
async fn work<S: Source>(source: &S, oracle: &Oracle, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut out = Vec::new();
        let want = Want { messages: 50, bytes: 1 << 20 };
        let received = source.receive(want, &mut out);
        match tokio::time::timeout(10 * MOMENT, received).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(SourceError::Unavailable(_))) => tokio::time::sleep(MOMENT).await,
            Ok(Err(error)) => panic!("{error}"),
        }
        tokio::time::sleep(MOMENT / 10).await;
        let settlement = |out: &Delivery<S::Receipt>| Settlement {
            receipt: out.receipt.clone(),
            message: out.message.clone(),
            verdict: verdict(out),
        };
        let mut left: Vec<_> = out.iter().map(settlement).collect();
        for acked in left.iter().filter(|settlement| settlement.verdict == Verdict::Ack) {
            oracle.note(number(&acked.message.payload));
        }
        while !left.is_empty() {
            let answers = source.settle(&left).await;
            let again = left.into_iter().zip(answers).filter_map(|(settlement, answer)| {
                match answer {
                    // Stale: its hand-out was lost with the broker, and it comes again.
                    Ok(_) | Err(SettleError::Stale) => None,
                    Err(SettleError::Unavailable(_)) => Some(settlement),
                    Err(error) => panic!("{error}"),
                }
            });
            left = again.collect();
        }
    }
}
