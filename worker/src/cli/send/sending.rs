//! A run of `send` under way: what is ready goes together, and every confirmation is counted.

use super::input::{Line, Shape};
use crate::{brokers::Queue, error::CliError, output, pace::Pace, terminal};
use forebay::{BoxError, Outgoing, Sink};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Messages that are published together, at most.
const BATCH: usize = 500;
/// Bytes that are published together, about.
const BATCH_BYTES: usize = 4 << 20;
/// How often the live line is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// What cannot be sent, and why.
type Bad = (String, BoxError);

/// A run of `send` under way.
pub(super) struct Sending {
    queue: Queue,
    /// What a message was on its way in: a line, an argument.
    unit: &'static str,
    shape: Shape,
    skip_invalid: bool,
    pace: Option<Pace>,
    sent: usize,
    skipped: usize,
    started: Instant,
    drawn: Option<Instant>,
}

impl Sending {
    /// Nothing sent yet.
    pub(super) fn new(
        queue: Queue,
        unit: &'static str,
        shape: Shape,
        pace: Option<Pace>,
        skip_invalid: bool,
    ) -> Self {
        let started = Instant::now();
        Self { queue, unit, shape, skip_invalid, pace, sent: 0, skipped: 0, started, drawn: None }
    }

    /// Sends all lines.
    ///
    /// # Errors
    /// At the first line that cannot be sent, with how many are confirmed.
    pub(super) async fn send_all(
        &mut self,
        lines: &mut mpsc::Receiver<Line>,
    ) -> Result<(), CliError> {
        let mut ready = Vec::new();
        loop {
            let turns = match &mut self.pace {
                Some(pace) => pace.turns(BATCH).await,
                None => BATCH,
            };
            let read = lines.recv_many(&mut ready, turns).await;
            if read == 0 {
                return Ok(());
            }
            // What came before a line that cannot be sent is sent all the same.
            let (batch, bad) = self.understand(&mut ready);
            if let Some(pace) = &mut self.pace {
                pace.give_back(turns - batch.len());
            }
            self.publish(&batch).await?;
            if let Some((what, why)) = bad {
                return Err(self.stopped(&format!(" at {what}"), why));
            }
            self.draw();
        }
    }

    /// Lines as messages, up to the first that is none.
    fn understand(&mut self, lines: &mut Vec<Line>) -> (Vec<(usize, Outgoing)>, Option<Bad>) {
        let mut batch = Vec::with_capacity(lines.len());
        for (number, line) in lines.drain(..) {
            let line = match line {
                Ok(line) => line,
                Err(error) => return (batch, Some((self.place(number), error.into()))),
            };
            match self.shape.message(&line) {
                Ok(message) => batch.push((number, message)),
                Err(why) if self.skip_invalid => {
                    self.skipped += 1;
                    terminal::error_line(&format!("skipped {}: {why}", self.place(number)));
                }
                Err(why) => return (batch, Some((self.place(number), why.into()))),
            }
        }
        (batch, None)
    }

    fn place(&self, number: usize) -> String {
        format!("{} {number}", self.unit)
    }

    async fn publish(&mut self, batch: &[(usize, Outgoing)]) -> Result<(), CliError> {
        let mut rest = batch;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|(_, message)| {
                bytes += message.payload.len();
                bytes <= BATCH_BYTES
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            rest = later;
            let messages: Vec<Outgoing> = now.iter().map(|(_, message)| message.clone()).collect();
            let results = self.queue.publish(&messages).await;
            self.sent += results.iter().filter(|result| result.is_ok()).count();
            let failed = now
                .iter()
                .zip(results)
                .find_map(|((number, _), result)| result.err().map(|error| (*number, error)));
            if let Some((number, error)) = failed {
                return Err(self.stopped(&format!(" at {}", self.place(number)), error));
            }
        }
        Ok(())
    }

    /// It has stopped here, for this reason.
    pub(super) fn stopped(&self, what: &str, why: impl Into<BoxError>) -> CliError {
        CliError::failed(format!("{} confirmed, then stopped{what}", self.sent), why)
    }

    /// What has been done so far.
    pub(super) fn report(&self) -> String {
        let seconds = self.started.elapsed();
        let skipped = match self.skipped {
            0 => String::new(),
            n => format!(", skipped {n}"),
        };
        format!("sent {}{skipped} in {}", self.sent, output::age(seconds))
    }

    fn draw(&mut self) {
        let now = Instant::now();
        let due = self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= REDRAW);
        if due && terminal::is_live() {
            self.drawn = Some(now);
            terminal::show(Some(self.report()));
        }
    }
}
