//! The web page, and what it asks for.
//!
//! ```text
//!   GET  /  /assets/{name}      the page: markup, styles and modules; holds no data
//!   GET  /api/status            how the worker stands now
//!   GET  /api/history?since=    the samples after one, a row a second
//!   GET  /api/dead              dead letters, a page of them
//!   GET  /api/dead-count        how many there are, up to a thousand
//!   GET  /api/dead/{id}         one of them, with payload, headers and history
//!   POST /api/dead/redrive      up to a hundred of them, back into their queue
//!   POST /api/dead/purge        gone for good
//! ```
//!
//! Reading the state costs the broker nothing: it is what the admin port read last. Dead letters are read
//! from the broker when somebody looks at them. Everything that is sent or answered has a bound.

mod assets;
mod dead;
mod error;
mod letter;
mod live;
mod sampler;
#[cfg(test)]
mod tests;

pub(super) use sampler::sample;

use super::Admin;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

/// Bytes of a request's body: a thousand ids fit.
const BODY: usize = 256 << 10;

/// The page itself and its parts: open to anyone, as they hold no data.
pub(super) fn router() -> Router<Admin> {
    Router::new().route("/", get(assets::page)).route("/assets/{name}", get(assets::asset))
}

/// What is under `/api`: for who has the token.
pub(super) fn api() -> Router<Admin> {
    Router::new()
        .route("/status", get(live::status))
        .route("/history", get(live::history))
        .route("/dead", get(dead::list))
        .route("/dead-count", get(dead::count))
        .route("/dead/{id}", get(letter::show))
        .route("/dead/redrive", post(dead::redrive))
        .route("/dead/purge", post(dead::purge))
        .fallback(live::unknown)
        .layer(DefaultBodyLimit::max(BODY))
}
