//! What settles one hand-out.

/// Settles one hand-out of a message. Only from the source that handed it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The assignment of the partition: a partition that comes back has another.
    pub(crate) scope: u64,
    pub(crate) offset: i64,
    /// How often it was handed out before, in this assignment.
    pub(crate) hand: u32,
}
