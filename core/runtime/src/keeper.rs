//! Keeps what is ours ours: extends the leases of all messages in hand, parked or running.
//!
//! A lease runs from the moment of receipt, not from the start of the handler, so a message is
//! entered here when it arrives and leaves when the source has confirmed its verdict. When a lease is
//! lost, or has been held as long as the broker allows, the pump is told, and calls its handler off.
//! A source without leases has a keeper that does nothing and costs nothing.

use crate::{clock, observe::Observed, stats::Stats};
use forebay_contract::{Lease, LeaseError, LeaseTerms, Source};
use forebay_policy::{LeaseBook, LeaseFate};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

/// The leases in hand.
#[derive(Debug)]
pub(crate) struct Keeper<R>(Option<Leases<R>>);

#[derive(Debug)]
struct Leases<R> {
    length: Duration,
    held: Mutex<Held<R>>,
    /// Set off when the next renewal may have moved closer.
    nudge: Notify,
    lost: mpsc::UnboundedSender<u64>,
    observed: Observed,
}

#[derive(Debug)]
struct Held<R> {
    book: LeaseBook,
    receipts: HashMap<u64, R>,
}

impl<R: Clone + Send + Sync + 'static> Keeper<R> {
    /// A keeper for a source with these terms; tickets of lost leases go to `lost`.
    pub(crate) fn new(
        terms: Option<LeaseTerms>,
        lost: mpsc::UnboundedSender<u64>,
        observed: Observed,
    ) -> Self {
        Self(terms.map(|terms| Leases {
            length: terms.length,
            held: Mutex::new(Held {
                book: LeaseBook::new(terms.max_hold),
                receipts: HashMap::new(),
            }),
            nudge: Notify::new(),
            lost,
            observed,
        }))
    }

    /// Enters messages that have just been received.
    pub(crate) fn keep<'a>(&self, received: impl Iterator<Item = (u64, &'a R, Option<Lease>)>) {
        let Some(leases) = &self.0 else { return };
        let now = clock::now();
        let mut held = leases.lock();
        for (ticket, receipt, lease) in received {
            let Some(lease) = lease else { continue };
            let expires_at = clock::moment(Instant::from_std(lease.expires_at));
            held.book.register(ticket, now, expires_at);
            held.receipts.insert(ticket, receipt.clone());
        }
        drop(held);
        leases.nudge.notify_one();
    }

    /// Strikes messages that are settled, or no longer ours.
    pub(crate) fn forget(&self, tickets: impl IntoIterator<Item = u64>) {
        if let Some(leases) = &self.0 {
            leases.forget(tickets);
        }
    }

    /// Extends what is due, for as long as it is polled.
    pub(crate) async fn run<S: Source<Receipt = R>>(&self, source: &S, stats: &Stats) {
        let Some(leases) = &self.0 else { return std::future::pending().await };
        loop {
            let (tickets, batch) = leases.due(stats);
            if batch.is_empty() {
                leases.rest().await;
            } else {
                // A broker that hangs must not hold up the news that leases have run out.
                let extending = tokio::time::timeout(leases.length / 4, source.extend(&batch));
                let results = extending.await.unwrap_or_default();
                leases.answered(&tickets, results, stats);
            }
        }
    }
}

impl<R: Clone> Leases<R> {
    fn lock(&self) -> MutexGuard<'_, Held<R>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, tickets: impl IntoIterator<Item = u64>) {
        let mut held = self.lock();
        for ticket in tickets {
            held.book.remove(ticket);
            held.receipts.remove(&ticket);
        }
    }

    /// What is to be extended now. What has ended meanwhile is lost.
    fn due(&self, stats: &Stats) -> (Vec<u64>, Vec<(R, Duration)>) {
        let mut held = self.lock();
        let due = held.book.due(clock::now());
        for (ticket, end) in held.book.take_ended() {
            tracing::debug!(ticket, ?end, "a lease has ended");
            self.lose(&mut held, ticket, stats);
        }
        due.into_iter()
            .filter_map(|ticket| {
                held.receipts.get(&ticket).map(|receipt| (ticket, (receipt.clone(), self.length)))
            })
            .unzip()
    }

    /// Waits until something may be due.
    async fn rest(&self) {
        let next = self.lock().book.next_due();
        let nudged = self.nudge.notified();
        match clock::instant(next) {
            Some(at) => {
                let _ = tokio::time::timeout_at(at, nudged).await;
            }
            None => nudged.await,
        }
    }

    /// Notes what the source answered.
    fn answered(&self, tickets: &[u64], results: Vec<Result<Lease, LeaseError>>, stats: &Stats) {
        let now = clock::now();
        let extended = results.iter().filter(|result| result.is_ok()).count();
        let failed = tickets.len().saturating_sub(extended);
        self.observed.tell(|observer| observer.extended(extended, failed));
        let mut results = results.into_iter();
        let mut held = self.lock();
        for &ticket in tickets {
            let fate = match results.next() {
                Some(Ok(lease)) => {
                    let expires_at = clock::moment(Instant::from_std(lease.expires_at));
                    held.book.renewed(ticket, now, expires_at)
                }
                Some(Err(LeaseError::Lost)) if held.book.lost(ticket) => LeaseFate::Lost,
                Some(Err(LeaseError::Lost)) => LeaseFate::Unknown,
                Some(Err(_)) | None => held.book.failed(ticket, now),
            };
            if fate == LeaseFate::Lost {
                self.lose(&mut held, ticket, stats);
            }
        }
    }

    fn lose(&self, held: &mut Held<R>, ticket: u64, stats: &Stats) {
        held.receipts.remove(&ticket);
        stats.leases_lost.add(1);
        // Without a pump there is nobody to tell, and nothing to call off.
        let _ = self.lost.send(ticket);
    }
}

/// Runs a keeper as a task of its own.
pub(crate) async fn keep<S: Source>(
    keeper: Arc<Keeper<S::Receipt>>,
    source: Arc<S>,
    stats: Arc<Stats>,
) {
    keeper.run(&*source, &stats).await;
}
