//! Every cell of the table in the module's documentation, and each thing that metadata can be.

use super::*;

const EPOCH: u64 = 3;

fn ledger(committed: Option<i64>, metadata: Option<&str>) -> Ledger {
    Ledger::assign(EPOCH, committed, metadata).0
}

/// Receives all of these, which must be fresh.
fn receive(ledger: &mut Ledger, offsets: impl IntoIterator<Item = i64>) {
    for offset in offsets {
        assert_eq!(ledger.received(offset), Received::Fresh, "{offset}");
    }
    ledger.invariants();
}

fn finish(ledger: &mut Ledger, offsets: impl IntoIterator<Item = i64>) {
    for offset in offsets {
        assert_eq!(ledger.done(EPOCH, offset), Done::Noted, "{offset}");
    }
    ledger.invariants();
}

/// A commit at 10, beyond which 12, 13 and 15 are done.
fn some_done() -> Commit {
    let mut ledger = ledger(Some(10), None);
    receive(&mut ledger, 10..17);
    finish(&mut ledger, [13, 15, 12]);
    ledger.commit().expect("something is done")
}

#[test]
fn the_commit_is_the_lowest_in_flight() {
    let mut ledger = ledger(Some(10), None);
    assert_eq!(ledger.commit(), None, "nothing has happened");
    receive(&mut ledger, 10..13);
    assert_eq!(ledger.commit(), None, "nothing is done");
    finish(&mut ledger, [11]);
    let commit = ledger.commit().unwrap();
    assert!(commit.offset == 10 && !commit.metadata.is_empty());
    assert_eq!((ledger.incomplete(), ledger.gap()), (2, 3));
    finish(&mut ledger, [10]);
    assert_eq!(ledger.commit().unwrap().offset, 12);
    finish(&mut ledger, [12]);
    let end = Commit { offset: 13, metadata: String::new() };
    assert_eq!(ledger.commit(), Some(end.clone()));
    assert_eq!(ledger.commit(), Some(end), "it has not been confirmed");
    ledger.committed(12);
    assert!(ledger.commit().is_some(), "another one has been confirmed");
    ledger.committed(13);
    assert_eq!((ledger.commit(), ledger.gap()), (None, 0));
}

#[test]
fn what_happens_during_a_commit_is_in_the_next() {
    let mut ledger = ledger(Some(0), None);
    receive(&mut ledger, 0..3);
    finish(&mut ledger, [1]);
    let first = ledger.commit().unwrap();
    finish(&mut ledger, [2]);
    ledger.committed(first.offset);
    let second = ledger.commit().unwrap();
    assert!(second.offset == first.offset && second.metadata != first.metadata);
}

#[test]
fn a_restart_skips_what_is_done_and_nothing_else() {
    let Commit { offset, metadata } = some_done();
    let (mut ledger, note) = Ledger::assign(EPOCH, Some(offset), Some(&metadata));
    assert_eq!(note, AssignNote::Restored { done: 3 });
    assert_eq!((ledger.incomplete(), ledger.gap()), (0, 6));
    assert_eq!((ledger.next(), ledger.outstanding()), (10, 3));
    assert!(ledger.is_open(11) && !ledger.is_open(12) && !ledger.is_open(9));
    let received: Vec<_> = (10..18).map(|offset| ledger.received(offset)).collect();
    let (fresh, done) = (Received::Fresh, Received::AlreadyDone);
    assert_eq!(received, [fresh, fresh, done, done, fresh, done, fresh, fresh]);
    ledger.invariants();
    finish(&mut ledger, [10, 11]);
    assert_eq!(ledger.commit().unwrap().offset, 14);
}

