//! Which trace a call belongs to, for what it calls: a server, or a program.

use forebay::{Bytes, Headers};
use forebay_telemetry::propagate::inject_current;

/// The names of W3C trace context and baggage.
pub(super) const NAMES: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The context of the call that is being made, under its [`NAMES`]. Where the worker traces, it is below
/// the span of this call; else it is what the message says.
pub(super) fn context(message: Option<&Headers>) -> Vec<(&'static str, Bytes)> {
    let mut current = Headers::new();
    inject_current(&mut current);
    let is_traced = current.get(NAMES[0]).is_some();
    let Some(from) = is_traced.then_some(&current).or(message) else { return Vec::new() };
    NAMES.into_iter().filter_map(|name| Some((name, from.get(name)?.clone()))).collect()
}
