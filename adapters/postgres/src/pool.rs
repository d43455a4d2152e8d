//! Connections to one database, no more than were agreed on; whoever waits too long is told to come
//! slower.
//!
//! ```text
//!   gate (handlers) <= seats (this process's ceiling) >= open connections
//!        ^ set_bounds        ^ Budget moves it              deadpool: idle ones, reconnects
//! ```
//!
//! The gate keeps handlers from starting that would only wait; the seats hold, whatever the gate
//! says. Both follow the ceiling, which a [`Budget`](crate::Budget) moves.

use crate::{
    DatabaseError, OwnTables, PoolBusy, PoolOptions, SetupError, Transaction,
    seats::{Seat, Seats},
    tls::Tls,
};
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, QueueMode, RecyclingMethod, Runtime, Timeouts,
};
use forebay::{Control, Failure, Gate, WorkerPhase};
use std::{
    ops::{Deref, RangeInclusive},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;
use tokio_postgres::Client;

/// Connections to one database. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct PgPool(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: PoolOptions,
    /// The schema of Forebay's own tables, quoted.
    pub(crate) schema: String,
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: Tls,
    pool: Pool,
    seats: Seats,
    ceiling: watch::Sender<u32>,
    /// Gates that follow the ceiling.
    gates: Mutex<Vec<Bounded>>,
}

/// A gate that follows the ceiling.
#[derive(Debug)]
struct Bounded {
    gate: Gate,
    /// The limit that it came with.
    own: u32,
    /// Between what its limit may move, whatever the ceiling.
    bounds: RangeInclusive<u32>,
}

/// A connection, with its seat. Dropping it gives both back.
#[derive(Debug)]
pub struct Connection {
    /// `None` only while it is being dropped.
    object: Option<Object>,
    seat: Seat,
}

impl PgPool {
    /// Connects once, to find out what is wrong now rather than at the first message.
    ///
    /// # Errors
    /// [`SetupError`]: a setting, or what the server said.
    pub async fn connect(options: PoolOptions) -> Result<Self, SetupError> {
        let config = options.config()?;
        let tls = Tls::new(&options, &config)?;
        let first = tls.connect(&config).await?;
        let schema = crate::schema::resolve(&first, options.schema.as_deref()).await?;
        let recycling_method = RecyclingMethod::Fast; // a test query would double each transaction's cost
        let manager =
            Manager::from_connect(config.clone(), tls.clone(), ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(options.connections as usize)
            .runtime(Runtime::Tokio1)
            // The one used last is the warmest. In turn, all that were ever open would be kept busy, and
            // a server that has to run many processes a little does less than one with few.
            .queue_mode(QueueMode::Lifo)
            .timeouts(Timeouts {
                wait: None, // seats are waited for, never deadpool
                create: Some(options.connect_timeout),
                recycle: Some(options.connect_timeout),
            })
            .build()
            .map_err(|error| {
                SetupError::invalid(
                    "connections",
                    options.connections.to_string(),
                    error.to_string(),
                )
            })?;
        Ok(Self(Arc::new(Inner {
            schema,
            config,
            tls,
            pool,
            seats: Seats::new(options.connections),
            ceiling: watch::Sender::new(options.connections),
            gates: Mutex::default(),
            options,
        })))
    }

    /// Keeps a gate's limit at or below what there are connections for, now and whenever that
    /// changes. Give the gate to the worker: then no handler starts only to wait for a connection.
    ///
    /// A fixed limit above the number of connections is lowered to it, and raised again up to what it
    /// was. An adaptive one moves between 1 and it.
    pub fn bound(&self, gate: &Gate) {
        self.bound_within(gate, 1..=u32::MAX);
    }

    /// As [`PgPool::bound`], for an adaptive limit that is to keep within bounds of its own: it moves
    /// between the lower one and the upper one, or the number of connections if that is less.
    pub fn bound_within(&self, gate: &Gate, bounds: RangeInclusive<u32>) {
        let ceiling = self.ceiling();
        let bounded = Bounded { gate: gate.clone(), own: gate.status().limit, bounds };
        bounded.follow(ceiling, ceiling);
        lock(&self.0.gates).push(bounded);
    }

    /// Pauses a worker while this process may have no connection at all, and resumes it after, for as
    /// long as the worker lives. With a [`Budget`](crate::Budget), a process can be left without: a
    /// gate's limit is never below one, so without this its messages would go round.
    pub fn pause_when_empty(&self, control: &Control) {
        let (control, mut ceiling) = (control.clone(), self.0.ceiling.subscribe());
        tokio::spawn(async move {
            let mut paused = false;
            loop {
                let empty = *ceiling.borrow_and_update() == 0;
                if empty != paused {
                    match empty {
                        true => control.pause(),
                        false => control.resume(),
                    }
                    paused = empty;
                }
                // A worker that has ended is looked for once in a while; a pool that is gone, at once.
                match tokio::time::timeout(Duration::from_secs(1), ceiling.changed()).await {
                    Ok(Err(_)) => return,
                    _ if control.status().phase == WorkerPhase::Stopped => return,
                    _ => {}
                }
            }
        });
    }

    /// A connection: a free one, or a new one. Give it back as it was, outside of a transaction; for
    /// those there is [`PgPool::begin`], which cleans up after itself.
    ///
    /// # Errors
    /// [`Failure::Throttled`] when none was free within [`PoolOptions::wait`]; else what connecting
    /// came to, by its SQLSTATE.
    pub async fn get(&self) -> Result<Connection, Failure> {
        let wait = self.0.options.wait;
        let Ok(seat) = tokio::time::timeout(wait, self.0.seats.take()).await else {
            return Err(Failure::throttled(
                PoolBusy { waited: wait, ceiling: self.ceiling() },
                None,
            ));
        };
        match self.0.pool.get().await {
            Ok(object) => Ok(Connection { object: Some(object), seat }),
            Err(PoolError::Backend(error)) => {
                Err(DatabaseError::new(error).while_doing("connecting").into_failure())
            }
            Err(error) => Err(Failure::transient(format!("connecting to PostgreSQL: {error}"))),
        }
    }

    /// Begins a transaction, with this pool's timeouts.
    ///
    /// # Errors
    /// As [`PgPool::get`], and what `BEGIN` came to.
    pub async fn begin(&self) -> Result<Transaction, Failure> {
        let transaction = Transaction::on(self.get().await?, self.clone());
        transaction
            .client()
            .batch_execute(&self.0.options.begin())
            .await
            .map_err(crate::failure)?;
        Ok(transaction)
    }

    /// Where the server is, for people: `host:port/database`, without the password.
    #[must_use]
    pub fn address(&self) -> String {
        crate::tls::address(&self.0.config)
    }

    /// The schema of Forebay's own tables, quoted.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.0.schema
    }