#[test]
fn every_answer_to_an_offset() {
    let Commit { offset, metadata } = some_done();
    let mut ledger = ledger(Some(offset), Some(&metadata));
    assert_eq!(ledger.done(EPOCH, 10), Done::Unknown, "owed, but not received");
    receive(&mut ledger, [10]);
    assert_eq!(ledger.received(10), Received::Rewound);
    assert_eq!(ledger.received(9), Received::Rewound);
    assert_eq!((ledger.incomplete(), ledger.next()), (1, 10), "nothing has changed");
    assert_eq!(ledger.done(EPOCH, 9), Done::Unknown);
    assert_eq!(ledger.done(EPOCH, 99), Done::Unknown);
    assert_eq!(ledger.done(EPOCH - 1, 10), Done::Fenced, "from before a rebalance");
    finish(&mut ledger, [10]);
    assert_eq!(ledger.done(EPOCH, 10), Done::Already);
    ledger.fence();
    assert_eq!(ledger.done(EPOCH, 10), Done::Fenced);
    assert_eq!(ledger.received(11), Received::Fenced);
    assert_eq!((ledger.commit(), ledger.may_receive()), (None, false));
}

#[test]
fn without_a_commit_the_first_offset_is_the_start() {
    let (mut ledger, note) = Ledger::assign(EPOCH, None, Some("x"));
    assert_eq!((note, ledger.commit()), (AssignNote::NoCommit, None));
    receive(&mut ledger, [500, 502]);
    finish(&mut ledger, [500]);
    assert_eq!(ledger.commit().unwrap().offset, 502, "501 does not exist");
}

#[test]
fn what_retention_took_is_not_waited_for() {
    let Commit { offset, metadata } = some_done();
    let mut ledger = ledger(Some(offset), Some(&metadata));
    receive(&mut ledger, [14, 16]);
    assert_eq!(ledger.commit().unwrap().offset, 14, "10 and 11 are gone");
    receive(&mut ledger, [1000]);
    finish(&mut ledger, [14, 16]);
    assert_eq!(ledger.commit().unwrap().offset, 1000);
}

#[test]
fn an_offset_moved_back_is_replayed() {
    let Commit { offset, metadata } = some_done();
    let mut ledger = ledger(Some(offset), Some(&metadata));
    receive(&mut ledger, 4..14);
    finish(&mut ledger, [5]);
    assert_eq!(ledger.commit().unwrap().offset, 4);
}

/// In flight: 10, 11 and 13; done: 12 and 14.
fn some_in_flight() -> Ledger {
    let mut ledger = ledger(Some(10), None);
    receive(&mut ledger, 10..15);
    finish(&mut ledger, [12, 14]);
    ledger
}

#[test]
fn a_log_that_goes_back_brings_new_messages_and_those_that_were_in_flight() {
    let mut ledger = some_in_flight();
    assert_eq!(ledger.received(13), Received::Rewound);
    ledger.rewind(EPOCH + 1, 13);
    ledger.invariants();
    assert_eq!((ledger.epoch(), ledger.incomplete(), ledger.next()), (EPOCH + 1, 0, 10));
    assert_eq!(ledger.done(EPOCH, 10), Done::Fenced, "from before");
    let received: Vec<_> = (10..16).map(|offset| ledger.received(offset)).collect();
    let (fresh, done) = (Received::Fresh, Received::AlreadyDone);
    assert_eq!(received, [fresh, fresh, done, fresh, fresh, fresh], "14 is another one");
    ledger.invariants();
}

#[test]
fn the_commit_goes_back_with_the_log_whatever_is_on_its_way() {
    let mut ledger = some_in_flight();
    finish(&mut ledger, [10, 11, 13]);
    let before = ledger.commit().unwrap();
    assert_eq!(before.offset, 15);
    assert_eq!(ledger.received(2), Received::Rewound, "below where it began");
    ledger.rewind(EPOCH + 1, 2);
    ledger.committed(before.offset);
    let at_once = Some(Commit { offset: 2, metadata: String::new() });
    assert_eq!(ledger.commit(), at_once, "so that a restart goes back, too");
    ledger.committed(2);
    assert_eq!((ledger.commit(), ledger.confirmed()), (None, Some(2)));
    receive(&mut ledger, [2, 3, 15]);
    assert_eq!(ledger.done(EPOCH + 1, 3), Done::Noted);
    assert_eq!(ledger.commit().unwrap().offset, 2);
    for offset in [2, 15] {
        assert_eq!(ledger.done(EPOCH + 1, offset), Done::Noted);
    }
    assert_eq!(ledger.commit().unwrap().offset, 16);
}

