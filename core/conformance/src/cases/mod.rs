//! The cases, by theme.

pub mod retry;
pub mod settle;
