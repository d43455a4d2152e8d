//! The binary as people use it: real processes, a real queue file, a real server, real programs.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod admin;
mod asking;
mod bench;
mod brokers_at;
mod brokers_bridge;
mod brokers_chain;
mod brokers_dead;
mod brokers_matrix;
mod brokers_trouble;
mod command;
mod database;
mod dead;
mod http;
mod https;
mod keda;
mod kubernetes;
mod live;
mod postgres;
mod postgres_faults;
mod postgres_setup;
mod python;
mod queue;
mod run;
mod scale;
mod server;
mod sqlite;
mod telemetry;
mod trouble;
