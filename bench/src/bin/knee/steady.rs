//! The adaptive limit beside fixed ones, in turn, each with an endless backlog.
//!
//! The best fixed one is that of the greatest power, throughput divided by p99. It is chosen after the
//! fact, by the runs that it is then compared by, which makes it look a little better than it is.

use clap::{Args, value_parser};
use forebay::policy::Concurrency;
use forebay_bench::{
    bootstrap::Interval,
    knee::{
        Fault,
        bed::{ACCOUNTS, Bed},
        work::{Work, adaptive},
    },
    progress,
    table::Table,
};
use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

/// The backlog is kept at so many messages at least.
const BACKLOG: u64 = 4_000;

/// Neither a checkpoint nor a vacuum falls into a run: they move the knee while they last.
const UNDISTURBED: [&str; 4] =
    ["autovacuum = off", "checkpoint_timeout = 1h", "max_wal_size = 8GB", "full_page_writes = off"];

#[derive(Args)]
pub(crate) struct Steady {
    /// The fixed limits.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32, 64])]
    limits: Vec<u32>,
    /// How often each is run, all in turn.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds until it counts.
    #[arg(long, default_value_t = 15.0)]
    warm: f64,
    /// Seconds that count.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Commits do not wait for the disk: processors are what there is too little of.
    #[arg(long)]
    no_sync: bool,
    /// How many accounts each message sums up beside: a statement that takes a processor's time.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(..i64::from(ACCOUNTS)))]
    sums: u32,
}

/// Runs of one limit; `None` adapts.
struct Lane {
    fixed: Option<u32>,
    runs: Vec<Run>,
}

struct Run {
    limit: f64,
    throughput: f64,
    p99: f64,
}

impl Lane {
    fn interval(&self, of: fn(&Run) -> f64) -> Result<Interval, Fault> {
        let values: Vec<f64> = self.runs.iter().map(of).collect();
        Interval::of(&values).ok_or_else(|| "no rounds, no intervals: --rounds is 0".into())
    }

    fn power(&self) -> Result<f64, Fault> {
        Ok(self.interval(|run| run.throughput)?.mean / self.interval(|run| run.p99)?.mean)
    }
}

impl Steady {
    pub(crate) async fn run(&self) -> Result<(), Fault> {
        let fixed = self.limits.iter().map(|limit| Some(*limit));
        let mut lanes: Vec<Lane> =
            fixed.chain([None]).map(|fixed| Lane { fixed, runs: vec![] }).collect();
        for round in 1..=self.rounds {
            fastrand::shuffle(&mut lanes);
            for lane in &mut lanes {
                let name = lane.fixed.map_or("adaptive".to_owned(), |limit| limit.to_string());
                progress::show(&format!("round {round} of {}: {name}", self.rounds));
                lane.runs.push(self.once(lane.fixed).await?);
            }
        }
        progress::clear();
        lanes.sort_by_key(|lane| lane.fixed.unwrap_or(u32::MAX));
        self.report(&lanes)
    }

    async fn once(&self, fixed: Option<u32>) -> Result<Run, Fault> {
        let mut settings = UNDISTURBED.to_vec();
        if self.no_sync {
            settings.push("fsync = off");
        }
        let bed = Bed::start(&settings).await?;
        let limit = fixed.map_or_else(adaptive, |limit| Ok(Concurrency::fixed(limit)))?;
        let work = Work::start(&bed.url(), limit, self.sums).await?;
        let mut sent = 0;
        self.feed(&work, &mut sent, self.warm).await?;
        work.latency.lock().unwrap_or_else(PoisonError::into_inner).reset();
        let (start, before) = (Instant::now(), work.control.status().counts.acked);
        let limit = self.feed(&work, &mut sent, self.seconds).await?;
        let done = work.control.status().counts.acked - before;
        let throughput = done as f64 / start.elapsed().as_secs_f64();
        let micros = {
            let latency = work.latency.lock().unwrap_or_else(PoisonError::into_inner);
            latency.value_at_quantile(0.99)
        };
        let control = work.control.clone();
        work.stop().await?;
        let (acked, count) = (control.status().counts.acked, bed.count().await?);
        if count.rows.cast_unsigned() != acked || count.messages != count.rows {
            return Err(format!("{acked} messages were done, and left {count:?}").into());
        }
        Ok(Run { limit, throughput, p99: micros as f64 / 1e3 })
    }

    /// Keeps a backlog for so long, and says what the limit was on average.
    async fn feed(&self, work: &Work, sent: &mut u64, seconds: f64) -> Result<f64, Fault> {
        let (start, mut limits, mut looks) = (Instant::now(), 0.0, 0.0);
        while start.elapsed().as_secs_f64() < seconds {
            if work.queue.backlog().outstanding() < BACKLOG {
                work.publish(*sent..*sent + BACKLOG).await?;
                *sent += BACKLOG;
            }
            limits += f64::from(work.control.status().gate.limit);
            looks += 1.0;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(limits / looks)
    }

    fn report(&self, lanes: &[Lane]) -> Result<(), Fault> {
        let mut table = Table::new(&["limit", "messages/s", "p99, ms", "power"]);
        let mut best: Option<(&Lane, f64)> = None;
        for lane in lanes {
            let (throughput, p99) =
                (lane.interval(|run| run.throughput)?, lane.interval(|run| run.p99)?);
            let power = lane.power()?;
            if lane.fixed.is_some() && best.is_none_or(|(_, most)| power > most) {
                best = Some((lane, power));
            }
            let limit = lane.interval(|run| run.limit)?;
            let name =
                lane.fixed.map_or(format!("adaptive, {limit:.1}"), |limit| limit.to_string());
            table.row([
                name,
                format!("{throughput:.0}"),
                format!("{p99:.2}"),
                format!("{power:.0}"),
            ]);
        }
        table.print()?;
        let adaptive = lanes.iter().find(|lane| lane.fixed.is_none());
        let (Some((best, _)), Some(adaptive)) = (best, adaptive) else { return Ok(()) };
        let mut table = Table::new(&["best fixed", "adaptive / best", "intervals overlap"]);
        let both = |of| Ok::<_, Fault>((adaptive.interval(of)?, best.interval(of)?));
        for (name, (ours, theirs)) in
            [("messages/s", both(|run| run.throughput)?), ("p99", both(|run| run.p99)?)]
        {
            table.row([
                format!("{}, {name}", best.fixed.unwrap_or_default()),
                format!("{:.2}", ours.mean / theirs.mean),
                if ours.overlaps(&theirs) { "yes" } else { "no" }.to_owned(),
            ]);
        }
        table.print()?;
        Ok(())
    }
}
