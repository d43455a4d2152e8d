//! The burst through the queue: a producer, worker processes, a kill, and a drain to the end.

use super::{
    Folder,
    audit::Told,
    fleet::Fleet,
    plan::Plan,
    producer::{self, Sent},
    sample::{EVERY, Reader, Sample, Timeline},
    worker::{LEASE, QUEUE},
};
use crate::error::CliError;
use forebay::{DeadFilter, DeadLetters};
use forebay_embedded::{Queue, Store};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long a killed worker stays away.
const AWAY: Duration = Duration::from_secs(1);
/// When draining has failed: far longer than any drain that goes well.
const PATIENCE: Duration = Duration::from_secs(180);
/// Dead letters that are read at a time.
const PAGE: usize = 500;

/// Runs it, and returns what was seen and what the queue and the workers say became of the orders.
pub(super) async fn run(
    folder: &Folder,
    plan: &Plan,
    workers: usize,
) -> Result<(Timeline, Told), CliError> {
    let broken = |error| CliError::failed("the queue does not work", error);
    let store = Store::open(folder.queue())
        .map_err(|error| CliError::failed("cannot make the queue", error))?;
    let queue = store.queue(QUEUE).await;
    let queue = queue.map_err(|error| CliError::failed("cannot make the queue", error))?;
    let mut fleet = Fleet::start(folder.path(), workers)?;
    fleet.ready().await?;
    let (started, sent) = (Instant::now(), Sent::default());
    let mut timeline = Timeline::default();
    {
        let watched = watch(folder, plan, &queue, &mut fleet, &mut timeline, started, &sent);
        let producing = producer::produce(plan, &queue, started, &sent);
        tokio::try_join!(watched, async {
            producing.await;
            Ok(())
        })?;
    }
    fleet.drain().await?;
    let left = queue.backlog().await.map_err(broken)?.outstanding();
    let dead = dead(&queue).await?;
    let board = fleet.board();
    let told = Told {
        sent: sent.load(Ordering::Relaxed),
        left,
        dead,
        failed: 0,
        retried: board.retried,
        postponed: board.postponed,
        took: board.took.clone(),
    };
    drop(board);
    Ok((timeline, told))
}

/// Looks on until everything has been handled; kills a worker in the middle of the burst.
async fn watch(
    folder: &Folder,
    plan: &Plan,
    queue: &Queue,
    fleet: &mut Fleet,
    timeline: &mut Timeline,
    started: Instant,
    sent: &Sent,
) -> Result<(), CliError> {
    let unreadable = |error| CliError::failed("cannot read the orders database", error);
    let reader = Reader::open(&folder.orders()).map_err(unreadable)?;
    let burst = plan.burst();
    let kill_at = burst.starts + burst.lasts / 2;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let at = started.elapsed();
        let backlog = queue.backlog().await;
        let backlog = backlog.map_err(|error| CliError::failed("cannot read the queue", error))?;
        let limit = fleet.board().limit();
        let rows = reader.rows().map_err(unreadable)?;
        let (sent, waiting) = (sent.load(Ordering::Relaxed), backlog.outstanding());
        timeline.push(Sample { at, sent, rows, waiting, limit, failed: 0 }, plan.phase_at(at));
        fleet.check()?;
        if timeline.killed.is_none() && at >= kill_at {
            let pid = fleet.kill_one().await?;
            timeline.killed = Some(started.elapsed());
            let out = backlog.leased.map_or(0, |count| count.value);
            timeline.say(&format!(
                "worker {pid} killed by SIGKILL; {out} orders are out, its own come back when \
                 their {LEASE:?} lease ends"
            ));
        }
        if timeline.restarted.is_none() && timeline.killed.is_some_and(|dead| at >= dead + AWAY) {
            let pid = fleet.add()?;
            timeline.restarted = Some(started.elapsed());
            timeline.say(&format!("worker {pid} takes its place"));
        }
        if waiting == 0 && sent == plan.len() as u64 && timeline.restarted.is_some() {
            return Ok(());
        }
        if at > PATIENCE {
            timeline.say(&format!("{waiting} orders still wait after {PATIENCE:?}: giving up"));
            return Ok(());
        }
    }
}

/// The ids of all dead letters.
async fn dead(queue: &Queue) -> Result<Vec<u64>, CliError> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = queue.list(&DeadFilter::default(), after.as_ref(), PAGE).await;
        let page = page.map_err(|error| CliError::failed("cannot read the dead letters", error))?;
        let Some(last) = page.last() else { return Ok(ids) };
        after = Some(last.id.clone());
        ids.extend(page.iter().filter_map(|letter| letter.message.id.as_number()));
    }
}
