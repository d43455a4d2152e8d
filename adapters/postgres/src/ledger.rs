//! One look into the budget's books: say what is held, learn what may be used, in one transaction.
//!
//! The row of the budget is locked first, so that processes take turns. Time is the server's
//! `clock_timestamp()`: `now()` would be that of before the wait for the lock. Each statement is
//! answered before the next is sent, so a turn that was given up cannot go on behind the next one's
//! back: while it holds the lock, the next one waits.

use crate::{
    DatabaseError, SetupError,
    allocate::{Grant, Lease, grant},
    pool::Inner,
};
use std::time::Duration;
use tokio_postgres::{Client, Error, types::Type};

/// The books of one budget.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) name: String,
    /// `schema.forebay_budget`
    budget: String,
    /// `schema.forebay_budget_lease`
    lease: String,
    length: Duration,
    begin: String,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Who we are from now on.
    pub(crate) holder: i64,
    pub(crate) grant: Grant,
}

/// Why there was no turn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missed {
    #[error("{0}")]
    Connect(#[from] SetupError),
    #[error("{0}")]
    Server(DatabaseError),
    #[error(
        "the lease had ended while {0} connections were in use: it is taken anew once they are given back"
    )]
    StillHeld(u32),
}

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        Self::Server(error.into())
    }
}

impl Books {
    pub(crate) fn new(pool: &Inner, name: String, length: Duration) -> Self {
        // A turn that waits for longer than this is of no use.
        let patience = (length / 3).as_millis();
        Self {
            name,
            budget: format!("{}.forebay_budget", pool.schema),
            lease: format!("{}.forebay_budget_lease", pool.schema),
            length,
            begin: format!("BEGIN; SET LOCAL statement_timeout = {patience}"),
        }
    }

    /// States the total. Whoever says another number has the last word.
    pub(crate) async fn state(&self, client: &Client, total: i32) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO {0} (name, total) VALUES ($1, $2) ON CONFLICT (name) \
             DO UPDATE SET total = EXCLUDED.total WHERE {0}.total <> EXCLUDED.total",
            self.budget
        );
        let parameters = [(&self.name as _, Type::TEXT), (&total as _, Type::INT4)];
        client.execute_typed(&sql, &parameters).await.map(drop)
    }

    /// Takes a turn. `holder` is who we were, `wanted` the most that we could use, `held` what we do
    /// use, or may.
    pub(crate) async fn turn(
        &self,
        client: &Client,
        holder: Option<i64>,
        wanted: u32,
        held: u32,
    ) -> Result<Turn, Missed> {
        client.batch_execute(&self.begin).await?;
        let sql = format!("SELECT total FROM {} WHERE name = $1 FOR UPDATE", self.budget);
        let total: i32 =
            client.query_typed_one(&sql, &[(&self.name, Type::TEXT)]).await?.try_get(0)?;
        let sql = format!(
            "DELETE FROM {} WHERE name = $1 AND expires_at <= clock_timestamp()",
            self.lease
        );
        client.execute_typed(&sql, &[(&self.name, Type::TEXT)]).await?;
        let holder = match self.renew(client, holder, wanted, held).await? {
            Some(holder) => holder,
            // Others may have what we had: until it is given back, there is nothing to ask for.
            None if held > 0 => return Err(Missed::StillHeld(held)),
            None => self.enter(client, wanted).await?,
        };
        let sql = format!(
            "SELECT holder, wanted, share FROM {} WHERE name = $1 ORDER BY holder",
            self.lease
        );
        let rows = client.query_typed(&sql, &[(&self.name, Type::TEXT)]).await?;
        let (mut leases, mut me) = (Vec::with_capacity(rows.len()), 0);
        for row in &rows {
            if row.try_get::<_, i64>(0)? == holder {
                me = leases.len();
            }
            leases.push(Lease { wanted: count(row.try_get(1)?), share: count(row.try_get(2)?) });
        }
        let grant = grant(count(total), &leases, me);
        let sql = format!("UPDATE {} SET share = $2 WHERE holder = $1", self.lease);
        let share = signed(grant.share);
        client.execute_typed(&sql, &[(&holder, Type::INT8), (&share, Type::INT4)]).await?;
        client.batch_execute("COMMIT").await?;
        Ok(Turn { holder, grant })
    }

    /// Extends the lease, and says in it what is held; `None` if it has ended.
    async fn renew(
        &self,
        client: &Client,
        holder: Option<i64>,
        wanted: u32,
        held: u32,
    ) -> Result<Option<i64>, Error> {
        let Some(holder) = holder else { return Ok(None) };
        let sql = format!(
            "UPDATE {} SET wanted = $2, share = $3, \
             expires_at = clock_timestamp() + make_interval(secs => $4) WHERE holder = $1",
            self.lease
        );
        let (wanted, held, length) = (signed(wanted), signed(held), self.length.as_secs_f64());
        let renewed = client
            .execute_typed(
                &sql,
                &[
                    (&holder, Type::INT8),
                    (&wanted, Type::INT4),
                    (&held, Type::INT4),
                    (&length, Type::FLOAT8),
                ],
            )
            .await?;
        Ok((renewed == 1).then_some(holder))
    }

    /// Takes a lease of nothing yet.
    async fn enter(&self, client: &Client, wanted: u32) -> Result<i64, Error> {
        let sql = format!(
            "INSERT INTO {} (name, wanted, share, expires_at) \
             VALUES ($1, $2, 0, clock_timestamp() + make_interval(secs => $3)) RETURNING holder",
            self.lease
        );
        let (wanted, length) = (signed(wanted), self.length.as_secs_f64());
        let parameters = [
            (&self.name as _, Type::TEXT),
            (&wanted as _, Type::INT4),
            (&length as _, Type::FLOAT8),
        ];
        client.query_typed_one(&sql, &parameters).await?.try_get(0)
    }

    /// Gives the lease back.
    pub(crate) async fn leave(&self, client: &Client, holder: i64) -> Result<(), Error> {
        let sql = format!("DELETE FROM {} WHERE holder = $1", self.lease);
        client.execute_typed(&sql, &[(&holder, Type::INT8)]).await.map(drop)
    }
}

fn count(n: i32) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

fn signed(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
