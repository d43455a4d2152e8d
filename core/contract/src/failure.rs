//! How a handler says what went wrong, and thereby what becomes of its message.
//!
//! [`Failure`] is deliberately not itself a [`std::error::Error`]: that is what lets any error become
//! one by `?`, as a transient one, the kind that loses nothing. Saying more is one word at the end
//! of the line: `.permanent()?`, `.throttled()?`.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

/// Any error, boxed.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a handler did not do its work.
#[derive(Debug)]
pub enum Failure {
    /// It may work later: the message is retried, with growing delays, until its attempts are used
    /// up. What any error becomes by `?`.
    Transient {
        /// What went wrong.
        error: BoxError,
        /// How long to wait before the next attempt, in place of what the retry policy would say, up
        /// to the policy's cap.
        after: Option<Duration>,
    },
    /// The system behind the handler is overloaded and said so. The message is retried, honouring
    /// `after` where given; no attempt is counted, only the message's age bounds it. The
    /// concurrency limit shrinks.
    Throttled {
        /// How long to wait, as asked for by the system behind (a `Retry-After`).
        after: Option<Duration>,
        /// What it said.
        error: BoxError,
    },
    /// This message can never succeed: it becomes a dead letter at once.
    Permanent(BoxError),
    /// The message is not worth handling, and that is no error: it is dropped, and counted under
    /// this reason.
    Discard(Cow<'static, str>),
}

impl Failure {
    /// A failure that may pass.
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self::Transient { error: error.into(), after: None }
    }

    /// A failure that may pass, and is not worth another attempt before `after` has passed.
    pub fn retry_after(error: impl Into<BoxError>, after: Duration) -> Self {
        Self::Transient { error: error.into(), after: Some(after) }
    }

    /// A failure that will not.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self::Permanent(error.into())
    }

    /// The system behind is overloaded; `after` is what it asked for, if it did.
    pub fn throttled(error: impl Into<BoxError>, after: impl Into<Option<Duration>>) -> Self {
        Self::Throttled { after: after.into(), error: error.into() }
    }

    /// Drop the message, for this reason.
    pub fn discard(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Discard(reason.into())
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Transient { error: Box::new(error), after: None }
    }
}

/// The error and each of its causes, joined by colons.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::Transient { error, .. }
            | Self::Permanent(error)
            | Self::Throttled { error, .. } => error,
            Self::Discard(reason) => return f.write_str(reason),
        };
        write!(f, "{error}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Says, at the end of the line, what an error means for the message.
///
/// ```
/// use forebay_contract::{Failure, FailureExt};
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     Ok(text.parse::<u32>().permanent()?) // no retry will make it a number
/// }
/// assert!(matches!(parse("x"), Err(Failure::Permanent(_))));
/// ```
pub trait FailureExt {
    /// What comes out: a [`Failure`] for an error, a `Result<T, Failure>` for a result.
    type Output;

    /// It can never succeed: dead letter at once.
    fn permanent(self) -> Self::Output;

    /// The system behind is overloaded: back off, count no attempt.
    fn throttled(self) -> Self::Output;
}

impl<T, E: Into<BoxError>> FailureExt for Result<T, E> {
    type Output = Result<T, Failure>;

    fn permanent(self) -> Self::Output {
        self.map_err(Failure::permanent)
    }

    fn throttled(self) -> Self::Output {
        self.map_err(|error| Failure::throttled(error, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler() -> Result<(), Failure> {
        Err(std::io::Error::other("the database is away"))?;
        Ok(())
    }

    #[test]
    fn any_error_becomes_transient_by_the_question_mark() {
        assert!(matches!(handler(), Err(Failure::Transient { after: None, .. })));
    }

    #[test]
    fn causes_are_part_of_the_text() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not book")]
        struct Booking(#[source] std::io::Error);
        let failure = Failure::from(Booking(std::io::Error::other("disk full")));
        assert_eq!(failure.to_string(), "could not book: disk full");
    }

    #[test]
    fn the_last_word_decides() {
        let result: Result<(), _> = Err(std::io::Error::other("x"));
        assert!(matches!(result.throttled(), Err(Failure::Throttled { after: None, .. })));
    }
}
