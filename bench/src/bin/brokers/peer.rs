//! A peer: a program of its own, as what it depends on is no business of ours (bench/mq-bridge).
//!
//! It is called with the broker's kind, its address, the queue, how many messages that holds, and the
//! microseconds of work for each; and prints the nanoseconds that each has cost, of time and of processor
//! time.

use crate::{Fault, lane::Load};
use forebay_bench::{cost::Cost, seen::Work};
use std::{path::PathBuf, process::Stdio};
use tokio::process::Command;

pub(crate) struct Peer(PathBuf);

impl Peer {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self(program)
    }

    pub(crate) async fn consume(
        &self,
        (kind, address): (&str, &str),
        queue: &str,
        load: Load,
        work: Work,
    ) -> Result<Cost, Fault> {
        let name = self.0.display();
        let mut command = Command::new(&self.0);
        command
            .args([kind, address, queue, &load.messages.to_string(), &work.micros().to_string()])
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let output = command.output().await.map_err(|error| format!("--peer {name}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{name} failed: {}", output.status).into());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let mut figures = said.split_whitespace().map(str::parse);
        match (figures.next(), figures.next(), figures.next()) {
            (Some(Ok(wall)), Some(Ok(cpu)), None) => Ok(Cost { wall, cpu }),
            _ => Err(format!("{name} did not print two figures, but {said:?}").into()),
        }
    }
}
