//! How much is waiting, by the queue's approximate counts.

use crate::{api::Api, memo::Memo};
use aws_sdk_sqs::types::QueueAttributeName;
use forebay_contract::{Backlog, Count, SourceError};

/// Asks SQS. What is hidden it counts as one: what is out, and what waits for a retry. The latter is told
/// apart as far as this process ordered it; the sum is right in any case. The oldest age only
/// CloudWatch knows.
pub(crate) async fn of(main: &Api, dead: &Api, memo: &Memo) -> Result<Backlog, SourceError> {
    let (main, dead) = tokio::join!(main.attributes(), dead.attributes());
    let main = main?;
    let number = |name| main.get(&name).and_then(|count| count.parse::<u64>().ok());
    let ready = number(QueueAttributeName::ApproximateNumberOfMessages);
    let delayed = number(QueueAttributeName::ApproximateNumberOfMessagesDelayed);
    let hidden = number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
    let waiting = memo.waiting().min(hidden.unwrap_or(0));
    // Dead letters that cannot be asked for are not known, and no reason to know nothing.
    let dead = dead.ok().and_then(|dead| {
        let number = |name| dead.get(&name).and_then(|count| count.parse::<u64>().ok());
        let seen = number(QueueAttributeName::ApproximateNumberOfMessages)?;
        let hidden = number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
        Some(seen + hidden.unwrap_or(0))
    });
    Ok(Backlog {
        ready: ready.map(Count::about),
        delayed: delayed.map(|delayed| Count::about(delayed + waiting)),
        leased: hidden.map(|hidden| Count::about(hidden - waiting)),
        dead: dead.map(Count::about),
        oldest_age: None,
    })
}
