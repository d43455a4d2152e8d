//! What lanes know of a message in hand: its key, and what makes it the same when it comes back.

use super::Held;
use bytes::Bytes;
use forebay_contract::{MessageId, Scope};
use forebay_policy::Item;
use std::hash::{Hash, Hasher};

/// What a lane is for: a key within a scope. A key that comes again through a new scope does not wait
/// for what went away with the old one.
#[derive(Debug, PartialEq)]
pub(super) struct LaneKey {
    scope: Scope,
    key: Bytes,
}

/// The same, borrowed from a message.
#[derive(Debug)]
pub(super) struct LaneKeyRef<'a> {
    pub(super) scope: Scope,
    pub(super) key: &'a Bytes,
}

/// By the number and the bytes alone: with nothing behind the bytes, their length adds nothing.
impl Hash for LaneKeyRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.scope.0);
        state.write(self.key);
    }
}

impl PartialEq<LaneKey> for LaneKeyRef<'_> {
    fn eq(&self, other: &LaneKey) -> bool {
        self.scope == other.scope && *self.key == other.key
    }
}

impl From<LaneKeyRef<'_>> for LaneKey {
    fn from(LaneKeyRef { scope, key }: LaneKeyRef<'_>) -> Self {
        Self { scope, key: key.clone() }
    }
}

/// That it is the same message, whatever hand-out it came with. The hand-out is kept beside it, for
/// news of what became of that one.
#[derive(Debug)]
pub(super) struct Identity {
    message: MessageId,
    pub(super) ticket: u64,
}

impl<R> Item for Held<R> {
    type Key = LaneKey;
    type KeyRef<'a>
        = LaneKeyRef<'a>
    where
        Self: 'a;
    type Id = Identity;

    #[inline]
    fn key(&self) -> Option<LaneKeyRef<'_>> {
        Some(LaneKeyRef { scope: self.scope, key: self.message.key.as_ref()? })
    }

    fn id(&self) -> Identity {
        Identity { message: self.message.id.clone(), ticket: self.ticket }
    }

    fn is(&self, id: &Identity) -> bool {
        self.message.id == id.message
    }
}
