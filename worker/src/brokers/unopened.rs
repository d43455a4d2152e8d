//! A source that is only asked what it can do: for `check`, which must not join a group, open a
//! channel, or take a message.

use forebay::{
    Backlog, Capabilities, Delivery, Lease, LeaseError, SettleError, Settled, Settlement, Source,
    SourceError, Want,
};
use std::time::Duration;

/// What a queue could do, if it were opened.
pub(crate) struct Unopened(pub(crate) Capabilities);

impl Source for Unopened {
    type Receipt = ();

    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    async fn receive(&self, _: Want, _: &mut Vec<Delivery<()>>) -> Result<(), SourceError> {
        Err(SourceError::Closed)
    }

    async fn settle(&self, batch: &[Settlement<()>]) -> Vec<Result<Settled, SettleError>> {
        batch.iter().map(|_| Err(SettleError::Stale)).collect()
    }

    async fn extend(&self, batch: &[((), Duration)]) -> Vec<Result<Lease, LeaseError>> {
        batch.iter().map(|_| Err(LeaseError::Lost)).collect()
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        Err(SourceError::Closed)
    }

    async fn close(&self, _: Duration) -> Result<(), SourceError> {
        Ok(())
    }
}
