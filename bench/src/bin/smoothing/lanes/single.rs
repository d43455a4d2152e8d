//! (c) Forebay, a message at a time: its mark in the inbox and its row in one transaction.

use super::{Left, Stage, forebay as shared};
use crate::{
    Fault,
    database::{INSERT, TYPES},
    plan::Order,
    record::Record,
};
use forebay::{Failure, Gate, Job, Worker, policy::Concurrency};
use forebay_postgres::{Inbox, Parameter};
use std::{sync::Arc, time::Instant};

#[derive(Clone)]
struct State {
    inbox: Inbox,
    record: Arc<Record>,
}

pub(super) async fn play(stage: Stage) -> Result<Left, Fault> {
    let at_once = stage.setup.single_at_once;
    let queue = shared::queue();
    let (pool, inbox) = shared::inbox(&stage.url, at_once, &queue).await?;
    let gate = Gate::new(Concurrency::fixed(at_once));
    pool.bound(&gate);
    let state = State { inbox: inbox.clone(), record: stage.record.clone() };
    let worker = Worker::builder(queue.source()).gate(gate).state(state).handler(write).build()?;
    let control = worker.control();
    shared::perform(&stage, &queue, &inbox, control, worker.run_until_drained()).await
}

async fn write(job: Job<Order, State>) -> Result<(), Failure> {
    let State { inbox, record } = job.state();
    let Order { id, customer, amount, note } = &job.payload;
    let began = Instant::now();
    let [a, b, c, d] = TYPES;
    let parameters: [Parameter<'_>; 4] = [(id, a), (customer, b), (amount, c), (note, d)];
    let outcome = inbox.execute(&job, INSERT, &parameters).await;
    record.statement(began.elapsed(), 1);
    match outcome {
        // Done now, or before: then only now it is known.
        Ok(_) => record.written(id.unsigned_abs()),
        Err(failure) => {
            match &failure {
                Failure::Permanent(_) => record.refused(id.unsigned_abs()),
                other => record.error(&other.to_string()),
            }
            return Err(failure);
        }
    }
    Ok(())
}
