//! Which messages of a batch came back because they lead to no queue.
//!
//! `basic.return` tells no number: it brings the message. That need not be what was sent, for the
//! broker may have changed it on its way in: an interceptor adds headers, or replaces them. Exchange,
//! routing key and payload stay as they were, and so does the identity.
//!
//! A return that is taken for nobody's would leave a message confirmed that is in no queue, and its
//! original would be acked. So what cannot be told apart has come back as a whole: at worst, something
//! is sent twice.
//!
//! | what comes back | who has come back |
//! |---|---|
//! | the same as one that was sent | that one; the first, if several are alike |
//! | the payload and the identity of some, with other headers | these |
//! | anything else, from where some were sent to | all that were sent there |
//! | anything else | all |

use crate::{
    RabbitError,
    publisher::{Item, Outcome},
};
use forebay_contract::FOREBAY_ID;
use lapin::{BasicProperties, message::BasicReturnMessage, types::AMQPValue};

/// Notes who has come back. Returns of one batch are noted one after the other.
pub(crate) fn note(items: &[&Item], outcomes: &mut [Outcome], back: &BasicReturnMessage) {
    // What its caller had given up was not sent, however much it is like what was.
    let sent = items.iter().copied().zip(outcomes);
    let mut sent: Vec<_> =
        sent.filter(|(_, outcome)| !matches!(outcome, Err(RabbitError::Closed))).collect();
    let is_noted = |outcome: &Outcome| matches!(outcome, Err(RabbitError::NoQueue { .. }));
    let equal = |item: &Item| item.properties.headers() == back.properties.headers();
    let one = sent
        .iter_mut()
        .find(|(item, outcome)| has_payload(item, back) && equal(item) && !is_noted(outcome));
    if let Some((item, outcome)) = one {
        **outcome = Err(no_queue(item, back));
        return;
    }
    let groups: [fn(&Item, &BasicReturnMessage) -> bool; 3] =
        [has_identity, went_there, |_, _| true];
    let group = groups.into_iter().find(|is_in| sent.iter().any(|(item, _)| is_in(item, back)));
    let Some(is_in) = group else { return };
    let mut count = 0;
    for (item, outcome) in sent {
        if outcome.is_ok() && is_in(item, back) {
            *outcome = Err(no_queue(item, back));
            count += 1;
        }
    }
    tracing::warn!(
        queue = %back.routing_key, count,
        "a message came back, and not as it was sent: does the broker change messages on their way \
         in? All that it may be count as come back"
    );
}

fn no_queue(item: &Item, back: &BasicReturnMessage) -> RabbitError {
    RabbitError::NoQueue { queue: item.queue.to_string(), why: back.reply_text.to_string() }
}

/// Whether it was sent to where this comes from. All go through the default exchange.
fn went_there(item: &Item, back: &BasicReturnMessage) -> bool {
    back.exchange.as_str().is_empty() && *item.queue == *back.routing_key.as_str()
}

fn has_payload(item: &Item, back: &BasicReturnMessage) -> bool {
    went_there(item, back) && *item.payload == *back.data
}

fn has_identity(item: &Item, back: &BasicReturnMessage) -> bool {
    let (sent, came) = (&item.properties, &back.properties);
    let same_own = own_id(sent).is_some() && own_id(sent) == own_id(came);
    let same_id = sent.message_id().is_some() && sent.message_id() == came.message_id();
    has_payload(item, back) && (same_own || same_id)
}

