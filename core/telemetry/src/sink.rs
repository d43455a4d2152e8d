//! A sink that writes the current trace into what it publishes.
//!
//! A message that carries a trace already keeps it: a bridge, or a producer that knows better. One
//! message alone is created by the span that sends it; several are created by a span each, and sent by
//! one that links to them, as the conventions say.

use crate::{
    instruments::Instruments,
    propagate::{extract, inject, is_traced},
    recorder::Recorder,
    spans::{Spans, count_of},
    words::publish_error_type,
};
use forebay::{MessageId, Outgoing, PublishError, Sink};
use opentelemetry::{
    Context, KeyValue,
    trace::{FutureExt, SpanContext, SpanKind, Status, TraceContextExt},
};
use std::{sync::Arc, time::Instant};

/// A sink, with traces and metrics around it; from [`Telemetry::sink`](crate::Telemetry::sink).
#[derive(Debug)]
pub struct TracedSink<S> {
    pub(crate) sink: S,
    pub(crate) recorder: Arc<Recorder>,
}

impl<S: Sink> Sink for TracedSink<S> {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        let (batch, context) = self.prepare(batch);
        let begun = Instant::now();
        let results = self.sink.publish(&batch).with_context(context.clone()).await;
        let error = results.iter().find_map(|result| result.as_ref().err());
        let instruments = &self.recorder.instruments;
        count(instruments, &results);
        let seconds = begun.elapsed().as_secs_f64();
        instruments.operation("send", seconds, error.map(publish_error_type));
        let span = context.span();
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", publish_error_type(error)));
            span.set_status(Status::error(error.to_string()));
        }
        span.end();
        results
    }
}

impl<S> TracedSink<S> {
    /// The messages with their traces, and the context of the span that sends them.
    fn prepare(&self, batch: &[Outgoing]) -> (Vec<Outgoing>, Context) {
        let (mut batch, outer) = (batch.to_vec(), Context::current());
        let Some(spans) = &self.recorder.spans else {
            // Without spans of our own, the current one is what created the messages.
            for outgoing in batch.iter_mut().filter(|outgoing| !is_traced(&outgoing.headers)) {
                inject(&outer, &mut outgoing.headers);
            }
            return (batch, outer);
        };
        if let [outgoing] = &mut batch[..]
            && !is_traced(&outgoing.headers)
        {
            let context = spans.sending(&outer, SpanKind::Producer, "send", &[]);
            inject(&context, &mut outgoing.headers);
            return (batch, context);
        }
        let created: Vec<_> =
            batch.iter_mut().map(|outgoing| created(spans, &outer, outgoing)).collect();
        let context = spans.sending(&outer, SpanKind::Client, "send", &created);
        context.span().set_attribute(count_of(batch.len()));
        (batch, context)
    }
}

/// Where a message was created: what it says, or a span for it that is over at once.
fn created(spans: &Spans, outer: &Context, outgoing: &mut Outgoing) -> SpanContext {
    if is_traced(&outgoing.headers) {
        return extract(&outgoing.headers).span().span_context().clone();
    }
    let context = spans.sending(outer, SpanKind::Producer, "create", &[]);
    context.span().end();
    inject(&context, &mut outgoing.headers);
    context.span().span_context().clone()
}

fn count(instruments: &Instruments, results: &[Result<MessageId, PublishError>]) {
    for result in results {
        instruments.sent(result.as_ref().err().map(publish_error_type));
    }
}
