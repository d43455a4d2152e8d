//! Every transition of the table in the module's documentation.

use super::*;

type Keys = Lanes<u32>;

/// Messages whose identity is their number, and their key its tens.
impl Item for u32 {
    type Key = char;
    type KeyRef<'a> = char;
    type Id = Self;

    fn key(&self) -> Option<char> {
        ['a', 'b', 'c'].get(*self as usize / 10).copied()
    }

    fn id(&self) -> Self {
        *self
    }

    fn is(&self, id: &Self) -> bool {
        self == id
    }
}

/// Messages that have a key each.
impl Item for u64 {
    type Key = Self;
    type KeyRef<'a> = Self;
    type Id = Self;

    fn key(&self) -> Option<Self> {
        Some(*self)
    }

    fn id(&self) -> Self {
        *self
    }

    fn is(&self, id: &Self) -> bool {
        self == id
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn lanes() -> Keys {
    Lanes::keyed_with(2, MINUTE)
}

/// Pushes messages, and says which were turned away.
fn push(lanes: &mut Keys, ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let turned = ids.into_iter().filter_map(|id| match lanes.push(id) {
        Push::Queued => None,
        Push::TurnedAway(id) => Some(id),
    });
    let turned = turned.collect();
    lanes.invariants();
    turned
}

fn pop(lanes: &mut Keys) -> Option<u32> {
    lanes.pop().map(|(token, id)| {
        lanes.done(token, After::Next, || Moment::ZERO);
        lanes.invariants();
        id
    })
}

fn all(lanes: &mut Keys) -> Vec<u32> {
    std::iter::from_fn(|| pop(lanes)).collect()
}

#[test]
fn a_lane_runs_one_message_at_a_time_and_ends_with_its_last() {
    let mut lanes = lanes();
    assert_eq!(push(&mut lanes, [1, 2]), []);
    let (token, first) = lanes.pop().unwrap();
    assert_eq!((first, lanes.len(), lanes.ready_len()), (1, 1, 0));
    assert!(lanes.pop().is_none());
    lanes.done(token, After::Next, || Moment::ZERO);
    assert_eq!(lanes.ready_len(), 1);
    assert_eq!(all(&mut lanes), [2]);
    assert_eq!(lanes.live_keys(), 0);
}

#[test]
fn keys_take_turns() {
    let mut lanes = lanes();
    push(&mut lanes, [1, 2]);
    push(&mut lanes, [11, 12]);
    push(&mut lanes, [21]);
    assert_eq!(all(&mut lanes), [1, 11, 21, 2, 12]);
}

#[test]
fn messages_without_key_never_wait_for_each_other() {
    let mut lanes = lanes();
    (30..35).for_each(|id| assert_eq!(lanes.push(id), Push::Queued));
    let tokens: Vec<_> = std::iter::from_fn(|| lanes.pop()).collect();
    assert_eq!(tokens.len(), 5);
    let mut tokens = tokens.into_iter();
    let (token, item) = tokens.next().unwrap();
    lanes.unpop(token, item);
    for (token, id) in tokens {
        lanes.done(token, After::Await(id), || Moment::ZERO);
    }
    assert_eq!((all(&mut lanes), lanes.live_keys()), (vec![30], 0));
}

#[test]
fn what_is_put_back_is_the_first_again() {
    let mut lanes = lanes();
    push(&mut lanes, [1, 2]);
    push(&mut lanes, [11]);
    let (token, first) = lanes.pop().unwrap();
    lanes.unpop(token, first);
    lanes.invariants();
    assert_eq!(all(&mut lanes), [1, 11, 2]);
}

#[test]
fn an_awaited_message_comes_before_those_behind_it() {
    let mut lanes = lanes();
    push(&mut lanes, [1, 2, 3]);
    let (token, first) = lanes.pop().unwrap();
    lanes.done(token, After::Await(first), || Moment::ZERO);
    assert_eq!(push(&mut lanes, [3]), [], "queues behind meanwhile");
    assert_eq!((lanes.ready_len(), lanes.len()), (0, 2));
    assert_eq!(push(&mut lanes, [1]), [], "also past the cap");
    assert_eq!(all(&mut lanes), [1, 2, 3]);
    assert_eq!(lanes.next_expiry(), Moment::NEVER);
}

#[test]
fn a_full_key_turns_away_until_the_first_turned_away_is_back() {
    let mut lanes = lanes();
    assert_eq!(push(&mut lanes, [1, 2, 3, 4]), [3, 4]);
    assert_eq!(push(&mut lanes, [11]), [], "another key is not concerned");
    assert_eq!(pop(&mut lanes), Some(1));
    assert_eq!(push(&mut lanes, [4, 5]), [4, 5], "there is room, but 3 is away");
    assert_eq!(push(&mut lanes, [3]), []);
    assert_eq!(all(&mut lanes), [11, 2, 3]);
    assert_eq!(lanes.live_keys(), 1, "it expects 4 and 5");
    assert_eq!(push(&mut lanes, [4, 5]), []);
    assert_eq!((all(&mut lanes), lanes.live_keys()), (vec![4, 5], 0));
}

/// A broker redelivers the first message given back at once; a fresh one may follow before the
/// second has even been given back. Remembering only the first let it overtake.
#[test]
fn a_fresh_message_does_not_overtake_the_second_turned_away() {
    let mut lanes = lanes();
    assert_eq!(push(&mut lanes, [1, 2, 3, 4]), [3, 4]);
    assert_eq!(all(&mut lanes), [1, 2]);
    assert_eq!(push(&mut lanes, [3, 5]), [5], "4 is not back yet");
    assert_eq!(push(&mut lanes, [4, 5]), [5], "no room");
    assert_eq!(all(&mut lanes), [3, 4]);
    assert_eq!(push(&mut lanes, [5]), []);
}

#[test]
fn what_was_drained_is_expected_back_in_its_order() {
    let mut lanes = lanes();
    push(&mut lanes, [1, 2, 3]);
    let (token, _) = lanes.pop().unwrap();
    push(&mut lanes, [11, 12]);
    assert_eq!(lanes.drain(), [11, 12, 2]);
    lanes.invariants();
    assert_eq!(push(&mut lanes, [12, 13, 11]), [12, 13]);
    lanes.done(token, After::Await(1), || Moment::ZERO);
    assert_eq!(push(&mut lanes, [3, 2, 1]), [3], "2 is the oldest away, 1 is awaited");
    assert_eq!(all(&mut lanes), [11, 1, 2]);
}

#[test]
fn a_wait_that_lasts_too_long_gives_up_its_lane() {
    let mut lanes = lanes();
    push(&mut lanes, [1, 2]);
    let start = Moment::from_millis(5);
    let (token, _) = lanes.pop().unwrap();
    lanes.done(token, After::Await(1), || start);
    assert_eq!(lanes.next_expiry(), start + MINUTE);
    assert!(lanes.expire_waits(start + MINUTE - Duration::from_nanos(1)).is_empty());
    assert_eq!(lanes.expire_waits(start + MINUTE), [2]);
    lanes.invariants();
    assert_eq!((lanes.live_keys(), lanes.next_expiry()), (0, Moment::NEVER));
}

/// A message turned away may go to another worker. Without an end, its key would turn everything
/// away for ever.
#[test]
fn a_key_does_not_turn_away_for_ever() {
    let mut lanes = lanes();
    assert_eq!(push(&mut lanes, [1, 2, 3]), [3]);
    assert_eq!(lanes.next_expiry(), Moment::ZERO, "the wait has yet to see a clock");
    let start = Moment::from_millis(7);
    assert!(lanes.expire_waits(start).is_empty());
    assert_eq!(lanes.next_expiry(), start + MINUTE);
    assert!(lanes.expire_waits(start + MINUTE).is_empty(), "1 and 2 come before it: they stay");
    lanes.invariants();
    assert_eq!(pop(&mut lanes), Some(1));
    assert_eq!(push(&mut lanes, [4]), []);
    assert_eq!(all(&mut lanes), [2, 4]);
}

#[test]
fn each_return_gives_the_others_their_full_time() {
    let mut lanes = lanes();
    push(&mut lanes, [1, 2, 3, 4]);
    lanes.expire_waits(Moment::ZERO);
    assert_eq!(all(&mut lanes), [1, 2]);
    push(&mut lanes, [3]);
    let later = Moment::ZERO + MINUTE;
    assert!(lanes.expire_waits(later).is_empty());
    assert_eq!(lanes.next_expiry(), later + MINUTE);
}

#[test]
fn what_is_removed_is_not_expected_back() {
    let mut lanes = lanes();
    push(&mut lanes, [1, 2]);
    push(&mut lanes, [11, 12]);
    push(&mut lanes, [21]);
    lanes.push(31).unwrap_queued();
    assert_eq!(lanes.remove_where(|id| [1, 12, 21, 31].contains(id)), [1, 21, 31, 12]);
    lanes.invariants();
    assert_eq!(lanes.live_keys(), 2);
    assert_eq!(push(&mut lanes, [13]), []);
    assert_eq!(all(&mut lanes), [11, 2, 13]);
}

impl<T: std::fmt::Debug + PartialEq> Push<T> {
    fn unwrap_queued(self) {
        assert_eq!(self, Self::Queued);
    }
}

#[test]
fn what_will_not_come_back_frees_its_lane_at_once() {
    let mut lanes = lanes();
    assert_eq!(push(&mut lanes, [1, 2]), []);
    let (token, first) = lanes.pop().unwrap();
    lanes.done(token, After::Await(first), || Moment::ZERO);
    assert_eq!(pop(&mut lanes), None, "the second waits for the first");
    lanes.forget(&'a', |id| *id == 2);
    assert_eq!(pop(&mut lanes), None, "another one's news changes nothing");
    lanes.forget(&'a', |id| *id == first);
    lanes.invariants();
    assert_eq!(pop(&mut lanes), Some(2));
    assert_eq!(lanes.live_keys(), 0);
}

#[test]
fn what_was_turned_away_for_good_is_not_waited_for() {
    let mut lanes = lanes();
    assert_eq!(push(&mut lanes, [1, 2, 3, 4]), [3, 4]);
    assert_eq!(all(&mut lanes), [1, 2]);
    assert_eq!(push(&mut lanes, [4]), [4], "3 is older");
    lanes.forget(&'a', |id| *id == 3);
    lanes.invariants();
    assert_eq!(push(&mut lanes, [4]), []);
    assert_eq!(push(&mut lanes, [5, 6]), [6]);
    lanes.forget(&'a', |id| *id == 6);
    lanes.invariants();
    assert_eq!(all(&mut lanes), [4, 5]);
    assert_eq!(lanes.live_keys(), 0, "a lane that expects nothing ends with its last");
    lanes.forget(&'a', |_| true);
}

#[test]
fn a_lane_of_nothing_but_messages_away_ends_when_none_will_come() {
    let mut lanes = lanes();
    assert_eq!(push(&mut lanes, [1, 2]), []);
    assert_eq!(lanes.drain(), [1, 2]);
    lanes.forget(&'a', |id| *id == 1);
    lanes.invariants();
    assert_eq!(lanes.live_keys(), 1);
    lanes.forget(&'a', |id| *id == 2);
    lanes.invariants();
    assert_eq!((lanes.live_keys(), lanes.next_expiry()), (0, Moment::NEVER));
}

#[test]
fn lanes_that_have_ended_are_kept_but_not_without_end() {
    let mut lanes: Lanes<u64> = Lanes::keyed(2);
    for round in 0..2 {
        for key in 0..5000 {
            assert_eq!(lanes.push(key), Push::Queued);
            let (token, popped) = lanes.pop().unwrap();
            assert_eq!((popped, lanes.live_keys()), (key, 1), "round {round}");
            lanes.done(token, After::Next, || Moment::ZERO);
        }
        lanes.invariants();
        assert_eq!((lanes.live_keys(), lanes.next_expiry()), (0, Moment::NEVER));
    }
    let Kind::Keyed(keyed) = &lanes.0 else { unreachable!() };
    assert_eq!(keyed.lanes.len(), 1024);
}
