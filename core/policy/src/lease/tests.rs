//! Every transition of the table in the module's documentation.

use super::*;

const fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

/// One lease of 30 s, received at 0.
fn book() -> LeaseBook {
    let mut book = LeaseBook::new(None);
    book.register(7, at(0), at(30));
    book
}

fn due(book: &mut LeaseBook, now: Moment) -> Vec<u64> {
    let due = book.due(now);
    book.invariants();
    due
}

#[test]
fn a_lease_is_renewed_at_half_of_its_length() {
    let mut book = book();
    assert_eq!(book.next_due(), at(15));
    assert_eq!(due(&mut book, at(14)), []);
    assert_eq!(due(&mut book, at(15)), [7]);
    assert_eq!(due(&mut book, at(16)), [], "it is handed out once");
    assert_eq!(book.renewed(7, at(16), at(46)), LeaseFate::Kept);
    assert_eq!(book.next_due(), at(31));
}

#[test]
fn a_margin_moves_the_renewal_forward_but_never_makes_it_constant() {
    let mut book = LeaseBook::new(None).with_margin(Duration::from_secs(20));
    book.register(1, at(0), at(30));
    assert_eq!(book.next_due(), at(10));
    book.remove(1);
    book.register(2, at(0), at(8));
    assert_eq!(book.next_due(), at(2));
}

#[test]
fn a_failed_renewal_is_tried_again_while_the_lease_lasts() {
    let mut book = book();
    assert_eq!(due(&mut book, at(15)), [7]);
    assert_eq!(book.failed(7, at(16)), LeaseFate::Kept);
    assert_eq!(book.next_due(), at(16) + LONGEST_PAUSE);
    assert_eq!(due(&mut book, at(29)), [7]);
    assert_eq!(book.failed(7, at(29)), LeaseFate::Kept);
    assert_eq!(book.next_due(), at(29) + Duration::from_millis(250));
    assert_eq!(book.failed(7, at(30)), LeaseFate::Lost);
    assert_eq!((book.len(), book.failed(7, at(30))), (0, LeaseFate::Unknown));
}

#[test]
fn a_renewal_without_answer_ends_with_the_lease() {
    let mut book = book();
    assert_eq!(due(&mut book, at(15)), [7]);
    assert_eq!(book.next_due(), at(30));
    assert_eq!(due(&mut book, at(30)), []);
    assert_eq!((book.len(), book.next_due()), (1, Moment::NEVER));
    assert_eq!(book.take_ended(), [(7, LeaseEnd::Expired)]);
    assert!(book.is_empty());
}

#[test]
fn an_answer_after_the_end_comes_too_late() {
    let mut book = book();
    due(&mut book, at(15));
    due(&mut book, at(30));
    assert_eq!(book.renewed(7, at(31), at(61)), LeaseFate::Lost);
    assert!(book.is_empty());
}

/// A worker that was stopped for a minute must not go on as if nothing had happened.
#[test]
fn a_lease_that_ended_while_nobody_looked_is_not_renewed() {
    let mut book = book();
    assert_eq!(due(&mut book, at(60)), []);
    assert_eq!(book.take_ended(), [(7, LeaseEnd::Expired)]);
}

#[test]
fn at_the_cap_a_lease_runs_out() {
    let mut book = LeaseBook::new(Some(Duration::from_secs(70)));
    book.register(7, at(0), at(30));
    assert_eq!(due(&mut book, at(15)), [7]);
    assert_eq!(book.renewed(7, at(15), at(45)), LeaseFate::Kept);
    assert_eq!(due(&mut book, at(30)), [7]);
    // The next renewal, at 45, would be until 75.
    assert_eq!(book.renewed(7, at(30), at(60)), LeaseFate::CapReached);
    assert_eq!(book.next_due(), at(60));
    assert_eq!(book.failed(7, at(50)), LeaseFate::CapReached);
    assert_eq!(due(&mut book, at(60)), []);
    assert_eq!(book.take_ended(), [(7, LeaseEnd::CapReached)]);
}

#[test]
fn a_settled_message_is_struck_out_in_any_state() {
    for look_at in [0, 15, 30] {
        let mut book = book();
        due(&mut book, at(look_at));
        assert!(book.remove(7));
        book.invariants();
        assert!(!book.lost(7) && book.is_empty() && book.take_ended().is_empty());
        assert_eq!(book.renewed(7, at(16), at(46)), LeaseFate::Unknown);
    }
}

#[test]
fn a_shorter_lease_overtakes() {
    let mut book = book();
    book.register(8, at(1), at(11));
    book.register(9, at(1), at(41));
    book.invariants();
    assert_eq!(due(&mut book, at(8)), [8]);
    assert_eq!(due(&mut book, at(21)), [7, 9]);
}
