//! What looks at the worker and at its broker, and keeps the [`View`](super::View) fresh.

use super::{
    Admin,
    crew::Crew,
    pulse::{Look, Pulse},
};
use crate::config::ScaleConfig;
use forebay::{
    Backlog, Control,
    policy::{Moment, Scale},
};
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the worker's own state is looked at.
const PULSE: Duration = Duration::from_millis(250);
/// A broker that takes longer to say how much is waiting is not to be worked with.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// After so much longer it is asked again: the question may be lost.
const GIVE_UP: Duration = Duration::from_secs(15);
/// How often the policy gets a reading: more often, each would be mostly noise.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Follows the worker until it is dropped.
pub(super) async fn pulse(admin: Admin, control: Control) {
    let (started, mut pulse) = (Instant::now(), Pulse::default());
    let mut ticks = interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = control.status();
        if pulse.is_answered(status.beats) {
            control.ping();
        }
        let vital = pulse.look(&Look::from(&status), Moment::ZERO + started.elapsed());
        admin.update(|view| {
            view.vital = Some(vital);
            view.crew = Some(Crew::from(&vital));
        });
    }
}

/// Asks the broker how much is waiting, and the policy how many workers that takes.
pub(super) async fn probe(admin: Admin, poll: Duration, config: ScaleConfig) {
    // The config has been checked by making one.
    let Ok(mut scale) = Scale::new(config.aim) else { return };
    let started = Instant::now();
    let mut read_at = None::<Instant>;
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let backlog = match ask(&admin).await {
            Ok(backlog) => backlog,
            Err(why) => {
                unknown(&admin, why);
                continue;
            }
        };
        admin.telemetry().set_backlog(backlog);
        let now = Instant::now();
        let due = read_at.is_none_or(|at| now - at >= READ_EVERY);
        let mut observed = false;
        admin.update(|view| {
            (view.read, view.unread) = (Some((backlog, now)), None);
            // Nothing is said of how many there should be before it is known how many there are.
            if let Some(crew) = view.crew.filter(|_| due) {
                let reading = crew.reading(&backlog);
                view.advice = Some(scale.observe(reading, Moment::ZERO + started.elapsed()));
                observed = true;
            }
        });
        if observed {
            read_at = Some(now);
        }
    }
}

/// How much is waiting, or why nobody knows. That the answer is late is said meanwhile; it is waited
/// for all the same, as asking again would only add to what a broker in trouble has to do.
async fn ask(admin: &Admin) -> Result<Backlog, String> {
    let mut asked = pin!(admin.queue().backlog());
    let answer = match timeout(ANSWER_WITHIN, &mut asked).await {
        Ok(answer) => answer,
        Err(_) => {
            let late = format!("the broker does not answer within {ANSWER_WITHIN:?}");
            unknown(admin, late.clone());
            timeout(GIVE_UP, asked).await.map_err(|_| late)?
        }
    };
    answer.map_err(|error| error.to_string())
}

fn unknown(admin: &Admin, why: String) {
    admin.telemetry().set_backlog(None);
    admin.update(|view| view.unread = Some(why));
}
