//! The order within a group, and what goes back.

use super::*;
use forebay_contract::{Message, Scope};

const LEASE: Duration = Duration::from_secs(60);

fn held(id: &str, group: Option<&str>) -> Held {
    let handout = Handout::new(
        format!("handle of {id}"),
        id.into(),
        group.map(Into::into),
        Instant::now(),
        LEASE,
    );
    let message = Arc::new(Message::new(id, id.to_owned()));
    Delivery { message, receipt: Receipt(Arc::new(handout)), scope: Scope(0), lease: None }
}

fn take(inbox: &Inbox, messages: usize) -> Vec<Held> {
    let mut out = Vec::new();
    inbox.take(Want { messages, bytes: 1 << 20 }, &mut out);
    out
}

fn names(held: &[Held]) -> Vec<String> {
    held.iter().map(|held| held.message.id.to_string()).collect()
}

fn ids(handouts: &[Arc<Handout>]) -> Vec<&str> {
    handouts.iter().map(|handout| &*handout.message_id).collect()
}

#[test]
fn one_of_a_group_is_out_at_a_time_and_the_next_comes_when_it_is_gone() {
    let inbox = Inbox::default();
    inbox.arrived(vec![held("a1", Some("a")), held("a2", Some("a")), held("b1", Some("b"))]);
    let out = take(&inbox, 10);
    assert_eq!(names(&out), ["a1", "b1"]);
    assert!(take(&inbox, 10).is_empty());
    assert_eq!(ids(&inbox.behind(&out[0].receipt.0)), ["a2"]);
    assert!(inbox.settled(&out[0].receipt.0, true).is_empty());
    assert_eq!(names(&take(&inbox, 10)), ["a2"]);
}

#[test]
fn after_a_failure_the_rest_of_its_group_goes_back_and_no_other() {
    let inbox = Inbox::default();
    inbox.arrived(["a1", "a2", "a3"].map(|id| held(id, Some("a"))).into());
    inbox.arrived(["b1", "b2"].map(|id| held(id, Some("b"))).into());
    let out = take(&inbox, 10);
    let back = inbox.settled(&out[0].receipt.0, false);
    assert_eq!(ids(&back), ["a2", "a3"]);
    assert!(inbox.behind(&out[0].receipt.0).is_empty(), "they are not renewed any more");
    inbox.settled(&out[1].receipt.0, true);
    assert_eq!(names(&take(&inbox, 10)), ["b2"]);
}

#[test]
fn a_group_with_many_takes_turns_with_those_that_come() {
    let inbox = Inbox::default();
    inbox.arrived(["a1", "a2", "a3", "a4"].map(|id| held(id, Some("a"))).into());
    let mut out = take(&inbox, 1).remove(0);
    let mut seen = vec![out.message.id.to_string()];
    inbox.arrived(vec![held("b1", Some("b")), held("c1", Some("c"))]);
    for _ in 0..4 {
        inbox.settled(&out.receipt.0, true);
        out = take(&inbox, 1).remove(0);
        seen.push(out.message.id.to_string());
    }
    assert_eq!(seen, ["a1", "a2", "b1", "a3", "c1"]);
}

#[test]
fn a_first_that_comes_again_takes_the_place_of_the_old_one() {
    let inbox = Inbox::default();
    inbox.arrived(vec![held("a1", Some("a")), held("a2", Some("a"))]);
    let old = take(&inbox, 1);
    inbox.arrived(vec![held("a1", Some("a")), held("a2", Some("a"))]);
    assert_eq!(ids(&inbox.take_unwanted()), ["a2"], "the old second");
    let new = take(&inbox, 10);
    assert_eq!(names(&new), ["a1"]);
    assert!(inbox.settled(&old[0].receipt.0, true).is_empty(), "the old receipt moves nothing");
    assert!(take(&inbox, 10).is_empty());
    inbox.settled(&new[0].receipt.0, true);
    assert_eq!(names(&take(&inbox, 10)), ["a2"]);
}

#[test]
fn what_lies_here_for_half_its_lease_goes_back_with_its_group() {
    let inbox = Inbox::default();
    inbox.arrived(vec![held("a1", Some("a")), held("a2", Some("a")), held("x", None)]);
    let now = Instant::now();
    inbox.sweep(now, LEASE / 2);
    assert!(inbox.take_unwanted().is_empty());
    inbox.sweep(now + LEASE * 2 / 3, LEASE / 2);
    let back = inbox.take_unwanted();
    let mut back = ids(&back);
    back.sort_unstable();
    assert_eq!(back, ["a1", "a2", "x"]);
}

