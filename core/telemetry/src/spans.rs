//! Spans of what happens to a message: received, processed, settled.
//!
//! ```text
//!   producer: send orders (PRODUCER) .................... a producer's, carried in the headers
//!     +-- process orders (CONSUMER)   1st attempt          links to it as well
//!     |     +-- retry orders (CLIENT)  its verdict, settled
//!     +-- process orders (CONSUMER)   2nd attempt
//!           +-- ack orders (CLIENT)
//!   receive orders (CLIENT)           a trace of its own, with links to the messages
//! ```
//!
//! The creation context is the parent of a single message's span, as the conventions allow: so all
//! attempts at a message are in its producer's trace. A batch has several producers and so no parent,
//! but links. Nothing but the sampler's decision is paid for by a message that is not sampled; its
//! context is made current all the same, so that what the handler calls is not sampled either.

use crate::{
    About,
    propagate::{extract, link_to},
    words::{error_type, settle_error_type, verdict_name},
};
use forebay::{Ending, InHand, ObservedCall, SettleError, Settling, Starting};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Makes spans.
#[derive(Debug)]
pub(crate) struct Spans {
    tracer: SdkTracer,
    about: About,
    /// What each message's span is called, sampled or not.
    process: String,
    /// The spans of the messages in hand that are sampled, by hand-out: parents of what settles them.
    sampled: Mutex<HashMap<u64, SpanContext>>,
    /// How many these are: mostly none, and then nobody needs the lock.
    count: AtomicUsize,
}

impl Spans {
    pub(crate) fn new(provider: &SdkTracerProvider, about: About) -> Self {
        let tracer = provider.tracer("forebay");
        let process = name("process", &about);
        Self { tracer, about, process, sampled: Mutex::default(), count: AtomicUsize::new(0) }
    }

    pub(crate) fn received(&self, messages: &[InHand<'_>], waited: Duration) {
        let builder = self
            .tracer
            .span_builder(name("receive", &self.about))
            .with_kind(SpanKind::Client)
            .with_start_time(before(waited));
        let mut span = builder.start_with_context(&self.tracer, &Context::new());
        if !span.is_recording() {
            return;
        }
        span.set_attributes(self.attributes("receive", "receive"));
        span.set_attribute(count_of(messages.len()));
        for link in messages.iter().filter_map(|in_hand| link_to(in_hand.message)) {
            span.add_link(link.span_context, Vec::new());
        }
        span.end();
    }

    pub(crate) fn starting(&self, messages: &[Starting<'_>]) -> Box<dyn ObservedCall> {
        let parent = match messages {
            [one] => extract(&one.message.headers),
            _ => Context::new(),
        };
        let builder = self.tracer.span_builder(self.process.clone()).with_kind(SpanKind::Consumer);
        let mut span = builder.start_with_context(&self.tracer, &parent);
        if !span.is_recording() {
            // The span itself is large, and nobody will ask for more of it than what it is called.
            let context = parent.with_remote_span_context(span.span_context().clone());
            return Box::new(Unsampled(context));
        }
        self.describe(&mut span, messages);
        let context = span.span_context();
        let mut sampled = self.lock();
        sampled.extend(messages.iter().map(|one| (one.hand_out, context.clone())));
        self.count.store(sampled.len(), Ordering::Release);
        drop(sampled);
        Box::new(Process(parent.with_span(span)))
    }

    fn describe(&self, span: &mut impl Span, messages: &[Starting<'_>]) {
        span.set_attributes(self.attributes("process", "process"));
        match messages {
            [one] => {
                let message = one.message;
                span.set_attribute(KeyValue::new("messaging.message.id", message.id.to_string()));
                let attempt = i64::from(message.attempt) + 1;
                span.set_attribute(KeyValue::new("forebay.attempt", attempt));
                span.set_attribute(KeyValue::new("forebay.wait", one.waited.as_secs_f64()));
                if message.redrives > 0 {
                    span.set_attribute(KeyValue::new(
                        "forebay.redrives",
                        i64::from(message.redrives),
                    ));
                }
            }
            many => span.set_attribute(count_of(many.len())),
        }
        for link in messages.iter().filter_map(|one| link_to(one.message)) {
            span.add_link(link.span_context, Vec::new());
        }
    }

    /// A span for each sampled message of a batch that was settled, below the message's own.
    pub(crate) fn settled(&self, settling: &Settling<'_>, took: Duration) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let context = self.lock().get(&settling.hand_out).cloned();
        let Some(context) = context else { return };
        if !matches!(settling.error, Some(SettleError::Unavailable(_))) {
            self.forgotten(settling.hand_out);
        }
        let verdict = verdict_name(settling.verdict);
        let builder = self
            .tracer
            .span_builder(name(verdict, &self.about))
            .with_kind(SpanKind::Client)
            .with_start_time(before(took));
        let parent = Context::new().with_remote_span_context(context);
        let mut span = builder.start_with_context(&self.tracer, &parent);
        span.set_attributes(self.attributes(verdict, "settle"));
        span.set_attribute(KeyValue::new("messaging.message.id", settling.message.id.to_string()));
        if let Some(link) = link_to(settling.message) {
            span.add_link(link.span_context, Vec::new());
        }
        if let Some(error) = settling.error {
            span.set_attribute(KeyValue::new("error.type", settle_error_type(error)));
            span.set_status(Status::error(error.to_string()));
        }
        span.end();
    }

    pub(crate) fn forgotten(&self, hand_out: u64) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut sampled = self.lock();
            sampled.remove(&hand_out);
            self.count.store(sampled.len(), Ordering::Release);
        }
    }

    /// The context of a span that creates or sends, below `outer`.
    pub(crate) fn sending(
        &self,
        outer: &Context,
        kind: SpanKind,
        operation: &'static str,
        links: &[SpanContext],
    ) -> Context {
        let builder = self.tracer.span_builder(name(operation, &self.about)).with_kind(kind);
        let mut span = builder.start_with_context(&self.tracer, outer);
        if span.is_recording() {
            span.set_attributes(self.attributes(operation, operation));
            for link in links {
                span.add_link(link.clone(), Vec::new());
            }
        }
        outer.with_span(span)
    }

    fn attributes(&self, operation: &'static str, kind: &'static str) -> Vec<KeyValue> {
        self.about.with(&[
            ("messaging.operation.name", operation.into()),
            ("messaging.operation.type", kind.into()),
        ])
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, SpanContext>> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The context of a call that is not sampled: current, and nothing else.
struct Unsampled(Context);

impl ObservedCall for Unsampled {
    fn within(&mut self, poll: &mut dyn FnMut()) {
        within(&self.0, poll);
    }

    fn ended(self: Box<Self>, _: Ending) {}
}

/// The span of one call of the handler, and what it was called with.
struct Process(Context);

impl ObservedCall for Process {
    fn within(&mut self, poll: &mut dyn FnMut()) {
        within(&self.0, poll);
    }

    fn ended(self: Box<Self>, ending: Ending) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("forebay.outcome", ending.as_str()));
        if let Some(error) = error_type(ending) {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(format!("the message was not handled: {error}")));
        }
        span.end();
    }
}

fn within(context: &Context, poll: &mut dyn FnMut()) {
    let _current = context.clone().attach();
    poll();
}

pub(crate) fn count_of(messages: usize) -> KeyValue {
    let messages = i64::try_from(messages).unwrap_or(i64::MAX);
    KeyValue::new("messaging.batch.message_count", messages)
}

fn name(operation: &str, about: &About) -> String {
    format!("{operation} {}", about.destination())
}

fn before(took: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(took).unwrap_or(now)
}
