//! The ledger against a broker that forgets the process: any order, any gaps, a restart anywhere, and
//! a log that loses its end.

use forebay_policy::{AssignNote, Commit, Done, Ledger, Received};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A partition, its committed offset, and a consumer that may die at any time.
struct World {
    log: Vec<i64>,
    broker: Option<Commit>,
    /// What was done when the broker's commit was made, and is said by it.
    promised: BTreeSet<i64>,
    /// What this ledger has been told or has found in its metadata.
    known: BTreeSet<i64>,
    /// What has been done at least once.
    done: BTreeSet<i64>,
    ledger: Ledger,
    epoch: u64,
    /// Place in the log of the next one to read.
    next: usize,
    /// How many were read since a restart.
    read: usize,
    in_flight: BTreeSet<i64>,
    handled: usize,
    thorough: bool,
}

impl World {
    fn new(gaps: &[i64], thorough: bool) -> Self {
        let log: Vec<i64> = gaps
            .iter()
            .scan(0, |at, gap| {
                *at += gap;
                Some(*at)
            })
            .collect();
        Self {
            log,
            broker: None,
            promised: BTreeSet::new(),
            known: BTreeSet::new(),
            done: BTreeSet::new(),
            ledger: Ledger::assign(0, None, None).0,
            epoch: 0,
            next: 0,
            read: 0,
            in_flight: BTreeSet::new(),
            handled: 0,
            thorough,
        }
    }

    fn receive(&mut self) {
        if !self.ledger.may_receive() {
            assert!(!self.in_flight.is_empty(), "stopped receiving with nothing to wait for");
            return;
        }
        let Some(&offset) = self.log.get(self.next) else { return };
        self.next += 1;
        self.read += 1;
        match self.ledger.received(offset) {
            Received::Fresh => {
                assert!(!self.promised.contains(&offset), "{offset} is repeated though committed");
                assert!(self.in_flight.insert(offset));
                self.handled += 1;
            }
            Received::AlreadyDone => {
                assert!(self.done.contains(&offset), "{offset} is skipped though not done");
            }
            other => panic!("{offset}: {other:?}"),
        }
    }

    fn complete(&mut self, which: usize) {
        let Some(&offset) = self.in_flight.iter().nth(which % self.in_flight.len().max(1)) else {
            return;
        };
        self.in_flight.remove(&offset);
        self.done.insert(offset);
        self.known.insert(offset);
        assert_eq!(self.ledger.done(self.epoch, offset), Done::Noted);
        assert_eq!(self.ledger.done(self.epoch, offset), Done::Already);
    }

    fn commit(&mut self, succeeds: bool) {
        let Some(commit) = self.ledger.commit() else { return };
        assert!(commit.metadata.len() <= 4096);
        assert!(self.in_flight.first().is_none_or(|&first| commit.offset <= first));
        let below = self.log.iter().take_while(|&&offset| offset < commit.offset);
        assert!(below.clone().all(|offset| self.done.contains(offset)), "committed, not done");
        if !succeeds {
            return;
        }
        self.promised = below.copied().collect();
        if !commit.metadata.is_empty() {
            self.promised.clone_from(&self.known);
        }
        self.ledger.committed(commit.offset);
        assert_eq!(self.ledger.commit(), None, "nothing has changed since");
        self.broker = Some(commit);
    }

    fn restart(&mut self) {
        let committed = self.broker.as_ref().map(|commit| commit.offset);
        let metadata = self.broker.as_ref().map(|commit| commit.metadata.as_str());
        self.epoch += 1;
        let (ledger, note) = Ledger::assign(self.epoch, committed, metadata);
        match metadata {
            None => assert_eq!(note, AssignNote::NoCommit),
            Some("") => assert_eq!(note, AssignNote::NoMap),
            Some(_) => assert!(matches!(note, AssignNote::Restored { .. }), "{note}"),
        }
        self.ledger = ledger;
        self.known.clone_from(&self.promised);
        let from = committed.unwrap_or(0);
        self.next = self.log.partition_point(|&offset| offset < from);
        self.read = 0;
        if let Some(&late) = self.in_flight.first() {
            assert_eq!(self.ledger.done(self.epoch - 1, late), Done::Fenced);
        }
        self.in_flight.clear();
    }

    /// The log loses its end, some of which was read, and others take its place, before we look.
    fn truncate(&mut self, which: usize, gaps: &[i64]) {
        if self.read == 0 {
            return; // A commit that lies beyond the log's end is told by the broker.
        }
        let cut = which % self.next;
        let first = self.log[cut];
        self.log.truncate(cut);
        self.log.extend(gaps.iter().scan(first, |at, gap| {
            let offset = *at;
            *at += gap;
            Some(offset)
        }));
        for known in [&mut self.done, &mut self.known, &mut self.promised] {
            known.retain(|&offset| offset < first);
        }
        // Kafka's client goes back to the new end, and reads on from there.
        assert_eq!(self.ledger.received(first), Received::Rewound);
        self.epoch += 1;
        self.ledger.rewind(self.epoch, first);
        if let Some(&late) = self.in_flight.first() {
            assert_eq!(self.ledger.done(self.epoch - 1, late), Done::Fenced);
        }
        self.in_flight.clear();
        let from = self.ledger.next();
        assert!(from <= first);
        self.next = self.log.partition_point(|&offset| offset < from);
        self.read = 0;
        self.commit(true);
        assert_eq!(self.broker.as_ref().map(|commit| commit.offset), Some(from));
    }

    fn check(&self) {
        if self.thorough {
            self.ledger.invariants();
        }
        assert_eq!(self.ledger.incomplete(), self.in_flight.len());
    }

