//! Order within a partition, and what a receipt is worth.

use super::{times::TIMES, *};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn assigned(order: Order) -> Assigned {
    Assigned::new(0, 0, Ledger::assign(1, Some(0), None).0, order)
}

fn read(assigned: &mut Assigned, offset: i64, key: &'static str, now: Instant) {
    let mut message = Message::new(offset.cast_unsigned(), "x");
    message.key = Some(Bytes::from_static(key.as_bytes()));
    let read = of(offset, message);
    assert!(assigned.read(read, None, now).unwrap().is_none());
}

fn of(offset: i64, message: Message) -> Read {
    let since = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(offset.unsigned_abs()));
    Read { offset, message: Arc::new(message), due: None, since, carried_death: None }
}

fn take_all(assigned: &mut Assigned) -> Vec<Kept> {
    std::iter::from_fn(|| assigned.take()).collect()
}

fn offsets(kept: &[Kept]) -> Vec<i64> {
    kept.iter().map(|kept| kept.offset).collect()
}

#[test]
fn a_lane_is_blocked_by_what_waits_in_it_and_others_are_not() {
    let (mut assigned, now) = (assigned(Order::Key), Instant::now());
    for (offset, key) in [(0, "a"), (1, "b"), (2, "a"), (3, "b")] {
        read(&mut assigned, offset, key, now);
    }
    let first = assigned.take().unwrap();
    let waits = assigned.take_back(first, now + SECOND, now);
    assert!(matches!(waits, Some(Waits::Lane(_))));
    assert_eq!(offsets(&take_all(&mut assigned)), [1, 3], "only the other key");
    assert_eq!((assigned.waiting(), assigned.out), (2, 2));
    assigned.due(waits.unwrap(), now + SECOND);
    let back = take_all(&mut assigned);
    assert_eq!(offsets(&back), [0, 2], "then the lane, in order");
    assert_eq!((back[0].hand, back[1].hand, assigned.waiting()), (1, 0, 0));
}

#[test]
fn what_comes_back_later_but_lies_before_goes_first() {
    let (mut assigned, now) = (assigned(Order::Key), Instant::now());
    (0..4).for_each(|offset| read(&mut assigned, offset, "a", now));
    let mut out = take_all(&mut assigned).into_iter();
    let (zero, one) = (out.next().unwrap(), out.next().unwrap());
    assert!(assigned.take_back(one, now, now).is_none(), "due at once");
    let waits = assigned.take_back(zero, now + SECOND, now).unwrap();
    assert_eq!(offsets(&take_all(&mut assigned)), [] as [i64; 0], "1 waits for 0");
    assigned.due(waits, now + SECOND);
    assert_eq!(offsets(&take_all(&mut assigned)), [0, 1]);
}

#[test]
fn a_partition_in_order_gives_one_at_a_time() {
    let (mut assigned, now) = (assigned(Order::Partition), Instant::now());
    (0..3).for_each(|offset| read(&mut assigned, offset, "a", now));
    let first = take_all(&mut assigned);
    assert_eq!(offsets(&first), [0]);
    let waits = assigned.take_back(first[0].clone(), now + SECOND, now).unwrap();
    assert_eq!(offsets(&take_all(&mut assigned)), [] as [i64; 0], "held by what waits");
    assigned.due(waits, now + SECOND);
    assert_eq!(offsets(&take_all(&mut assigned)), [0]);
    assert!(matches!(assigned.done(0), Standing::Current));
    assert_eq!(offsets(&take_all(&mut assigned)), [1]);
}

#[test]
fn a_receipt_is_good_for_its_own_hand_out_alone() {
    let (mut assigned, now) = (assigned(Order::None), Instant::now());
    read(&mut assigned, 0, "a", now);
    let kept = assigned.take().unwrap();
    assert!(matches!(assigned.standing(0, 0), Standing::Current));
    assigned.take_back(kept, now, now);
    assert!(matches!(assigned.standing(0, 0), Standing::Stale));
    assert_eq!(assigned.take().unwrap().hand, 1);
    assert!(matches!(assigned.standing(0, 1), Standing::Current));
    assigned.done(0);
    assert!(matches!(assigned.standing(0, 1), Standing::Stale));
    assert!(matches!(assigned.done(0), Standing::Settled));
    assert_eq!(assigned.out, 0);
}

