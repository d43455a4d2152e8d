//! A worker with an adaptive limit before a PostgreSQL that gets into trouble in the middle of a run:
//! what the program `knee` and the test `troubles` share.
//!
//! | part | |
//! |---|---|
//! | [`bed`] | a server of its own, its tables, and what must be in them at the end |
//! | [`work`] | the worker, and messages that arrive at a rate, whatever becomes of them |
//! | [`trouble`] | the four troubles, begun and ended |
//! | [`watch`] | the worker's status ten times a second, and when its limits fell, opened, recovered |
//! | [`run`] | one run from calm through trouble to calm |

pub mod bed;
pub mod run;
pub mod trouble;
pub mod watch;
pub mod work;

/// Whatever goes wrong ends the run.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
