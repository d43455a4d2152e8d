//! Random histories of the queue, beside a model of what it means.
//!
//! The model is a list of messages with the contract's rules written out one by one, with no tokens,
//! lines or maps; the queue has to hand out exactly what the model says may go, and its invariants hold
//! after every step.

use crate::{MemoryOptions, MemoryReceipt, state::State, table::WorkerId};
use forebay_contract::{
    Bytes, DeadFilter, DeadReason, Delivery, FailureKind, FailureNote, MessageId, OrderSupport,
    Outgoing, Settlement, Verdict, Want,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, UNIX_EPOCH},
};
use tokio::time::Instant;

#[derive(Clone, Debug)]
enum Step {
    Publish { key: Option<u8>, delay: u64 },
    Take { worker: usize, messages: usize },
    Settle { which: usize, verdict: u8, after: u64 },
    SettleStale { which: usize },
    Extend { which: usize, time: u64 },
    Pass(u64),
    Sever,
    Revoke(u64),
    Reopen { worker: usize, politely: bool },
    Redrive { limit: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let time = 0..30u64;
    prop_oneof![
        6 => (proptest::option::of(0..3u8), 0..20u64)
            .prop_map(|(key, delay)| Step::Publish { key, delay: delay.saturating_sub(12) }),
        6 => (0..2usize, 1..4usize).prop_map(|(worker, messages)| Step::Take { worker, messages }),
        8 => (any::<usize>(), 0..8u8, time.clone())
            .prop_map(|(which, verdict, after)| Step::Settle { which, verdict, after }),
        1 => any::<usize>().prop_map(|which| Step::SettleStale { which }),
        1 => (any::<usize>(), time.clone()).prop_map(|(which, time)| Step::Extend { which, time }),
        3 => time.clone().prop_map(Step::Pass),
        1 => Just(Step::Sever),
        1 => time.prop_map(Step::Revoke),
        1 => (0..2usize, any::<bool>())
            .prop_map(|(worker, politely)| Step::Reopen { worker, politely }),
        1 => (1..4usize).prop_map(|limit| Step::Redrive { limit }),
    ]
}

/// A message, as the rules see it.
#[derive(Clone, Debug)]
struct Known {
    key: Option<u8>,
    place: u64,
    due: Instant,
    attempt: u32,
    interrupted: u32,
    redrives: u32,
    held: Option<(WorkerId, Option<Instant>)>,
    /// In lanes: to whom it comes back.
    returned_to: Option<WorkerId>,
}

struct Model {
    order: OrderSupport,
    now: Instant,
    lease: Option<Duration>,
    state: State,
    workers: [WorkerId; 2],
    revoked_at: [Option<Instant>; 2],
    live: BTreeMap<u64, Known>,
    dead: Vec<(u64, Known)>,
    hands: Vec<(u64, Delivery<MemoryReceipt>)>,
    stale: Vec<Delivery<MemoryReceipt>>,
    published: u64,
    placed: u64,
}

impl Model {
    fn new(order: OrderSupport, lease: Option<u64>) -> Self {
        let now = Instant::now();
        let lease = lease.map(Duration::from_millis);
        let mut options = MemoryOptions::default().order(order);
        options.lease = lease;
        let mut state = State::new(options, now);
        let workers = [state.open(), state.open()];
        Self {
            order,
            now,
            lease,
            state,
            workers,
            revoked_at: [None; 2],
            live: BTreeMap::new(),
            dead: Vec::new(),
            hands: Vec::new(),
            stale: Vec::new(),
            published: 0,
            placed: 0,
        }
    }

    fn key(&self, key: Option<u8>) -> Option<u8> {
        key.filter(|_| self.order != OrderSupport::None)
    }

    fn after(&self, millis: u64) -> Instant {
        self.now + Duration::from_millis(millis)
    }

    /// Whether the rules let this message go to this worker now.
    fn may_go(&self, id: u64, worker: WorkerId) -> bool {
        let known = &self.live[&id];
        if known.held.is_some() || known.due > self.now {
            return false;
        }
        let Some(key) = self.key(known.key) else { return true };
        self.live.iter().filter(|(_, other)| other.key == Some(key)).all(|(other_id, other)| {
            let with = other.held.map(|(worker, _)| worker).or(other.returned_to);
            let first = *other_id == id || other.place > known.place || other.held.is_some();
            match self.order {
                OrderSupport::KeyAtSource => {
                    other.held.is_none() && (*other_id == id || other.place > known.place)
                }
                _ => first && with.is_none_or(|with| with == worker),
            }
        })
    }