#[test]
fn what_nobody_comes_back_for_goes_back_soon() {
    let inbox = Inbox::default();
    assert!(take(&inbox, 1).is_empty());
    inbox.arrived(vec![held("x", None)]);
    let now = Instant::now();
    inbox.sweep(now + PATIENCE / 2, Duration::ZERO);
    assert!(inbox.take_unwanted().is_empty());
    let waiting = inbox.wait();
    inbox.sweep(now + PATIENCE * 2, Duration::ZERO);
    assert!(inbox.take_unwanted().is_empty(), "somebody waits");
    drop(waiting);
    inbox.sweep(Instant::now() + PATIENCE * 2, Duration::ZERO);
    assert_eq!(ids(&inbox.take_unwanted()), ["x"]);
}

#[test]
fn a_lost_first_takes_its_group_along() {
    let inbox = Inbox::default();
    inbox.arrived(vec![held("a1", Some("a")), held("a2", Some("a"))]);
    let out = take(&inbox, 1);
    out[0].receipt.0.lose();
    inbox.sweep(Instant::now(), Duration::ZERO);
    assert_eq!(ids(&inbox.take_unwanted()), ["a2"]);
}

#[test]
fn closing_takes_all_that_is_held_and_what_comes_later_goes_back() {
    let inbox = Inbox::default();
    inbox.arrived(vec![held("a1", Some("a")), held("a2", Some("a")), held("x", None)]);
    let out = take(&inbox, 1);
    assert_eq!(names(&out), ["a1"]);
    let back = inbox.close().unwrap();
    assert_eq!(ids(&back), ["a1", "x", "a2"]);
    assert!(back.iter().all(|handout| !handout.is_ours(Instant::now())));
    assert!(inbox.close().is_none());
    inbox.arrived(vec![held("late", None)]);
    assert_eq!(ids(&inbox.take_unwanted()), ["late"]);
    let mut none = Vec::new();
    assert!(matches!(inbox.take(Want { messages: 1, bytes: 1 }, &mut none), Step::Closed));
}

const LARGEST: usize = 1 << 20;

fn missing(inbox: &Inbox) -> usize {
    inbox.missing(1).messages
}

#[test]
fn messages_are_missing_while_somebody_wants_them() {
    let inbox = Inbox::default();
    assert_eq!(missing(&inbox), 0);
    assert!(take(&inbox, 15).is_empty());
    let waiting = inbox.wait();
    assert_eq!(missing(&inbox), 15);
    inbox.arrived(vec![held("x", None)]);
    assert_eq!(missing(&inbox), 14);
    drop(waiting);
    assert_eq!(missing(&inbox), 14, "for a moment, as a worker comes back at once");
    inbox.close();
    assert_eq!(missing(&inbox), 0);
}

/// A message of so many bytes.
fn sized(id: &str, bytes: usize) -> Held {
    let message = Arc::new(Message::new(id, "x".repeat(bytes)));
    Delivery { message, ..held(id, None) }
}

fn take_bytes(inbox: &Inbox, bytes: usize) -> Vec<Held> {
    let mut out = Vec::new();
    inbox.take(Want { messages: 1000, bytes }, &mut out);
    out
}

#[test]
fn no_more_is_fetched_than_fits_into_the_bytes_that_are_wanted() {
    let inbox = Inbox::default();
    let _waiting = inbox.wait();
    assert!(take_bytes(&inbox, 4000).is_empty());
    assert_eq!(inbox.missing(LARGEST).fit, 1, "as large as may be, and one at any rate");
    inbox.arrived(vec![sized("a", 1000), sized("b", 1000)]);
    assert_eq!(inbox.missing(LARGEST), Missing { messages: 998, fit: 2 });
    inbox.arrived(vec![sized("c", 1000), sized("d", 1000)]);
    assert_eq!(inbox.missing(LARGEST).fit, 0, "what is ready is all that is wanted");
    assert_eq!(names(&take_bytes(&inbox, 3000)), ["a", "b", "c"]);
    assert_eq!(inbox.missing(LARGEST).fit, 0);
    assert_eq!(names(&take_bytes(&inbox, 10_000)), ["d"]);
    assert_eq!(inbox.missing(LARGEST).fit, 9);
    for n in 0..40 {
        inbox.arrived(vec![sized(&n.to_string(), 8)]);
    }
    assert_eq!(take_bytes(&inbox, 10_000).len(), 40);
    assert!(inbox.missing(LARGEST).fit > 500, "small ones of late, so many fit");
}

#[test]
fn bytes_that_go_back_make_room() {
    let inbox = Inbox::default();
    let _waiting = inbox.wait();
    assert!(take_bytes(&inbox, 4000).is_empty());
    inbox.arrived(vec![sized("a", 4000)]);
    assert_eq!(inbox.missing(LARGEST).fit, 0);
    inbox.sweep(Instant::now() + LEASE * 2 / 3, LEASE / 2);
    assert_eq!(inbox.missing(LARGEST).fit, 1);
}
