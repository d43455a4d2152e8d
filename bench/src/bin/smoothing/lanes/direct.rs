//! (a) Straight from clients: each arrival is one that wants its row inserted, and is told how it went.
//!
//! The clients are requests at a few application servers, as most traffic is, each with a pool of
//! connections of its own. Together the pools want more connections than the server has: nobody
//! added them up when the last server was put in. A request waits so long for a connection, and so
//! long for its answer; then its client is gone.

use super::{Left, Stage};
use crate::{
    Fault,
    database::{INSERT, is_refusal, name_of},
    plan::{Order, Plan},
    record::Record,
};
use deadpool_postgres::{
    Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::{Config, NoTls};

/// Application servers, and the connections of each at most: twice what the server has.
const SERVERS: usize = 8;
const POOL: usize = 25;
/// How long a client waits for its answer, all in all.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn play(mut stage: Stage) -> Result<Left, Fault> {
    // Until the last client has gone: nothing waits longer than they do.
    stage.until = stage.until.max(stage.plan.ends() + PATIENCE + Duration::from_secs(1));
    let config: Config = stage.url.parse()?;
    let servers = (0..SERVERS).map(|_| pool(&config)).collect::<Result<Vec<_>, _>>()?;
    let (plan, record, handle) = (stage.plan.clone(), stage.record.clone(), Handle::current());
    let offer = move |ids: std::ops::Range<u64>| {
        for id in ids {
            let server = servers[id as usize % SERVERS].clone();
            handle.spawn(client(server, plan.clone(), record.clone(), id));
        }
    };
    stage.perform(offer).await?;
    Ok(Left::default())
}

fn pool(config: &Config) -> Result<Pool, Fault> {
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(config.clone(), NoTls, ManagerConfig { recycling_method });
    let pool = Pool::builder(manager)
        .max_size(POOL)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .build()?;
    Ok(pool)
}

/// One client: it has a row, or an error.
async fn client(server: Pool, plan: Arc<Plan>, record: Arc<Record>, id: u64) {
    let left = (plan.due(id) + PATIENCE).saturating_sub(record.start().elapsed());
    match timeout(left, insert(&server, &plan.order(id), &record)).await {
        Ok(Ok(())) => record.written(id),
        Ok(Err(Error::Statement(error))) if is_refusal(&error) => record.refused(id),
        Ok(Err(error)) => record.failed(id, &error.name()),
        Err(_) => record.failed(id, "no answer within 5 s"),
    }
}

enum Error {
    Pool(PoolError),
    Statement(tokio_postgres::Error),
}

impl Error {
    fn name(&self) -> String {
        match self {
            Self::Pool(PoolError::Backend(error)) | Self::Statement(error) => name_of(error),
            Self::Pool(PoolError::Timeout(TimeoutType::Wait)) => {
                "no connection of the pool was free within 5 s".to_owned()
            }
            Self::Pool(error) => error.to_string(),
        }
    }
}

async fn insert(server: &Pool, order: &Order, record: &Record) -> Result<(), Error> {
    let connection = server.get().await.map_err(Error::Pool)?;
    let statement = connection.prepare_cached(INSERT).await.map_err(Error::Statement)?;
    let began = Instant::now();
    let Order { id, customer, amount, note } = order;
    let inserted = connection.execute(&statement, &[id, customer, amount, note]).await;
    record.statement(began.elapsed(), 1);
    inserted.map(drop).map_err(Error::Statement)
}