    fn finish(mut self) -> usize {
        while self.next < self.log.len() || !self.in_flight.is_empty() {
            self.receive();
            self.complete(0);
        }
        self.commit(true);
        assert!(self.log.iter().all(|offset| self.done.contains(offset)), "one was skipped");
        let last = self.log.last().map(|last| last + 1);
        assert_eq!(self.broker.as_ref().map(|commit| commit.offset), last);
        assert_eq!(self.broker.map_or(String::new(), |commit| commit.metadata), "");
        assert_eq!(self.ledger.gap(), 0);
        self.handled
    }
}

#[derive(Clone, Debug)]
enum Step {
    Receive,
    Complete(usize),
    Commit(bool),
    Restart,
    Truncate(usize, Vec<i64>),
}

fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Receive),
        7 => any::<usize>().prop_map(Step::Complete),
        2 => prop::bool::weighted(0.8).prop_map(Step::Commit),
        1 => Just(Step::Restart),
        1 => (any::<usize>(), prop::collection::vec(1i64..4, 1..20))
            .prop_map(|(which, gaps)| Step::Truncate(which, gaps)),
    ];
    prop::collection::vec(step, 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_skipped_and_nothing_committed_is_repeated(
        gaps in prop::collection::vec(prop_oneof![20 => Just(1i64), 2 => 2i64..5, 1 => 2i64..1_000_000_000], 1..120),
        steps in steps(300),
    ) {
        let mut world = World::new(&gaps, true);
        for step in steps {
            match step {
                Step::Receive => world.receive(),
                Step::Complete(which) => world.complete(which),
                Step::Commit(succeeds) => world.commit(succeeds),
                Step::Restart => world.restart(),
                Step::Truncate(which, gaps) => world.truncate(which, &gaps),
            }
            world.check();
        }
        world.finish();
    }

    #[test]
    fn no_metadata_makes_it_panic(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..200), committed in 0i64..100) {
        for text in [text, String::from_utf8_lossy(&bytes).into_owned()] {
            let (mut ledger, note) = Ledger::assign(1, Some(committed), Some(&text));
            prop_assert!(!believed(note), "{note}");
            ledger.invariants();
            prop_assert_eq!(ledger.received(committed), Received::Fresh);
        }
    }

    /// The checksum guards the map, and the base the offset: a change is noticed, wherever it is.
    #[test]
    fn a_changed_map_is_never_believed(
        order in Just((0..200i64).collect::<Vec<_>>()).prop_shuffle(),
        at in any::<prop::sample::Index>(),
        to in any::<char>(),
        cut in any::<bool>(),
    ) {
        let commit = half_done(&order);
        let mut chars: Vec<char> = commit.metadata.chars().collect();
        let at = at.index(chars.len());
        prop_assume!(chars[at] != to);
        if cut { chars.truncate(at) } else { chars[at] = to }
        let changed: String = chars.into_iter().collect();
        let (ledger, note) = Ledger::assign(1, Some(commit.offset), Some(&changed));
        prop_assert!(!believed(note), "{note}: {changed}");
        ledger.invariants();
    }
}

fn believed(note: AssignNote) -> bool {
    matches!(note, AssignNote::Restored { .. })
}

/// A ledger of as many as `order` has, the first half of which are done in that order.
fn half_done(order: &[i64]) -> Commit {
    let (mut ledger, _) = Ledger::assign(1, Some(0), None);
    for offset in 0..order.len() as i64 {
        ledger.received(offset);
    }
    for &offset in &order[..order.len() / 2] {
        ledger.done(1, offset);
    }
    ledger.commit().expect("half of it is done")
}

/// Random enough, and the same each time.
fn scatter(n: usize, salt: u64) -> usize {
    ((n as u64 + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize
}

#[test]
fn a_hundred_thousand_offsets_with_restarts() {
    for salt in 0..2 {
        let gaps: Vec<i64> =
            (0..100_000).map(|n| 1 + i64::from(scatter(n, salt).is_multiple_of(50))).collect();
        let mut world = World::new(&gaps, false);
        let mut step = 0;
        while world.next < world.log.len() {
            step += 1;
            world.receive();
            if world.in_flight.len() > 500 || !world.ledger.may_receive() {
                // The oldest is slow, except now and then.
                let which = if step % 97 == 0 { 0 } else { 1 + scatter(step, salt) % 400 };
                world.complete(which);
            }
            if step % 7_000 == 0 {
                world.commit(true);
            }
            if step % 61_000 == 0 {
                world.restart();
            }
            world.check();
        }
        let handled = world.finish();
        assert!(handled < 130_000, "{handled} calls for 100,000 offsets and a few restarts");
    }
}

#[test]
fn a_hundred_thousand_in_flight_in_any_order() {
    const N: i64 = 100_000;
    let (mut ledger, _) = Ledger::assign(1, Some(0), None);
    (0..N).for_each(|offset| assert_eq!(ledger.received(offset), Received::Fresh));
    // 61,803 has no factor in common with 100,000, so that this is every offset once.
    for n in 0..N {
        assert_eq!(ledger.done(1, n * 61_803 % N), Done::Noted);
        if n % 10_000 == 5_000 {
            ledger.invariants();
            assert_eq!(ledger.commit().expect("changed").metadata, "", "no room for such a map");
            assert!(!ledger.may_receive());
        }
    }
    let end = Commit { offset: N, metadata: String::new() };
    assert_eq!((ledger.commit(), ledger.incomplete(), ledger.may_receive()), (Some(end), 0, true));
}