    /// Ends a hand-out without a verdict.
    fn interrupt(&mut self, ends: impl Fn(WorkerId, Option<Instant>) -> bool) {
        let now = self.now;
        for known in self.live.values_mut() {
            if known.held.is_some_and(|(worker, expires)| ends(worker, expires)) {
                known.held = None;
                known.interrupted += 1;
                known.due = now;
            }
        }
        let (live, hands) = (&self.live, std::mem::take(&mut self.hands));
        let ours = |id: &u64| live.get(id).is_some_and(|known| known.held.is_some());
        let (ours, stale): (Vec<_>, Vec<_>) = hands.into_iter().partition(|(id, _)| ours(id));
        self.hands = ours;
        self.stale.extend(stale.into_iter().map(|(_, delivery)| delivery));
    }

    fn forget_returned(&mut self, worker: WorkerId) {
        let theirs = |known: &&mut Known| known.returned_to == Some(worker);
        self.live.values_mut().filter(theirs).for_each(|known| known.returned_to = None);
    }

    fn lose_scope(&mut self, i: usize) {
        let worker = self.workers[i];
        self.revoked_at[i] = None;
        self.interrupt(|holder, _| holder == worker);
        self.forget_returned(worker);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        let now = self.now;
        self.interrupt(|_, expires| expires.is_some_and(|end| end <= now));
        for i in 0..2 {
            if self.revoked_at[i].is_some_and(|at| at <= now) {
                self.lose_scope(i);
            }
        }
        self.state.advance(now);
    }

    fn publish(&mut self, key: Option<u8>, delay: u64) {
        self.published += 1;
        self.placed += 1;
        let id = self.published;
        let mut outgoing = Outgoing::new("x").id(id).delay(Duration::from_millis(delay));
        outgoing.key = key.map(|key| Bytes::from(vec![key]));
        let known = Known {
            key,
            place: self.placed,
            due: self.after(delay),
            attempt: 0,
            interrupted: 0,
            redrives: 0,
            held: None,
            returned_to: None,
        };
        self.live.insert(id, known);
        let published = self.state.try_publish(&outgoing, self.now);
        assert_eq!(published.unwrap(), MessageId::from(id));
    }

    fn take(&mut self, i: usize, messages: usize) {
        let worker = self.workers[i];
        let mut out = Vec::new();
        let want = Want { messages, bytes: 1000 };
        self.state.take(worker, want, self.now, &mut out).unwrap();
        let got = out.len();
        for delivery in out {
            let id = delivery.message.id.as_number().unwrap();
            assert!(self.may_go(id, worker), "{id} may not go: {:?}", self.live);
            let expires = self.lease.map(|lease| self.now + lease);
            let known = self.live.get_mut(&id).unwrap();
            let seen = &delivery.message;
            assert_eq!(seen.attempt, known.attempt);
            assert_eq!(seen.interrupted, known.interrupted);
            assert_eq!(seen.redrives, known.redrives);
            (known.held, known.returned_to) = (Some((worker, expires)), None);
            self.hands.push((id, delivery));
        }
        if got < messages && self.revoked_at[i].is_none() {
            let left: Vec<_> = self.live.keys().filter(|id| self.may_go(**id, worker)).collect();
            assert!(left.is_empty(), "{left:?} could have gone");
        }
    }

    fn settle(&mut self, which: usize, verdict: u8, after: u64) {
        if self.hands.is_empty() {
            return;
        }
        let (id, delivery) = self.hands.remove(which % self.hands.len());
        let note = FailureNote::new(FailureKind::Transient, "x", UNIX_EPOCH);
        let after = Duration::from_millis(after);
        let verdict = match verdict {
            0 => Verdict::Retry { after, note },
            1 => Verdict::Postpone { after, note },
            2 => Verdict::Release { after },
            3 => Verdict::DeadLetter { reason: DeadReason::Permanent, note },
            4 => Verdict::Drop("x".into()),
            _ => Verdict::Ack,
        };
        let known = self.live.get_mut(&id).unwrap();
        let worker = known.held.take().unwrap().0;
        match &verdict {
            Verdict::Retry { .. } | Verdict::Postpone { .. } | Verdict::Release { .. } => {
                known.attempt += u32::from(matches!(verdict, Verdict::Retry { .. }));
                known.due = self.now + after;
                let comes_back = self.order == OrderSupport::KeyInLanes && known.key.is_some();
                known.returned_to = comes_back.then_some(worker);
            }
            _ => {
                let known = self.live.remove(&id).unwrap();
                if matches!(verdict, Verdict::DeadLetter { .. }) {
                    self.dead.push((id, known));
                }
            }
        }
        let (receipt, message) = (delivery.receipt, delivery.message.clone());
        let settlement = Settlement { receipt, message, verdict };
        self.state.settle(worker, &settlement, self.now).unwrap();
        self.stale.push(delivery);
    }

