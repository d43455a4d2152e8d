//! The dead letters: looked through by receiving and giving back, as SQS has no other way to look.
//!
//! A look hides what it has seen for a few seconds, until the rest is seen, too; then it gives all of
//! it back. So two that look at once see each other's letters as hidden, and wait for them. What a
//! process held that was killed meanwhile comes back by itself.

use crate::{
    Fault, SqsQueue,
    letter::{self, Found},
    queue::Shared,
};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use forebay_contract::{DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, Redriven};
use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a look hides what it has seen, at the least, in seconds.
const HIDE: u64 = 5;

/// For how long what is being moved is hidden, in seconds.
const MOVING: i32 = 30;

/// How many letters are held in memory at once by a purge.
const PURGE: usize = 500;

/// Whether the caller is still there.
#[derive(Clone, Default)]
struct Wanted(Arc<AtomicBool>);

impl Wanted {
    fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Gives up what runs for a caller when that caller goes.
struct Caller(Wanted);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// What a look found.
#[derive(Default)]
struct Look {
    /// The letters that are meant, oldest death first.
    page: BTreeMap<Arc<str>, Found>,
    /// The handles of all others.
    others: Vec<String>,
}

/// Which letters a look is for.
struct Search<'a> {
    filter: &'a DeadFilter,
    after: Option<&'a DeadId>,
    limit: usize,
}

impl Search<'_> {
    fn matches(&self, found: &Found) -> bool {
        self.after.is_none_or(|after| found.letter.id.0 > after.0)
            && self.filter.matches(&found.letter)
    }
}

impl Look {
    /// Takes in a letter: into the page, if it is among the first that are meant.
    fn take_in(&mut self, found: Found, search: &Search<'_>) {
        if let Some(known) = self.page.get_mut(&found.letter.id.0) {
            known.handles.extend(found.handles);
        } else if search.matches(&found) {
            self.page.insert(Arc::clone(&found.letter.id.0), found);
            if self.page.len() > search.limit
                && let Some((_, last)) = self.page.pop_last()
            {
                self.others.extend(last.handles.into_values());
            }
        } else {
            self.others.extend(found.handles.into_values());
        }
    }
}

impl Shared {
    /// Looks through all dead letters that can be seen, and holds them.
    async fn look(&self, search: &Search<'_>, wanted: &Wanted) -> Result<Look, Fault> {
        let mut look = Look::default();
        let result = self.look_on(search, wanted, &mut look).await;
        if result.is_err() || wanted.is_given_up() {
            self.give_back(std::mem::take(&mut look)).await;
        }
        result.map(|()| look)
    }

