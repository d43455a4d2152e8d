//! A number of connections that all processes of a fleet share, by leases in the database itself.
//!
//! ```text
//!   every `renew`:  say what is held, learn what may be used   (ledger.rs, allocate.rs)
//!     less than before: the pool shrinks now; the lease says so once the connections are closed
//!     more than before: others have given it back, or their leases have ended
//!   no answer until `lease` is nearly over: the pool shrinks to nothing by our own clock
//! ```
//!
//! Why leased rows and not advisory locks: those of a session break behind PgBouncer in transaction
//! mode, and those of a transaction would need one that stays open. Why a connection of its own for
//! each look: a process that is due nothing must still be able to ask, and one whose connections all
//! hang must still be able to renew. It is open for a few milliseconds at a time, and comes on top of
//! the total.

use crate::{
    PgPool, SetupError,
    ledger::{Books, Missed, Turn},
    schema,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

/// Settings of a [`Budget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetOptions {
    /// How long a process that has died keeps its share; default 15 s.
    pub lease: Duration,
    /// How often a process renews and adjusts; default 3 s, at most a third of the lease. While
    /// shares move, it looks four times as often.
    pub renew: Duration,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), renew: Duration::from_secs(3) }
    }
}

impl BudgetOptions {
    fn check(self) -> Result<Self, SetupError> {
        let shown = |time: Duration| format!("{time:?}");
        if self.renew < Duration::from_millis(10) {
            let allowed = "it must be at least 10 ms";
            return Err(SetupError::invalid("budget.renew", shown(self.renew), allowed));
        }
        if self.lease < self.renew.saturating_mul(3) || self.lease > Duration::from_secs(86_400) {
            let allowed = format!(
                "it must be at least three times `budget.renew` ({:?}), and at most a day",
                self.renew
            );
            return Err(SetupError::invalid("budget.lease", shown(self.lease), allowed));
        }
        Ok(self)
    }

    /// How long before its end a lease that could not be renewed is no longer used.
    fn margin(self) -> Duration {
        self.lease / 5
    }
}

/// A process's part in a shared number of connections. While it lives, it moves the ceiling of its
/// pool. Dropping it closes the pool's door and lets the lease end by itself; [`Budget::leave`] gives
/// the share back at once.
#[must_use = "dropping it leaves the pool without connections"]
#[derive(Debug)]
pub struct Budget {
    member: Member,
    task: JoinHandle<()>,
}

/// What the task and the handle both know.
#[derive(Clone, Debug)]
struct Member {
    pool: PgPool,
    books: Books,
    options: BudgetOptions,
    holder: Arc<Mutex<Option<i64>>>,
}

impl Budget {
    /// Joins the budget `name`, of `total` connections. The pool may use none until its first share
    /// has been granted, here or soon after; then as many as it is due, and at most
    /// [`PoolOptions::connections`](crate::PoolOptions::connections).
    ///
    /// All processes should state the same total. If they do not (a rolling change), the last one to
    /// join has its way; a lower total holds once the others have given back.
    ///
    /// # Errors
    /// [`SetupError`]: a setting, or what the server said.
    pub async fn join(
        pool: &PgPool,
        name: impl Into<String>,
        total: u32,
        options: BudgetOptions,
    ) -> Result<Self, SetupError> {
        let options = options.check()?;
        let name = name.into();
        let Some(stated) = i32::try_from(total).ok().filter(|total| *total > 0) else {
            return Err(SetupError::invalid(
                "budget.total",
                total.to_string(),
                "it must be 1 to 2,147,483,647",
            ));
        };
        schema::migrate(pool).await?;
        let books = Books::new(pool.inner(), name, options.lease);
        let client = pool.inner().tls.connect(&pool.inner().config).await?;
        let doing = format!("joining the budget `{}`", books.name);
        books.state(&client, stated).await.map_err(SetupError::server(&doing))?;
        drop(client);
        pool.set_ceiling(0);
        let member = Member { pool: pool.clone(), books, options, holder: Arc::default() };
        let task = tokio::spawn(member.clone().keep());
        Ok(Self { member, task })
    }