/// A log that was made anew while its worker was away, or that retention has emptied since.
#[test]
fn a_log_that_goes_back_may_begin_anywhere() {
    let mut lower = some_in_flight();
    lower.rewind(EPOCH + 1, 13);
    assert_eq!(lower.received(3), Received::Fresh, "below all that was known");
    assert_eq!(lower.received(12), Received::Fresh, "what was done there is forgotten");
    let mut higher = some_in_flight();
    higher.rewind(EPOCH + 1, 13);
    assert_eq!(higher.received(40), Received::Fresh);
    assert_eq!(higher.commit().unwrap().offset, 40, "10 and 11 are gone");
    let mut below_the_commit = ledger(Some(10), None);
    receive(&mut below_the_commit, [0]);
    assert_eq!(below_the_commit.confirmed(), None, "that was of another log");
    assert_eq!(below_the_commit.commit().unwrap().offset, 0);
}

#[test]
fn metadata_that_does_not_fit_is_discarded_with_a_reason() {
    let Commit { offset, metadata } = some_done();
    let note = |offset, text: &str| Ledger::assign(EPOCH, Some(offset), Some(text)).1;
    assert_eq!(note(offset, ""), AssignNote::NoMap);
    assert_eq!(note(offset + 1, &metadata), AssignNote::OffsetMoved { base: offset });
    assert_eq!(note(offset, &metadata.replacen("v1", "v2", 1)), AssignNote::OtherVersion);
    assert_eq!(note(offset, &metadata[..metadata.len() - 1]), AssignNote::Corrupt);
    assert_eq!(note(offset, &format!("{metadata} ")), AssignNote::Corrupt);
    for foreign in ["x", "{\"a\":1}", "v1", "v1:a:b:c", "v1:-1:00000000:", "::::", "\u{0}\u{fffd}"]
    {
        assert_eq!(note(offset, foreign), AssignNote::Foreign, "{foreign:?}");
    }
}

/// The checksum keeps accidents out, not malice: a map made to claim too much must do no harm.
#[test]
fn a_map_that_claims_the_whole_range_costs_no_memory() {
    let whole = encoding::encode(&[1, i64::MAX as u64 - 1], 100).unwrap();
    let text = done_map::text(0, &whole);
    let mut restored = ledger(Some(0), Some(&text));
    assert_eq!(restored.received(5), Received::AlreadyDone);
    restored.invariants();
    for lengths in [vec![1, i64::MAX as u64], vec![u64::MAX, u64::MAX], vec![1, 1, u64::MAX, 1]] {
        let text = done_map::text(1, &encoding::encode(&lengths, 100).unwrap());
        assert_eq!(Ledger::assign(EPOCH, Some(1), Some(&text)).1, AssignNote::Corrupt);
    }
}

#[test]
fn receiving_stops_before_the_map_is_full_and_goes_on_when_it_shrinks() {
    let mut ledger = ledger(Some(0), None);
    let mut next = 0;
    while ledger.may_receive() {
        receive_two(&mut ledger, &mut next);
    }
    let commit = ledger.commit().unwrap();
    assert!((3072..3500).contains(&commit.metadata.len()), "{}", commit.metadata.len());
    assert!(!ledger.may_receive());
    finish(&mut ledger, (0..next / 2).step_by(2));
    assert!(ledger.may_receive());
}

/// One that is slow, one that is done.
fn receive_two(ledger: &mut Ledger, next: &mut i64) {
    assert_eq!(ledger.received(*next), Received::Fresh);
    assert_eq!(ledger.received(*next + 1), Received::Fresh);
    assert_eq!(ledger.done(EPOCH, *next + 1), Done::Noted);
    *next += 2;
}

