//! Taking in: how much may be received now, and where what arrives goes.

use super::{Held, Pump, Unit, caution::Caution};
use crate::{InHand, Invoke, clock};
use forebay_contract::{
    Capabilities, DeadReason, Delivery, FailureKind, FailureNote, Scope, Source, SourceError,
    SourceEvent, Verdict, Want,
};
use forebay_policy::{After, Moment, Push};
use std::time::{Duration, SystemTime};

/// How long a message stays away whose key has no room in its lane. Without a pause, it would come
/// back at once, and again.
const TURNED_AWAY: Duration = Duration::from_millis(10);

impl<S: Source, I: Invoke> Pump<S, I> {
    /// What may be received now; `None` when nothing may.
    ///
    /// A closed gate receives nothing, so that the backlog stays in the broker, where autoscalers and
    /// other workers see it.
    pub(super) fn want(&self, now: Moment) -> Option<Want> {
        let open = self.drain.may_start()
            && !self.caution.holds_others()
            && self.receive_again_at <= now
            && self.closed_until(now).is_none();
        if !open {
            return None;
        }
        let beyond = || self.awaits_its_own().then(|| self.window.beyond()).flatten();
        let left = self.window.left().or_else(beyond)?;
        Some(if self.caution.is_wary() { Want { messages: 1, ..left } } else { left })
    }

    /// Whether all that is in hand is parked behind messages that the source is to hand out again. If
    /// that fills a window that has shrunk meanwhile, as the limit behind it did, they find no room.
    fn awaits_its_own(&self) -> bool {
        self.running.is_empty() && !self.has_ready() && self.lanes.next_expiry() != Moment::NEVER
    }

    /// Until when nothing at all may start; `None` when the gate stands open, if narrowly.
    pub(super) fn closed_until(&self, now: Moment) -> Option<Moment> {
        if self.shared.is_paused() {
            return Some(Moment::NEVER);
        }
        self.gate.closed_until(now).max(self.fuse.closed_until(now))
    }

    pub(super) fn received(&mut self, result: Result<(), SourceError>) {
        match result {
            Ok(()) => {
                self.receive_backoff.reset();
                self.shared.broker_is_away(false);
            }
            Err(SourceError::Unavailable(error)) => {
                self.shared.stats.receive_errors.add(1);
                let pause = self.receive_backoff.next();
                self.receive_again_at = clock::now() + pause;
                tracing::warn!(
                    worker = %self.shared.name,
                    "cannot receive, next try in {pause:.1?}: {error}"
                );
            }
            Err(error) => self.drain.fail(error, clock::now()),
        }
    }

    /// Takes in what was received: also by a call that then failed, or was given up.
    pub(super) fn take_in(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        // One look at each message, while it is fresh from the source.
        let (mut bytes, mut suspects) = (0, false);
        for delivery in &inbox {
            bytes += delivery.message.size();
            suspects |= delivery.message.interrupted > 0;
        }
        if self.observed.is_on() {
            self.tell_received(&inbox);
        }
        self.window.take(inbox.len(), bytes);
        self.shared.stats.received.add(inbox.len() as u64);
        let tickets = self.next_ticket..;
        self.next_ticket += inbox.len() as u64;
        let entries = tickets.clone().zip(&inbox);
        self.keeper.keep(entries.map(|(ticket, d)| (ticket, &d.receipt, d.lease)));

        if suspects || self.caution.is_wary() {
            self.take_in_warily(tickets.zip(inbox.drain(..)).collect());
        } else {
            for (ticket, delivery) in tickets.zip(inbox.drain(..)) {
                self.park(hold(ticket, delivery));
            }
        }
        self.inbox = inbox;
    }

    /// Tells the observer, and lets the tickets say when their messages came: they are numbered on
    /// from the nanosecond that it is, so that how long a message waits needs no place in memory.
    fn tell_received(&mut self, inbox: &[Delivery<S::Receipt>]) {
        let now = clock::now();
        self.next_ticket = self.next_ticket.max(now.as_nanos());
        let waited = now.since(self.waits_since);
        let first = self.next_ticket;
        let mut messages = inbox.iter().enumerate().map(|(nth, delivery)| InHand {
            hand_out: first + nth as u64,
            message: &delivery.message,
        });
        self.observed.tell(|observer| observer.received(&mut messages, waited));
    }

    fn park(&mut self, held: Held<S::Receipt>) {
        if let Push::TurnedAway(held) = self.lanes.push(held) {
            self.settle(held, Verdict::Release { after: TURNED_AWAY });
        }
    }

    /// With a suspect among them: it alone is kept, and all else given back, so that if the process
    /// dies of it, nothing else is counted as having been out.
    fn take_in_warily(&mut self, deliveries: Vec<(u64, Delivery<S::Receipt>)>) {
        let mut suspect = None;
        let mut rest = Unit::new();
        for (ticket, delivery) in deliveries {
            let held = hold(ticket, delivery);
            match held.message.interrupted {
                0 => rest.push(held),
                times if times >= self.settings.retry.max_attempts() => self.give_up_on(held),
                // In lanes, running alone would mean to overtake older messages of the key.
                _ if self.keyed || suspect.is_some() => rest.push(held),
                _ => suspect = Some(held),
            }
        }
        let Some(suspect) = suspect else {
            self.caution = Caution::None;
            rest.into_iter().for_each(|held| self.park(held));
            return;
        };
        self.caution = Caution::Waiting(suspect);
        tracing::info!(worker = %self.shared.name, "a message was out when its worker died: it runs alone");
        let parked = self.unstarted();
        self.release(parked);
        self.release(rest);
    }

