//! After a worker has died: what it had in hand is run with nothing beside it, one at a time.
//!
//! If one of those messages is what killed it, the next death must be charged to that message alone.
//! So while a suspect waits or runs, nothing else is in hand; and after it one message at a time is
//! received, since the next is likely a suspect too.
//!
//! ```text
//!            a suspect comes            all else is given back         settled
//!   None ----------------------> Waiting ----------------------> Running -----> Wary
//!    ^                            ^  | given back                                |
//!    |                            |  +---> None                                  |
//!    |                            +------------------- the next is a suspect ----+
//!    +------------------------------------------------ the next is none ---------+
//! ```

/// How careful the pump is at the moment. `H` is a message in hand.
#[derive(Debug)]
pub(super) enum Caution<H> {
    /// No suspect in sight.
    None,
    /// A suspect, until nothing else is in hand.
    Waiting(H),
    /// A suspect runs, or its verdict is on its way.
    Running,
    /// The last message was a suspect.
    Wary,
}

impl<H> Caution<H> {
    /// Whether nothing but the suspect may be received or started.
    pub(super) fn holds_others(&self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Running)
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    pub(super) fn is_wary(&self) -> bool {
        matches!(self, Self::Wary)
    }

    /// The suspect is started.
    pub(super) fn launch(&mut self) -> Option<H> {
        match std::mem::replace(self, Self::Running) {
            Self::Waiting(suspect) => Some(suspect),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Nothing is in hand any more: a suspect that ran is settled.
    pub(super) fn idle(&mut self) {
        if matches!(self, Self::Running) {
            *self = Self::Wary;
        }
    }

    /// Takes out a waiting suspect, if `which` says so, to be given back.
    pub(super) fn take_if(&mut self, which: impl FnOnce(&H) -> bool) -> Option<H> {
        match std::mem::replace(self, Self::None) {
            Self::Waiting(suspect) if which(&suspect) => Some(suspect),
            other => {
                *self = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_goes_its_way_alone() {
        let mut caution = Caution::Waiting(7);
        assert!(caution.holds_others() && caution.is_waiting());
        caution.idle();
        assert_eq!(caution.launch(), Some(7));
        assert!(caution.holds_others() && !caution.is_waiting());
        assert_eq!(caution.launch(), None, "once");
        assert_eq!(caution.take_if(|_| true), None, "it runs");
        caution.idle();
        assert!(caution.is_wary() && !caution.holds_others());
        assert_eq!(caution.launch(), None);
        assert!(caution.is_wary());
    }

    #[test]
    fn a_waiting_suspect_can_be_given_back() {
        let mut caution = Caution::Waiting(7);
        assert_eq!(caution.take_if(|n| *n == 8), None);
        assert_eq!(caution.take_if(|n| *n == 7), Some(7));
        assert!(!caution.holds_others());
    }
}