/// A map that takes up its room, and where it ends.
fn full() -> (Commit, i64) {
    let mut ledger = ledger(Some(0), None);
    let mut next = 0;
    while ledger.may_receive() {
        receive_two(&mut ledger, &mut next);
    }
    (ledger.commit().unwrap(), next)
}

/// After a restart nothing is in flight, so nothing would ever make room.
#[test]
fn a_full_map_does_not_keep_its_own_offsets_from_being_read() {
    let (Commit { offset, metadata }, end) = full();
    let mut after = ledger(Some(offset), Some(&metadata));
    for offset in 0..end {
        assert!(after.may_receive(), "{offset}");
        after.received(offset);
    }
    assert!(!after.may_receive());
    finish(&mut after, (0..end).step_by(2));
    assert!(after.may_receive());
}

#[test]
fn a_full_map_that_retention_empties_stops_nothing() {
    let (Commit { offset, metadata }, end) = full();
    let mut after = ledger(Some(offset), Some(&metadata));
    assert_eq!(after.received(end - 1), Received::AlreadyDone);
    assert_eq!((after.incomplete(), after.may_receive()), (0, true));
}

#[test]
fn a_map_without_room_is_left_out() {
    for limit in [0, 10, 40] {
        let mut ledger = ledger(Some(0), None).with_metadata_limit(limit);
        let mut next = 0;
        (0..500).for_each(|_| receive_two(&mut ledger, &mut next));
        assert_eq!(ledger.commit(), Some(Commit { offset: 0, metadata: String::new() }));
        assert_eq!(ledger.may_receive(), limit == 0);
        finish(&mut ledger, (0..next).step_by(2));
        assert!(ledger.may_receive());
    }
}

/// Thousands in flight when receiving stops, and every second of them completes first: three quarters
/// full may be too late to stop.
#[test]
fn what_is_in_flight_always_has_room() {
    const WAITING: i64 = 10_000;
    let mut ledger = ledger(Some(0), None);
    let mut next = 0;
    // One is stuck, all behind it is done. A bitset has no room for that, lengths have.
    while next < 40_000 {
        receive(&mut ledger, next..next + 100);
        finish(&mut ledger, next.max(1)..next + 100);
        next += 100;
    }
    let start = next;
    while next < start + WAITING && ledger.may_receive() {
        receive(&mut ledger, next..next + Ledger::AHEAD as i64);
        next += Ledger::AHEAD as i64;
    }
    let received = next - start;
    assert!((5_000..WAITING).contains(&received), "{received} is not what there is room for");
    finish(&mut ledger, (start..next).step_by(2));
    let commit = ledger.commit().unwrap();
    assert!(!ledger.is_unmapped(&commit) && !commit.metadata.is_empty());
    assert!(!ledger.may_receive());
    finish(&mut ledger, (start + 1..next).step_by(2));
    assert!(ledger.may_receive(), "one is stuck, and all behind it is done again");
}

/// As many handlers as any worker has, on top of one that is stuck.
#[test]
fn a_usual_load_is_never_stopped() {
    let mut ledger = ledger(Some(0), None);
    for next in 0..100_000 {
        assert!(ledger.may_receive(), "at {next}");
        receive_one(&mut ledger, next);
        // The stuck one is 0; the others take their time, some longer.
        for late in [0, 50, 100] {
            let offset = next - 1_500 - late;
            if offset > 0 && offset % 3 * 50 == late {
                finish_one(&mut ledger, offset);
            }
        }
    }
    assert!(ledger.incomplete() < 1_700);
}

fn finish_one(ledger: &mut Ledger, offset: i64) {
    assert_eq!(ledger.done(EPOCH, offset), Done::Noted);
}

fn receive_one(ledger: &mut Ledger, offset: i64) {
    assert_eq!(ledger.received(offset), Received::Fresh);
}
