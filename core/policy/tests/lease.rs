//! The lease book against one that looks at every entry each time.

use forebay_policy::{LeaseBook, LeaseEnd, LeaseFate, Moment};
use proptest::prelude::*;
use std::{collections::BTreeMap, time::Duration};

const HOLD: Duration = Duration::from_secs(100);
const MARGIN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Held,
    Renewing,
    Capped,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    state: State,
    at: Moment,
    expires_at: Moment,
    cap_at: Moment,
}

impl Lease {
    fn new(now: Moment, expires_at: Moment, cap_at: Moment) -> Self {
        let length = expires_at.since(now);
        let at = (now + length / 2).min(expires_at - MARGIN).max(now + length / 4);
        let capped = at + length > cap_at;
        let (state, at) = if capped { (State::Capped, expires_at) } else { (State::Held, at) };
        Self { state, at, expires_at, cap_at }
    }

    fn fate(&self) -> LeaseFate {
        if self.state == State::Capped { LeaseFate::CapReached } else { LeaseFate::Kept }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register(u64),
    Remove(usize),
    Renewed(usize, u64),
    Failed(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![4 => Just(30), 1 => 0u64..90].prop_map(Step::Register),
        2 => any::<usize>().prop_map(Step::Remove),
        3 => (any::<usize>(), prop_oneof![4 => Just(30), 1 => 0u64..90]).prop_map(|(t, s)| Step::Renewed(t, s)),
        2 => any::<usize>().prop_map(Step::Failed),
        6 => (0u64..12_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn it_says_what_looking_at_everything_would(steps in prop::collection::vec(step(), 0..150)) {
        let mut book = LeaseBook::new(Some(HOLD)).with_margin(MARGIN);
        let mut model: BTreeMap<u64, Lease> = BTreeMap::new();
        let (mut now, mut next) = (Moment::ZERO, 0u64);
        for step in steps {
            let ticket = |which: usize| which as u64 % (next + 1);
            match step {
                Step::Register(seconds) => {
                    let expires_at = now + Duration::from_secs(seconds);
                    book.register(next, now, expires_at);
                    model.insert(next, Lease::new(now, expires_at, now + HOLD));
                    next += 1;
                }
                Step::Remove(which) => {
                    let removed = model.remove(&ticket(which)).is_some();
                    prop_assert_eq!(book.remove(ticket(which)), removed);
                }
                Step::Renewed(which, seconds) => {
                    let expires_at = now + Duration::from_secs(seconds);
                    let fate = match model.get_mut(&ticket(which)) {
                        None => LeaseFate::Unknown,
                        Some(_) if expires_at <= now => {
                            model.remove(&ticket(which));
                            LeaseFate::Lost
                        }
                        Some(lease) => {
                            *lease = Lease::new(now, expires_at, lease.cap_at);
                            lease.fate()
                        }
                    };
                    prop_assert_eq!(book.renewed(ticket(which), now, expires_at), fate);
                }
                Step::Failed(which) => {
                    let fate = match model.get_mut(&ticket(which)) {
                        None => LeaseFate::Unknown,
                        Some(lease) if lease.expires_at <= now => {
                            model.remove(&ticket(which));
                            LeaseFate::Lost
                        }
                        Some(lease) if lease.state == State::Capped => LeaseFate::CapReached,
                        Some(lease) => {
                            let quarter = lease.expires_at.since(now) / 4;
                            let pause = quarter.clamp(Duration::from_millis(10), Duration::from_millis(500));
                            (lease.state, lease.at) = (State::Held, now + pause);
                            LeaseFate::Kept
                        }
                    };
                    prop_assert_eq!(book.failed(ticket(which), now), fate);
                }
                Step::Wait(millis) => now = now + Duration::from_millis(millis),
            }
            book.invariants();
            prop_assert_eq!(book.next_due(), model.values().map(|l| l.at).min().unwrap_or(Moment::NEVER));

            let mut due = book.due(now);
            let mut ended = book.take_ended();
            book.invariants();
            due.sort_unstable();
            ended.sort_unstable_by_key(|(ticket, _)| *ticket);
            let over: Vec<_> = model
                .extract_if(.., |_, lease| lease.at <= now && lease.expires_at <= now)
                .map(|(ticket, lease)| match lease.state {
                    State::Capped => (ticket, LeaseEnd::CapReached),
                    _ => (ticket, LeaseEnd::Expired),
                })
                .collect();
            prop_assert_eq!(ended, over);
            let mut expected = Vec::new();
            for (&ticket, lease) in &mut model {
                if lease.state == State::Held && lease.at <= now {
                    (lease.state, lease.at) = (State::Renewing, lease.expires_at);
                    expected.push(ticket);
                }
            }
            prop_assert_eq!(due, expected);
            prop_assert_eq!(book.len(), model.len());
            prop_assert!(book.next_due() > now, "a loop that waits for it would spin");
        }
    }
}

/// A heap or a queue with stale entries would grow with every message that has come and gone.
#[test]
fn a_million_messages_leave_nothing_behind() {
    let mut book = LeaseBook::new(None);
    let mut now = Moment::ZERO;
    for ticket in 0..1_000_000u64 {
        now = now + Duration::from_micros(1);
        book.register(ticket, now, now + Duration::from_secs(30));
        if ticket >= 1000 {
            assert!(book.remove(ticket - 1000));
        }
    }
    assert_eq!(book.len(), 1000);
    book.invariants();
    let first = now - Duration::from_micros(999);
    assert_eq!(book.next_due(), first + Duration::from_secs(15));
}
