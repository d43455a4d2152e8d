//! From a message to the values of a statement, as far as all databases have it in common. What a
//! database makes of a [`Bound`] is up to its own handler.
//!
//! A place in the payload is handed on as it was written. A number read into binary and printed again
//! may be another one; in a `numeric` column, somebody would miss the cents.

use crate::{
    config::{Meaning, Param, nearest},
    handlers::Finding,
};
use forebay::{Bytes, Job};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::SystemTime};

/// What a parameter is for one message.
pub(super) enum Bound<'m> {
    /// Not there.
    Nothing,
    /// A place in the payload; not `null`.
    Json(&'m RawValue),
    /// The message's identity.
    Id(String),
    /// Its key, or all of its payload.
    Bytes(&'m Bytes),
    /// Which attempt this is, from 1.
    Attempt(u32),
    /// When it was enqueued.
    Time(SystemTime),
}

/// Holds the parameters of a statement (without their colons) against the configured ones, and puts
/// those into the statement's order.
///
/// # Errors
/// The key in the handler's table that is wrong, and why.
pub(super) fn in_order(
    names: &[&str],
    params: &BTreeMap<String, Param>,
) -> Result<Vec<Param>, (String, String)> {
    let configured: Vec<&str> = params.keys().map(String::as_str).collect();
    let mut order = Vec::with_capacity(names.len());
    for name in names {
        let Some(param) = params.get(*name) else {
            let meant = nearest(name, &configured).map(|near| format!("; did you mean `:{near}`?"));
            let meant = meant.unwrap_or_default();
            let why = format!("`:{name}` is in the statement and not here{meant}");
            return Err(("params".to_owned(), why));
        };
        order.push(param.clone());
    }
    match configured.iter().find(|name| !names.contains(name)) {
        Some(name) => {
            let meant = nearest(name, names).map(|near| format!("; did you mean `{near}`?"));
            let meant = meant.unwrap_or_default();
            Err((format!("params.{name}"), format!("the statement has no `:{name}`{meant}")))
        }
        None => Ok(order),
    }
}

/// The values for one message, in order; `make` has the index of each, and says why there can be none.
pub(super) fn values<V>(
    order: &[Param],
    job: &Job<Bytes>,
    make: impl Fn(usize, Bound<'_>) -> Result<V, String>,
) -> Result<Vec<V>, Finding> {
    let unfit = |why: String| Finding::new(Meaning::Permanent, why);
    let json: Option<&RawValue> = match order.iter().any(|param| matches!(param, Param::Json(_))) {
        true => Some(
            serde_json::from_slice(&job.payload)
                .map_err(|error| unfit(format!("the payload is not JSON: {error}")))?,
        ),
        false => None,
    };
    let message = job.message();
    let bound = |param: &Param| match param {
        Param::Json(path) => json
            .and_then(|json| path.find_raw(json))
            .filter(|value| value.get() != "null")
            .map_or(Bound::Nothing, Bound::Json),
        Param::Id => Bound::Id(message.id.to_string()),
        Param::Key => message.key.as_ref().map_or(Bound::Nothing, Bound::Bytes),
        Param::Payload => Bound::Bytes(&job.payload),
        Param::Attempt => Bound::Attempt(job.attempt()),
        Param::EnqueuedAt => message.enqueued_at.map_or(Bound::Nothing, Bound::Time),
    };
    let value = |(index, param): (usize, &Param)| {
        make(index, bound(param)).map_err(|why| unfit(format!("{param}: {why}")))
    };
    order.iter().enumerate().map(value).collect()
}