    /// A message that was out each time its worker died.
    fn give_up_on(&mut self, held: Held<S::Receipt>) {
        let times = held.message.interrupted;
        let text = format!("{times} hand-outs ended without an answer: its worker died, or hung");
        let note = FailureNote::new(FailureKind::Interrupted, text, SystemTime::now());
        let verdict = self.ask_fuse(Verdict::DeadLetter { reason: DeadReason::KilledWorker, note });
        self.settle(held, verdict);
    }

    /// Takes out all that is parked.
    pub(super) fn unstarted(&mut self) -> Vec<Held<S::Receipt>> {
        let mut parked: Vec<_> = std::mem::take(&mut self.forming).into_iter().collect();
        parked.extend(self.halves.drain(..).flatten());
        parked.extend(self.lanes.drain());
        if let Some(batcher) = &mut self.batcher {
            batcher.clear();
        }
        parked
    }

    /// Gives back what a closed gate has kept waiting for too long.
    pub(super) fn release_overdue(&mut self, now: Moment) {
        let expired = self.lanes.expire_waits(now);
        self.release(expired);
        if self.closed_until(now).is_none() || !self.has_ready() {
            self.parked_since = None;
        } else if now.since(*self.parked_since.get_or_insert(now)) >= self.settings.park_max {
            let parked = self.unstarted();
            tracing::info!(
                worker = %self.shared.name, messages = parked.len(),
                "the gate stays closed: parked messages go back to the queue"
            );
            self.release(parked);
            let suspect = self.caution.take_if(|_| true);
            self.release(suspect);
            self.parked_since = None;
        }
    }

    pub(super) fn happened(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Revoking { scope, .. } => {
                let parked = self.take_parked(|held| held.scope == scope);
                self.release(parked);
            }
            SourceEvent::Lost(scope) => self.scope_lost(scope),
            SourceEvent::Down(why) => {
                self.shared.broker_is_away(true);
                tracing::warn!(worker = %self.shared.name, "the broker is away: {why}");
            }
            SourceEvent::Up => {
                self.shared.broker_is_away(false);
                tracing::info!(worker = %self.shared.name, "the broker is back");
            }
            _ => {}
        }
    }

    fn scope_lost(&mut self, scope: Scope) {
        let parked = self.take_parked(|held| held.scope == scope);
        self.forget(parked);
        self.call_off(|held| held.scope == scope);
    }

    pub(super) fn lease_lost(&mut self, ticket: u64) {
        let parked = self.take_parked(|held| held.ticket == ticket);
        self.forget(parked);
        self.call_off(|held| held.ticket == ticket);
    }

    /// Calls off what runs and is no longer ours.
    fn call_off(&mut self, lost: impl Fn(&Held<S::Receipt>) -> bool) {
        for (_, running) in &mut self.running {
            if running.unit.iter().any(&lost) {
                running.lost |= running.unit.iter().all(&lost);
                running.cancellation.cancel();
            }
        }
    }

    /// Lets go of messages that are no longer ours, without a verdict: none would count.
    pub(super) fn forget(&mut self, messages: impl IntoIterator<Item = Held<S::Receipt>>) {
        let messages: Vec<_> = messages.into_iter().collect();
        let count = messages.len();
        let bytes = messages.iter().map(|held| held.message.size()).sum();
        self.keeper.forget(messages.iter().map(|held| held.ticket));
        for held in messages {
            self.observed.tell(|observer| observer.forgotten(held.ticket));
            if let Some(lane) = held.lane {
                self.lanes.done(lane, After::Next, clock::now);
            }
        }
        self.window.give_back(count, bytes);
    }

    fn take_parked(&mut self, which: impl Fn(&Held<S::Receipt>) -> bool) -> Vec<Held<S::Receipt>> {
        let mut taken = self.lanes.remove_where(&which);
        taken.extend(self.caution.take_if(&which));
        for unit in self.halves.iter_mut().chain([&mut self.forming]) {
            let (gone, kept): (Unit<_>, Unit<_>) =
                std::mem::take(unit).into_iter().partition(|held| which(held));
            *unit = kept;
            taken.extend(gone);
        }
        self.halves.retain(|half| !half.is_empty());
        self.restart_batch(clock::now());
        taken
    }
}

fn hold<R>(ticket: u64, delivery: Delivery<R>) -> Held<R> {
    let Delivery { message, receipt, scope, .. } = delivery;
    Held { ticket, message, receipt, scope, lane: None }
}

/// Whether a source's order is kept by the runtime's lanes.
pub(crate) fn orders_in_lanes(capabilities: &Capabilities, ordered: bool) -> bool {
    ordered && capabilities.order == forebay_contract::OrderSupport::KeyInLanes
}