    /// How many connections this process may use now.
    #[must_use]
    pub fn share(&self) -> u32 {
        self.member.pool.ceiling()
    }

    /// Gives the share back: nothing new is started, what runs is waited for (until the lease ends),
    /// and others can have it at once. The pool is left with no connections.
    ///
    /// # Errors
    /// When the database did not hear of it: the lease then ends by itself.
    pub async fn leave(self) -> Result<(), SetupError> {
        self.task.abort();
        let member = &self.member;
        member.pool.set_ceiling(0);
        let until = Instant::now() + member.options.lease;
        while member.held() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let Some(holder) = member.holder() else { return Ok(()) };
        let client = member.pool.inner().tls.connect(&member.pool.inner().config).await?;
        let doing = format!("leaving the budget `{}`", member.books.name);
        member.books.leave(&client, holder).await.map_err(SetupError::server(&doing))
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.task.abort();
        self.member.pool.set_ceiling(0);
    }
}

impl Member {
    /// Renews for ever.
    async fn keep(self) {
        let options = self.options;
        // Until when the lease is ours for sure, by our own clock.
        let mut ours_until: Option<Instant> = None;
        let mut next = Instant::now();
        loop {
            self.fenced(ours_until, tokio::time::sleep_until(next)).await;
            // Counted from before the server was asked, so that the true end is never earlier.
            let asked = Instant::now();
            let turn = tokio::time::timeout(options.lease / 3, self.turn());
            let settled = match self.fenced(ours_until, turn).await {
                Ok(Ok(turn)) => {
                    self.set_holder(Some(turn.holder));
                    ours_until = Some(asked + options.lease);
                    if Instant::now() < asked + options.lease - options.margin() {
                        self.pool.set_ceiling(turn.grant.usable);
                    }
                    turn.grant.usable == turn.grant.fair && turn.grant.share == turn.grant.usable
                }
                Ok(Err(missed)) => self.missed(&missed),
                Err(_) => self.missed(&"no answer in time"),
            };
            let wait = if settled { options.renew } else { options.renew / 4 };
            next = Instant::now() + wait;
        }
    }

    fn missed(&self, why: &dyn std::fmt::Display) -> bool {
        tracing::warn!(budget = %self.books.name, "the share was not renewed, and is tried again: {why}");
        false
    }

    /// Waits for something, and lets go of the share if its lease is about to end meanwhile.
    async fn fenced<T>(&self, ours_until: Option<Instant>, waiting: impl Future<Output = T>) -> T {
        let Some(until) = ours_until else { return waiting.await };
        let fence = tokio::time::sleep_until(until - self.options.margin());
        let (mut waiting, mut fence) = (std::pin::pin!(waiting), std::pin::pin!(fence));
        match futures_util::future::select(waiting.as_mut(), fence.as_mut()).await {
            futures_util::future::Either::Left((value, _)) => value,
            futures_util::future::Either::Right(_) => {
                if self.pool.ceiling() > 0 {
                    let budget = &self.books.name;
                    tracing::warn!(%budget, "the lease could not be renewed: no connections until it is");
                    self.pool.set_ceiling(0);
                }
                waiting.await
            }
        }
    }

    async fn turn(&self) -> Result<Turn, Missed> {
        let pool = self.pool.inner();
        let client = pool.tls.connect(&pool.config).await?;
        self.books.turn(&client, self.holder(), pool.options.connections, self.held()).await
    }

    /// What is in use, or may be at any moment.
    fn held(&self) -> u32 {
        self.pool.trim();
        self.pool.held()
    }

    fn holder(&self) -> Option<i64> {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_holder(&self, holder: Option<i64>) {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = holder;
    }
}