#[test]
fn a_partition_that_leaves_takes_nothing_back_and_counts_once() {
    let (mut assigned, now) = (assigned(Order::None), Instant::now());
    (0..3).for_each(|offset| read(&mut assigned, offset, "a", now));
    let (zero, _one) = (assigned.take().unwrap(), assigned.take().unwrap());
    assigned.leave();
    assert_eq!((assigned.ready(), assigned.out), (0, 2));
    assert!(assigned.take_back(zero, now, now).is_none());
    assert!(matches!(assigned.standing(0, 0), Standing::Stale), "given back already");
    assert!(matches!(assigned.done(1), Standing::Current));
    assert_eq!((assigned.ready(), assigned.out), (0, 0));
    assert_eq!(assigned.ledger.next(), 0);
}

#[test]
fn a_full_buffer_is_read_on_only_when_half_of_it_has_gone() {
    let (mut assigned, now) = (assigned(Order::None), Instant::now());
    let mut options = KafkaOptions::new("localhost:1", "t");
    options.buffer_messages = 10;
    assert_eq!(assigned.room(&options), 10);
    (0..10).for_each(|offset| read(&mut assigned, offset, "a", now));
    for left in (6..=9).rev() {
        assert!(assigned.room(&options) == 0 && assigned.wants_more);
        assigned.take().unwrap();
        assert_eq!(assigned.ready(), left);
    }
    assert_eq!(assigned.room(&options), 0);
    assigned.take().unwrap();
    assert_eq!(assigned.room(&options), 5);
    assert!(!assigned.wants_more);
    // By bytes: the next one is read as soon as there is room, since what waits counts, too.
    options.buffer_bytes = assigned.bytes;
    assert!(assigned.room(&options) == 0 && assigned.wants_more);
    assigned.take().unwrap();
    assert_eq!(assigned.room(&options), 6);
}

/// A handler that hangs, while a hundred thousand messages behind it come and go.
#[test]
fn what_is_done_behind_a_stuck_message_takes_no_memory() {
    let (mut assigned, now) = (assigned(Order::None), Instant::now());
    for offset in 0..100_000 {
        read(&mut assigned, offset, "a", now);
        let kept = assigned.take().unwrap();
        if ![0, 70_000].contains(&kept.offset) {
            assert!(matches!(assigned.done(offset), Standing::Current));
        }
        assert!(assigned.since.len() < 2 * TIMES, "{} at {offset}", assigned.since.len());
    }
    let since = |millis| Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
    assert_eq!(assigned.oldest(), since(0));
    assigned.done(0);
    assert_eq!(assigned.oldest(), since(70_000));
}

/// Truncated to 2, as after an unclean leader election: what comes at 2 and 3 now are other messages.
#[test]
fn a_log_that_goes_back_is_read_again_from_what_was_not_done() {
    let (mut assigned, now) = (assigned(Order::None), Instant::now());
    (0..4).for_each(|offset| read(&mut assigned, offset, "old", now));
    assert_eq!(offsets(&take_all(&mut assigned)), [0, 1, 2, 3]);
    for offset in [0, 3] {
        assert!(matches!(assigned.done(offset), Standing::Current));
    }
    assert!(assigned.read(of(2, Message::new(2u64, "new")), None, now).is_err());
    assert_eq!((assigned.out, assigned.ready()), (2, 0), "nothing has changed");

    let mut assigned = assigned.rewound(7, 2);
    assert_eq!((assigned.scope, assigned.out, assigned.ledger.next()), (7, 0, 1));
    (1..4).for_each(|offset| read(&mut assigned, offset, "new", now));
    let again = take_all(&mut assigned);
    assert_eq!(offsets(&again), [1, 2, 3], "1 was out, 2 and 3 are new");
    again.iter().for_each(|kept| drop(assigned.done(kept.offset)));
    assert_eq!(assigned.commit().unwrap().offset, 4);
}
