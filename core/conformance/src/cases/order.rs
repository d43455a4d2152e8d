//! Order within a key, whatever happens to its messages, and no further than that.

use crate::{
    CaseResult, Harness, Setup, Stop,
    stage::{BYTES, Out, Stage, Worker, note, release, retry, text},
    stop::{check, check_eq, needs},
};
use forebay_contract::{OrderSupport, Outgoing, Source, Verdict, Want};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Messages `key/0`, `key/1`, … of several keys, mixed.
fn keyed(keys: usize, each: usize) -> Vec<Outgoing> {
    let all = (0..each).flat_map(|n| (0..keys).map(move |key| (key, n)));
    all.map(|(key, n)| Outgoing::new(format!("k{key}/{n}")).key(format!("k{key}"))).collect()
}

/// Key and number of a message.
fn place<R>(delivery: &forebay_contract::Delivery<R>) -> Result<(String, usize), Stop> {
    let text = text(delivery);
    let (key, n) = text.split_once('/').ok_or_else(|| Stop::fail(format!("foreign: {text}")))?;
    Ok((key.to_owned(), n.parse()?))
}

/// What the order kept demands of the source; skips the case where there is none.
fn support<S: Source>(worker: &Worker<S>) -> Result<OrderSupport, Stop> {
    let order = worker.source.capabilities().order;
    needs!(order != OrderSupport::None, "this source keeps no order");
    Ok(order)
}

/// What the case knows of one key: a check of each hand-out, and the messages in hand.
struct Lane<R> {
    /// The number that comes next for the first time.
    fresh: usize,
    /// Retried or released, and not come back yet.
    away: BTreeSet<usize>,
    /// In hand, by number.
    out: BTreeMap<usize, forebay_contract::Delivery<R>>,
}

impl<R> Default for Lane<R> {
    fn default() -> Self {
        Self { fresh: 0, away: BTreeSet::new(), out: BTreeMap::new() }
    }
}

impl<R> Lane<R> {
    fn take(&mut self, delivery: forebay_contract::Delivery<R>, order: OrderSupport) -> CaseResult {
        let (key, n) = place(&delivery)?;
        if order == OrderSupport::KeyAtSource {
            check!(self.out.is_empty(), "{key}/{n} came while another of its key was out");
        }
        match self.away.first() {
            Some(first) => check!(
                n == *first,
                "{key}/{n} came although {key}/{first} was retried or released, and is to come first"
            ),
            None => {
                let fresh = self.fresh;
                check!(n == fresh, "{key}/{n} came, expected {key}/{fresh}");
                self.fresh += 1;
            }
        }
        self.away.remove(&n);
        self.out.insert(n, delivery);
        Ok(())
    }
}

/// Takes a few more messages, each into its lane.
async fn take_some<S: Source>(
    worker: &Worker<S>,
    lanes: &mut BTreeMap<String, Lane<S::Receipt>>,
    order: OrderSupport,
    wait: Duration,
) -> CaseResult {
    let mut out: Vec<Out<S>> = Vec::new();
    let want = Want { messages: 7, bytes: BYTES };
    if let Ok(received) = tokio::time::timeout(wait, worker.source.receive(want, &mut out)).await {
        received?;
    }
    for delivery in out {
        let (key, _) = place(&delivery)?;
        lanes.entry(key).or_default().take(delivery, order)?;
    }
    Ok(())
}

/// Handles all messages of a queue in order, as the runtime's lanes would: of each key only the
/// first that is in hand, with the verdict that `decide` finds.
async fn handle_all<S: Source>(
    worker: &Worker<S>,
    total: usize,
    mut decide: impl FnMut() -> Verdict,
) -> Result<Vec<(String, usize)>, Stop> {
    let order = support(worker)?;
    let mut lanes: BTreeMap<String, Lane<S::Receipt>> = BTreeMap::new();
    let mut done = Vec::new();
    let mut idle = 0;
    while done.len() < total {
        let before = lanes.values().map(|lane| lane.out.len()).sum::<usize>();
        take_some(worker, &mut lanes, order, Duration::from_millis(50)).await?;
        let mut settled = 0;
        for (key, lane) in &mut lanes {
            // A lane whose head is away waits for it.
            let Some((&n, _)) = lane.out.first_key_value() else { continue };
            if lane.away.first().is_some_and(|away| *away < n) {
                continue;
            }
            let Some(delivery) = lane.out.remove(&n) else { continue };
            let verdict = decide();
            let is_done = verdict == Verdict::Ack;
            worker.settle(&delivery, verdict).await?;
            settled += 1;
            if is_done {
                done.push((key.clone(), n));
            } else {
                lane.away.insert(n);
            }
        }
        let after = lanes.values().map(|lane| lane.out.len()).sum::<usize>();
        idle = if settled == 0 && before == after { idle + 1 } else { 0 };
        let patience = worker.timing.patience.as_millis() / 50;
        check!(idle < patience, "{} of {total} handled, and no more came", done.len());
    }
    Ok(done)
}

/// Insists that the messages of each key were handled in order, all of them.
fn check_order(done: &[(String, usize)], keys: usize, each: usize) -> CaseResult {
    let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (key, n) in done {
        by_key.entry(key).or_default().push(*n);
    }
    check_eq!(by_key.len(), keys, "keys handled");
    for (key, seen) in by_key {
        check_eq!(seen, (0..each).collect::<Vec<_>>(), "handled of {key}");
    }
    Ok(())
}