fn own_id(properties: &BasicProperties) -> Option<&AMQPValue> {
    properties.headers().as_ref()?.inner().get(FOREBAY_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties;
    use forebay_contract::{Headers, MessageId};
    use lapin::message::Delivery;

    fn item(queue: &str, payload: &'static str, id: &str) -> Item {
        let id = MessageId::from(id);
        let properties = properties::of_new(&id, None, &Headers::new(), 131_072).unwrap();
        Item { queue: queue.into(), payload: payload.into(), properties }
    }

    /// What comes back of an item, as the broker made it.
    fn back(item: &Item, change: fn(&mut BasicReturnMessage)) -> BasicReturnMessage {
        let (queue, payload) = ((&*item.queue).into(), item.payload.to_vec());
        let mut delivery = Delivery::mock(0, "".into(), queue, false, payload);
        delivery.properties = item.properties.clone();
        let reply_text = "NO_ROUTE".into();
        let mut back = BasicReturnMessage { delivery, reply_code: 312, reply_text };
        change(&mut back);
        back
    }

    fn stamped(back: &mut BasicReturnMessage) {
        let mut headers = back.properties.headers().clone().unwrap_or_default();
        headers.insert("x-routed-by".into(), crate::table::value(b"rabbit@one"));
        back.properties = back.properties.clone().with_headers(headers);
    }

    /// Who has come back, by place, of those that were all acked.
    fn noted(items: &[Item], backs: &[BasicReturnMessage]) -> Vec<usize> {
        let mut outcomes: Vec<Outcome> = items.iter().map(|_| Ok(())).collect();
        let items: Vec<_> = items.iter().collect();
        backs.iter().for_each(|back| note(&items, &mut outcomes, back));
        let outcomes = outcomes.iter().enumerate();
        outcomes.filter_map(|(i, outcome)| outcome.is_err().then_some(i)).collect()
    }

    fn four() -> [Item; 4] {
        [item("q", "x", "1"), item("q", "y", "2"), item("q", "x", "3"), item("r", "x", "1")]
    }

    #[test]
    fn what_comes_back_as_it_was_sent_is_one_and_each_return_counts_once() {
        let items = four();
        assert_eq!(noted(&items, &[back(&items[2], |_| ())]), [2]);
        let twins = [item("q", "x", "1"), item("q", "x", "1"), item("q", "x", "1")];
        let came = || back(&twins[0], |_| ());
        assert_eq!(noted(&twins, &[came()]), [0]);
        assert_eq!(noted(&twins, &[came(), came()]), [0, 1]);
    }

    #[test]
    fn what_comes_back_with_other_headers_is_known_by_its_identity() {
        let items = four();
        assert_eq!(noted(&items, &[back(&items[2], stamped)]), [2]);
        let all: Vec<_> = items[..3].iter().map(|item| back(item, stamped)).collect();
        assert_eq!(noted(&items, &all), [0, 1, 2], "the other queue is there");
        // Without any header, the property tells.
        let bare = |back: &mut BasicReturnMessage| {
            let id = back.properties.message_id().clone().unwrap();
            back.properties = BasicProperties::default().with_message_id(id);
        };
        assert_eq!(noted(&items, &[back(&items[1], bare)]), [1]);
        let twins = [item("q", "x", "1"), item("q", "x", "1")];
        assert_eq!(noted(&twins, &[back(&twins[0], stamped)]), [0, 1], "either may be lost");
    }

    #[test]
    fn what_is_like_nothing_that_was_sent_fails_all_that_it_may_be() {
        let items = four();
        let nobody = |back: &mut BasicReturnMessage| back.properties = BasicProperties::default();
        assert_eq!(noted(&items, &[back(&items[0], nobody)]), [0, 1, 2]);
        let twice = [back(&items[0], nobody), back(&items[1], nobody)];
        assert_eq!(noted(&items, &twice), [0, 1, 2], "the other queue is there all the same");
        let elsewhere = |back: &mut BasicReturnMessage| back.routing_key = "else".into();
        assert_eq!(noted(&items, &[back(&items[0], elsewhere)]), [0, 1, 2, 3]);
        let exchange = |back: &mut BasicReturnMessage| back.exchange = "other".into();
        assert_eq!(noted(&items, &[back(&items[0], exchange)]), [0, 1, 2, 3]);
    }

    #[test]
    fn what_was_not_sent_does_not_come_back_in_the_place_of_what_was() {
        let (given_up, sent) = (item("q", "x", "1"), item("q", "x", "1"));
        let mut outcomes = [Err(RabbitError::Closed), Ok(())];
        note(&[&given_up, &sent], &mut outcomes, &back(&sent, |_| ()));
        assert!(matches!(&outcomes[0], Err(RabbitError::Closed)), "{outcomes:?}");
        assert!(matches!(&outcomes[1], Err(RabbitError::NoQueue { .. })), "{outcomes:?}");
    }
}
