//! The whole crate against a real PostgreSQL, and a real PgBouncer in transaction mode.
//!
//! One binary, so that it is linked once. `scripts/brokers up postgres pgbouncer` starts both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod begin;
mod budget;
mod inbox;
mod pgbouncer;
mod pool;
mod setup;
mod sink;
mod statement;
mod tls;
mod types;