/// MUST 23: messages of one key come in the order in which they were published; where the source
/// holds the key, one at a time.
pub async fn holds_within_a_key<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::ordered()).await?;
    let worker = stage.worker().await?;
    support(&worker)?;
    stage.publish(&keyed(4, 25)).await?;
    let done = handle_all(&worker, 100, || Verdict::Ack).await?;
    check_order(&done, 4, 25)?;
    worker.nothing_comes("all was handled").await
}

/// MUST 24: a message that was retried, postponed or released comes before every later one of its
/// key that has not been handed out yet.
pub async fn holds_across_retries_and_releases<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::ordered()).await?;
    let worker = stage.worker().await?;
    support(&worker)?;
    stage.publish(&keyed(4, 15)).await?;
    let mut dice = fastrand::Rng::with_seed(7);
    let decide = move || {
        let after = Duration::from_millis(dice.u64(0..30));
        match dice.u8(0..10) {
            0 | 1 => retry(after, "again"),
            2 => Verdict::Postpone { after, note: note("busy") },
            3 => release(after),
            _ => Verdict::Ack,
        }
    };
    let done = handle_all(&worker, 60, decide).await?;
    check_order(&done, 4, 15)?;
    worker.nothing_comes("all was handled").await
}

/// MUST 24: a dead letter and a drop let the next of their key come.
pub async fn goes_on_after_a_dead_letter<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::ordered()).await?;
    let worker = stage.worker().await?;
    support(&worker)?;
    stage.publish(&keyed(1, 3)).await?;
    for (n, verdict) in [crate::stage::dead_letter("bad"), Verdict::Drop("no".into()), Verdict::Ack]
        .into_iter()
        .enumerate()
    {
        let delivery = worker.receive_one().await?;
        check_eq!(text(&delivery), format!("k0/{n}"), "what came");
        worker.settle(&delivery, verdict).await?;
    }
    Ok(())
}

/// MUST 25: a hot key does not starve the others: they are done while most of it is still to come,
/// and they come even while it is held.
pub async fn a_hot_key_starves_nobody<H: Harness>(harness: &H) -> CaseResult {
    const HOT: usize = 1000;
    let stage = Stage::new(harness, Setup::ordered()).await?;
    let worker = stage.worker().await?;
    let order = worker.source.capabilities().order;
    needs!(
        order == OrderSupport::KeyAtSource,
        "this source does not hold keys: lanes share it out"
    );
    let hot = (0..HOT).map(|n| Outgoing::new(format!("hot/{n}")).key("hot"));
    let cold = (0..20).map(|n| Outgoing::new(format!("c{n}/0")).key(format!("c{n}")));
    stage.publish(&hot.chain(cold).collect::<Vec<_>>()).await?;
    // Which key comes first is the broker's to say.
    let mut cold = 0;
    let first = loop {
        let delivery = worker.receive_one().await?;
        if text(&delivery).starts_with("hot") {
            break delivery;
        }
        worker.settle(&delivery, Verdict::Ack).await?;
        cold += 1;
    };
    check_eq!(text(&first), "hot/0", "what came first of the hot key");
    let some = worker.receive_n((20 - cold).min(10)).await?;
    check!(some.iter().all(|out| !text(out).starts_with("hot")), "two of the hot key are out");
    worker.ack_all(&some).await?;
    worker.settle(&first, Verdict::Ack).await?;
    let mut hot = 1;
    cold += some.len();
    while cold < 20 {
        let delivery = worker.receive_one().await?;
        if text(&delivery).starts_with("hot") {
            hot += 1;
        } else {
            cold += 1;
        }
        worker.settle(&delivery, Verdict::Ack).await?;
        check!(hot < HOT / 2, "{hot} of the hot key came, and of the 20 others only {cold}");
    }
    Ok(())
}

/// MUST 26: of two workers, one at a time has a key; in lanes, what it retried or released comes
/// back to it.
pub async fn a_key_is_with_one_worker_at_a_time<H: Harness>(harness: &H) -> CaseResult {
    const TOTAL: usize = 60;
    let stage = Stage::new(harness, Setup::ordered()).await?;
    let workers = [stage.worker().await?, stage.worker().await?];
    let order = support(&workers[0])?;
    stage.publish(&keyed(3, TOTAL / 3)).await?;
    let mut dice = fastrand::Rng::with_seed(11);
    // Which worker has how many of a key, returned ones included where they are to come back.
    let mut holders: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut hands: [Vec<Out<H::Source>>; 2] = [Vec::new(), Vec::new()];
    let mut away: BTreeSet<(String, usize)> = BTreeSet::new();
    let (mut done, mut turn) = (0, 0);
    while done < TOTAL {
        let me = turn % 2;
        for delivery in workers[me].receive_for(Duration::from_millis(20), 3).await? {
            let (key, n) = place(&delivery)?;
            let holder = holders.entry(key.clone()).or_insert((me, 0));
            check!(holder.0 == me || holder.1 == 0, "{key}/{n} came while the other had its key");
            holder.0 = me;
            holder.1 += usize::from(!away.remove(&(key, n)));
            hands[me].push(delivery);
        }
        while hands[me].len() > turn / 2 % 3 {
            let delivery = hands[me].remove(0);
            let (key, n) = place(&delivery)?;
            let again = dice.u8(0..4) == 0;
            let verdict = if again { release(Duration::ZERO) } else { Verdict::Ack };
            workers[me].settle(&delivery, verdict).await?;
            done += usize::from(!again);
            if again && order == OrderSupport::KeyInLanes {
                away.insert((key, n));
            } else if let Some(holder) = holders.get_mut(&key) {
                holder.1 -= 1;
            }
        }
        turn += 1;
        check!(turn < 2000, "{done} of {TOTAL} handled, and no more came");
    }
    Ok(())
}