    async fn look_on(
        &self,
        search: &Search<'_>,
        wanted: &Wanted,
        look: &mut Look,
    ) -> Result<(), Fault> {
        let count = self.counts().await.map_or(0, |(seen, hidden)| seen + hidden);
        // A page of ten takes some 50 ms on AWS: time for all of them, and then some.
        let hide = i32::try_from(HIDE + count / 50).unwrap_or(i32::MAX).min(43_200);
        let mut seen = HashSet::new();
        let (mut empty, mut wait) = (0, 0);
        let mut others_until = None;
        while !wanted.is_given_up() {
            let messages =
                self.dead.receive(10, wait, hide, &[MessageSystemAttributeName::All]).await?;
            let fresh = messages.iter().filter_map(|it| it.message_id.clone());
            let fresh = fresh.filter(|id| seen.insert(id.clone())).count();
            for message in messages {
                if let Some(found) = letter::read(message, self.dead.name(), self.fifo) {
                    look.take_in(found, search);
                }
            }
            if fresh > 0 {
                (empty, wait) = (0, 0);
                continue;
            }
            // Nothing new: all is seen, or SQS asked too few of its servers (then waiting helps), or
            // somebody else is looking.
            (empty, wait) = (empty + 1, 1);
            match self.counts().await {
                Ok((0, hidden)) if hidden <= seen.len() as u64 => return Ok(()),
                Ok((0, _)) => {
                    let until = Duration::from_secs(HIDE + 1);
                    let until = *others_until.get_or_insert_with(|| Instant::now() + until);
                    if Instant::now() > until {
                        return Ok(());
                    }
                }
                Ok(_) if empty < 5 => {}
                Err(_) if empty < 2 => {}
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Dead letters that can be seen, and that are hidden, about.
    async fn counts(&self) -> Result<(u64, u64), Fault> {
        let attributes = self.dead.attributes().await?;
        let number = |name| attributes.get(&name).and_then(|n| n.parse().ok()).unwrap_or(0);
        Ok((
            number(QueueAttributeName::ApproximateNumberOfMessages),
            number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        ))
    }

    async fn give_back(&self, look: Look) {
        let page = look.page.into_values().flat_map(|found| found.handles.into_values());
        let changes: Vec<_> = look.others.into_iter().chain(page).map(|it| (it, 0)).collect();
        let failed = self.dead.hide(&changes).await.into_iter().find_map(Result::err);
        if let Some(fault) = failed {
            tracing::debug!("dead letters stay hidden for some seconds: {fault}");
        }
    }

    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
        wanted: &Wanted,
    ) -> Result<Vec<DeadLetter>, Fault> {
        let _alone = self.looking.lock().await;
        let look = self.look(&Search { filter, after, limit }, wanted).await?;
        let letters = look.page.values().map(|found| found.letter.clone()).collect();
        self.give_back(look).await;
        Ok(letters)
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
        wanted: &Wanted,
    ) -> Result<Redriven, Fault> {
        let _alone = self.looking.lock().await;
        let search = Search { filter, after: None, limit };
        let mut look = self.look(&search, wanted).await?;
        let page: Vec<_> = std::mem::take(&mut look.page).into_values().collect();
        self.give_back(look).await;
        let mut moved = Vec::with_capacity(page.len());
        let mut page = page.into_iter();
        let mut failed: Option<Fault> = None;
        while failed.as_ref().is_none_or(is_of_one) && !wanted.is_given_up() {
            let some: Vec<_> = page.by_ref().take(10).collect();
            if some.is_empty() {
                break;
            }
            let fault = self.move_back(some, &mut moved).await.err();
            // What ended it is told rather than what one letter was passed over for.
            failed = fault.filter(|it| failed.is_none() || !is_of_one(it)).or(failed);
        }
        // Those that were not moved are hidden no longer than they must be.
        let rest = page.map(|found| (Arc::clone(&found.letter.id.0), found)).collect();
        self.give_back(Look { page: rest, others: Vec::new() }).await;
        match failed {
            Some(fault) if moved.is_empty() => Err(fault),
            stopped => Ok(Redriven { moved, stopped: stopped.map(Into::into) }),
        }
    }

    /// Moves up to ten letters: sent and confirmed, then deleted. One that cannot be held, as somebody
    /// else has it by now, is not moved.
    async fn move_back(&self, some: Vec<Found>, moved: &mut Vec<DeadLetter>) -> Result<(), Fault> {
        let mut faults = Vec::new();
        let ours = self.hold(some, &mut faults).await;
        let sends: Vec<_> =
            ours.iter().map(|it| letter::redriven(it, self.max_message, self.fifo)).collect();
        let sent = self.main.send_all(&sends, self.max_message, self.fifo).await;
        let (mut done, mut back) = (Vec::new(), Vec::new());
        for (found, sent) in ours.into_iter().zip(sent) {
            match sent {
                Ok(_) => {
                    done.extend(found.handles.into_values());
                    moved.push(found.letter);
                }
                Err(fault) => {
                    back.extend(found.handles.into_values().map(|it| (it, 0)));
                    faults.push(fault);
                }
            }
        }
        // If that fails, they come back by themselves.
        self.dead.hide(&back).await;
        let undeleted = self.dead.delete(&done).await.into_iter().find_map(Result::err);
        if let Some(fault) = undeleted {
            tracing::warn!(
                "a dead letter was redriven and could not be deleted: it is there twice: {fault}"
            );
            faults.push(fault);
        }
        let first = faults.iter().position(|fault| !is_of_one(fault)).unwrap_or(0);
        if faults.is_empty() { Ok(()) } else { Err(faults.swap_remove(first)) }
    }

    /// Hides letters for as long as moving them may take; those for which that worked.
    async fn hold(&self, some: Vec<Found>, faults: &mut Vec<Fault>) -> Vec<Found> {
        let handles = some.iter().flat_map(|found| found.handles.values());
        let hides: Vec<_> = handles.map(|handle| (handle.clone(), MOVING)).collect();
        let mut held = self.dead.hide(&hides).await.into_iter();
        let mut ours = Vec::with_capacity(some.len());
        for found in some {
            let outcomes: Vec<_> = held.by_ref().take(found.handles.len()).collect();
            match outcomes.into_iter().find_map(Result::err) {
                None => ours.push(found),
                Some(fault) => faults.push(fault),
            }
        }
        ours
    }

    async fn purge(&self, filter: &DeadFilter, wanted: &Wanted) -> Result<u64, Fault> {
        let _alone = self.looking.lock().await;
        let mut purged = 0;
        loop {
            let search = Search { filter, after: None, limit: PURGE };
            let mut look = self.look(&search, wanted).await?;
            let page = std::mem::take(&mut look.page);
            let found = page.len();
            let handles = page.into_values().flat_map(|found| found.handles.into_values());
            let handles: Vec<_> = handles.collect();
            let deleted = self.dead.delete(&handles).await;
            self.give_back(look).await;
            if let Some(fault) = deleted.into_iter().find_map(Result::err) {
                return Err(fault);
            }
            purged += found as u64;
            if found < PURGE || wanted.is_given_up() {
                return Ok(purged);
            }
        }
    }
}

/// Whether just one letter is to blame, so that the others can go on.
fn is_of_one(fault: &Fault) -> bool {
    matches!(fault, Fault::Invalid { .. } | Fault::Stale(_))
}

/// Runs work in a task of its own, which gives up in good order when its caller goes away.
async fn attended<T, F>(work: impl FnOnce(Wanted) -> F) -> Result<T, DeadLettersError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>> + Send + 'static,
{
    let caller = Caller(Wanted::default());
    let done = tokio::spawn(work(caller.0.clone())).await;
    match done {
        Ok(result) => Ok(result?),
        Err(error) => Err(DeadLettersError::Unavailable(format!("the look ended: {error}").into())),
    }
}

impl DeadLetters for SqsQueue {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        let (shared, filter, after) = (Arc::clone(&self.0), filter.clone(), after.cloned());
        attended(|wanted| async move { shared.list(&filter, after.as_ref(), limit, &wanted).await })
            .await
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        let (shared, filter) = (Arc::clone(&self.0), filter.clone());
        attended(|wanted| async move { shared.redrive(&filter, limit, &wanted).await }).await
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        let (shared, filter) = (Arc::clone(&self.0), filter.clone());
        attended(|wanted| async move { shared.purge(&filter, &wanted).await }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sqs::types::Message;

    #[test]
    fn of_a_letter_that_was_received_again_the_last_handle_holds() {
        let found = |handle| {
            let message = Message::builder().message_id("7").receipt_handle(handle).body("x");
            letter::read(message.build(), "orders-dead", false).unwrap()
        };
        let (filter, mut look) = (DeadFilter::default(), Look::default());
        let search = Search { filter: &filter, after: None, limit: 10 };
        look.take_in(found("old"), &search);
        look.take_in(found("new"), &search);
        let (_, letter) = look.page.pop_first().unwrap();
        assert_eq!(letter.handles.into_values().collect::<Vec<_>>(), ["new"]);
    }
}