    fn reopen(&mut self, i: usize, politely: bool) {
        let worker = self.workers[i];
        if politely || self.lease.is_none() {
            self.interrupt(|holder, _| holder == worker);
        }
        // What is still held, under a lease, can no longer be settled by anybody.
        let theirs = |id: &u64| self.live[id].held.is_some_and(|(holder, _)| holder == worker);
        let (gone, ours): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.hands).into_iter().partition(|(id, _)| theirs(id));
        self.hands = ours;
        self.stale.extend(gone.into_iter().map(|(_, delivery)| delivery));
        self.forget_returned(worker);
        if politely {
            self.state.close(worker, self.now);
        } else {
            self.state.lose_worker(worker, self.now);
        }
        self.workers[i] = self.state.open();
        self.revoked_at[i] = None;
    }

    fn redrive(&mut self, limit: usize) {
        let moved = self.state.redrive(&DeadFilter::default(), limit, self.now);
        let n = limit.min(self.dead.len());
        assert_eq!(moved.len(), n);
        for (id, mut known) in self.dead.drain(..n).collect::<Vec<_>>() {
            self.placed += 1;
            known.place = self.placed;
            known.due = self.now;
            (known.attempt, known.interrupted, known.redrives) = (0, 0, known.redrives + 1);
            self.live.insert(id, known);
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Publish { key, delay } => self.publish(key, delay),
            Step::Take { worker, messages } => self.take(worker, messages),
            Step::Settle { which, verdict, after } => self.settle(which, verdict, after),
            Step::SettleStale { which } if !self.stale.is_empty() => {
                let delivery = &self.stale[which % self.stale.len()];
                let (receipt, message) = (delivery.receipt, delivery.message.clone());
                let settlement = Settlement { receipt, message, verdict: Verdict::Ack };
                for worker in self.workers {
                    self.state.settle(worker, &settlement, self.now).unwrap_err();
                }
            }
            Step::SettleStale { .. } => {}
            Step::Extend { which, time } => {
                if let Some(which) = which.checked_rem(self.hands.len()) {
                    let (id, delivery) = &self.hands[which];
                    let time = Duration::from_millis(time + 1);
                    let known = self.live.get_mut(id).unwrap();
                    let worker = known.held.unwrap().0;
                    self.state.extend(worker, delivery.receipt, time, self.now).unwrap();
                    let end = self.lease.map(|_| self.now + time);
                    known.held = known.held.map(|(worker, _)| (worker, end));
                }
            }
            Step::Pass(millis) => self.pass(millis),
            Step::Sever => {
                self.state.sever(self.now);
                (0..2).for_each(|i| self.lose_scope(i));
            }
            Step::Revoke(within) => {
                let within = within + 1;
                self.state.revoke(Duration::from_millis(within), self.now);
                self.revoked_at = [Some(self.after(within)); 2];
            }
            Step::Reopen { worker, politely } => self.reopen(worker, politely),
            Step::Redrive { limit } => self.redrive(limit),
        }
        self.state.invariants();
        self.count();
    }

    fn count(&self) {
        let backlog = self.state.backlog(self.now);
        let leased = self.live.values().filter(|known| known.held.is_some()).count() as u64;
        let later = |known: &&Known| known.held.is_none() && known.due > self.now;
        let delayed = self.live.values().filter(later).count() as u64;
        let told = [backlog.ready, backlog.delayed, backlog.leased, backlog.dead]
            .map(|count| count.unwrap().value);
        let ready = self.live.len() as u64 - leased - delayed;
        assert_eq!(told, [ready, delayed, leased, self.dead.len() as u64]);
    }

    /// Handles all that is left: nothing may be stuck.
    fn finish(&mut self) {
        self.run(&Step::Pass(1000));
        for worker in 0..2 {
            self.run(&Step::Reopen { worker, politely: true });
        }
        self.run(&Step::Pass(1000));
        let mut rounds = 0;
        while !self.live.is_empty() {
            self.run(&Step::Take { worker: 0, messages: 10 });
            while !self.hands.is_empty() {
                self.run(&Step::Settle { which: 0, verdict: 9, after: 0 });
            }
            rounds += 1;
            assert!(rounds < 1000, "stuck: {:?}", self.live);
        }
        let slots: HashSet<_> = self.state.table.iter().map(|(slot, _)| slot).collect();
        assert!(slots.is_empty() && self.state.lines.iter().count() == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_history_follows_the_rules(
        order in prop_oneof![
            Just(OrderSupport::None),
            Just(OrderSupport::KeyAtSource),
            Just(OrderSupport::KeyInLanes),
        ],
        lease in proptest::option::of(1..60u64),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut model = Model::new(order, lease);
        steps.iter().for_each(|step| model.run(step));
        model.finish();
    }
}