    /// Looks for Forebay's own tables, and makes none.
    ///
    /// # Errors
    /// [`SetupError::NewerSchema`]; a missing right to make them; what the server said.
    pub async fn own_tables(&self) -> Result<OwnTables, SetupError> {
        crate::schema::look(self).await
    }

    /// How many connections this process may have now.
    #[must_use]
    pub fn ceiling(&self) -> u32 {
        self.0.seats.ceiling()
    }

    /// Follows the ceiling.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u32> {
        self.0.ceiling.subscribe()
    }

    /// How many connections are open, or may be opened at this moment: never less than the ceiling,
    /// and more for as long as work runs that began under a higher one.
    #[must_use]
    pub fn held(&self) -> u32 {
        let open = u32::try_from(self.0.pool.status().size).unwrap_or(u32::MAX);
        self.0.seats.held().max(open)
    }

    /// Moves the ceiling: gates follow, idle connections above it are closed, those in use are closed
    /// when they are given back.
    pub(crate) fn set_ceiling(&self, ceiling: u32) {
        let ceiling = ceiling.min(self.0.options.connections);
        let before = self.ceiling();
        if before == ceiling {
            return;
        }
        self.0.seats.set_ceiling(ceiling);
        for bounded in &*lock(&self.0.gates) {
            bounded.follow(before, ceiling);
        }
        self.trim();
        self.0.ceiling.send_replace(ceiling);
    }

    /// Closes idle connections above the ceiling, first those that have been idle for longest.
    pub(crate) fn trim(&self) {
        let mut surplus = self.0.pool.status().size.saturating_sub(self.ceiling() as usize);
        if surplus > 0 {
            self.0.pool.retain(|_, _| {
                let kept = surplus == 0;
                surplus = surplus.saturating_sub(1);
                kept
            });
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn downgrade(&self) -> WeakPool {
        WeakPool(Arc::downgrade(&self.0))
    }
}

/// A pool that a background task knows, and does not keep alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakPool(Weak<Inner>);

impl WeakPool {
    pub(crate) fn upgrade(&self) -> Option<PgPool> {
        self.0.upgrade().map(PgPool)
    }
}

impl Bounded {
    /// A gate cannot be closed by its limit: with no connection it lets one call through, which then
    /// waits for a seat and is postponed.
    fn follow(&self, before: u32, ceiling: u32) {
        let limit = self.gate.status().limit;
        let most = ceiling.min(*self.bounds.end()).max(1);
        let least = (*self.bounds.start()).clamp(1, most);
        // The bounds are sound: 1 <= least <= most.
        let _ = self.gate.set_bounds(least, most);
        // What the ceiling held down comes up with it at once: an adaptive limit would take its time.
        if limit == before.max(1) && limit < most.min(self.own) {
            self.gate.set_limit(most.min(self.own));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Closes it: what state it is in is not known.
    pub(crate) fn close(mut self) {
        self.object.take().map(Object::take);
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.object.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.seat.is_surplus() {
            self.object.take().map(Object::take);
        }
    }
}
