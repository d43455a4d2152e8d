//! One run: messages arrive at a steady rate, whatever becomes of them; the database is well, then in
//! trouble, then well again.

use super::{
    Fault,
    bed::{Bed, Count},
    trouble::Trouble,
    watch::{Timeline, Times, Watch},
    work::{Work, adaptive},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long something lasts: this, and on until what is looked for has been seen, but no longer than
/// that.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// At least.
    pub least: Duration,
    /// At most.
    pub most: Duration,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is wrong in its middle.
    pub trouble: Trouble,
    /// Messages per second.
    pub rate: f64,
    /// How long all is well before.
    pub calm: Duration,
    /// How long the trouble lasts: until the limit has fallen, and the breaker opened where it has to.
    pub lasts: Span,
    /// How long it goes on after: until both are as before.
    pub after: Span,
    /// How long what is left may take in the end.
    pub rest: Duration,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What the worker's status told.
    pub timeline: Timeline,
    /// What that comes to.
    pub times: Times,
    /// Messages sent.
    pub sent: u64,
    /// What the database holds at the end.
    pub count: Count,
}

impl Ran {
    /// Messages without their effect.
    #[must_use]
    pub fn lost(&self) -> i64 {
        self.sent.cast_signed() - self.count.messages
    }

    /// Effects that were had twice: rows, or amounts booked, beyond one for each message.
    #[must_use]
    pub fn doubled(&self) -> i64 {
        self.count.rows.max(self.count.booked) - self.count.messages
    }
}

impl Plan {
    /// Runs it.
    ///
    /// # Errors
    /// When the server or the worker fails, or work is left at the end.
    pub async fn run(&self, bed: &Arc<Bed>) -> Result<Ran, Fault> {
        let work = Work::start(&bed.url(), adaptive()?, 0).await?;
        let watch = Watch::start(work.control.clone());
        let sent = work.arrive(self.rate, 0, self.play(bed, &watch)).await?;
        work.done(self.rest).await?;
        let timeline = watch.seen();
        work.stop().await?;
        let count = bed.count().await?;
        Ok(Ran { times: timeline.times(), timeline, sent, count })
    }

    async fn play(&self, bed: &Arc<Bed>, watch: &Watch) -> Result<(), Fault> {
        tokio::time::sleep(self.calm).await;
        watch.begins();
        let ongoing = self.trouble.begin(bed).await?;
        let opens = self.trouble.opens_the_breaker();
        until(self.lasts, || {
            let times = watch.times();
            times.fell.is_some() && (times.opened.is_some() || !opens)
        })
        .await;
        ongoing.end().await?;
        watch.ends();
        until(self.after, || watch.times().recovered.is_some()).await;
        Ok(())
    }
}

async fn until(span: Span, seen: impl Fn() -> bool) {
    let start = Instant::now();
    tokio::time::sleep(span.least).await;
    while start.elapsed() < span.most && !seen() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
