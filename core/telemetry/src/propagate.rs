//! W3C trace context and baggage in a message's headers.
//!
//! Headers survive retries, dead letters and redrive untouched, so what the producer wrote is what
//! every later attempt is part of: one trace, from the producer to the last verdict.

use forebay::{Headers, Message};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{Link, TraceContextExt},
};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

const TRACEPARENT: &str = "traceparent";
const BAGGAGE: &str = "baggage";

/// Writes the context's span and baggage into headers, as `traceparent`, `tracestate` and `baggage`.
/// A context without a span or without baggage leaves out what it has not.
pub fn inject(context: &Context, headers: &mut Headers) {
    let mut carrier = Carrier(headers);
    TraceContextPropagator::new().inject_context(context, &mut carrier);
    BaggagePropagator::new().inject_context(context, &mut carrier);
}

/// Writes the current context into headers, as [`inject`].
pub fn inject_current(headers: &mut Headers) {
    Context::map_current(|context| inject(context, headers));
}

/// The context that headers carry: empty where they carry none, or none that holds.
#[must_use]
pub fn extract(headers: &Headers) -> Context {
    let mut context = Context::new();
    // Most messages carry neither, and a look is cheaper than to parse nothing.
    if is_traced(headers) {
        context = TraceContextPropagator::new().extract_with_context(&context, &Reader(headers));
    }
    if headers.get(BAGGAGE).is_some() {
        context = BaggagePropagator::new().extract_with_context(&context, &Reader(headers));
    }
    context
}

/// Whether a producer has written a trace into the headers.
pub(crate) fn is_traced(headers: &Headers) -> bool {
    headers.get(TRACEPARENT).is_some()
}

/// A link to where a message was created, if it says so.
pub(crate) fn link_to(message: &Message) -> Option<Link> {
    let context = extract(&message.headers);
    let created = context.span().span_context().clone();
    created.is_valid().then(|| Link::with_context(created))
}

struct Carrier<'a>(&'a mut Headers);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty `tracestate` says nothing, and some brokers refuse empty headers.
        if !value.is_empty() {
            self.0.insert(key, value);
        }
    }
}

struct Reader<'a>(&'a Headers);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get_str(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{
        KeyValue,
        baggage::BaggageExt,
        trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState},
    };

    #[test]
    fn a_context_survives_the_headers() {
        let state = TraceState::from_key_value([("vendor", "value")]).unwrap();
        let span =
            SpanContext::new(TraceId::from(7), SpanId::from(9), TraceFlags::SAMPLED, true, state);
        let context = Context::new()
            .with_remote_span_context(span.clone())
            .with_baggage([KeyValue::new("tenant", "a, b")]);
        let mut headers = Headers::new();
        inject(&context, &mut headers);
        let back = extract(&headers);
        assert_eq!(back.span().span_context(), &span);
        assert_eq!(
            back.baggage().get("tenant").map(opentelemetry::StringValue::as_str),
            Some("a, b")
        );
    }

    #[test]
    fn nothing_is_made_of_nothing_or_of_nonsense() {
        let mut headers = Headers::new();
        inject(&Context::new(), &mut headers);
        assert!(headers.is_empty());
        headers.insert("traceparent", "00-nonsense-01");
        assert!(!extract(&headers).span().span_context().is_valid());
    }
}
