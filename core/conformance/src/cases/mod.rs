//! The cases, by theme.

pub mod backlog;
pub mod close;
pub mod dead;
pub mod lease;
pub mod order;
pub mod receive;
pub mod redrive;
pub mod retry;
pub mod settle;
pub mod sink;
