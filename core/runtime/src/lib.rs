//! The runtime.

mod cancel;
mod decode;
mod handler;
mod job;

pub use cancel::Cancellation;
pub use decode::{Decode, DecodeError, Json, Raw};
pub use forebay_contract::*;
pub use handler::{BatchHandler, BatchOutcome, Handler};
pub use job::Job;
