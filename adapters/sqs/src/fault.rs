//! What SQS, its SDK or the network answer when they do not do what was asked, sorted once into what
//! passes, what does not, and what just one message is to blame for; in words that say what to do.
//!
//! | fault | to a source | to a settlement |
//! |---|---|---|
//! | throttled, over limit, unreachable, timed out, expired, credentials away, clock skew, other | unavailable | unavailable |
//! | missing queue, denied, no credentials | fatal | unavailable: it stays settled for later |
//! | stale handle | - | stale |
//! | a request that can never be taken | fatal | refused |

use crate::credentials;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use forebay_contract::{DeadLettersError, LeaseError, PublishError, SettleError, SourceError};
use std::error::Error;

/// What a call was about, for messages to people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The action, as IAM names it: `sqs:ReceiveMessage`.
    pub(crate) action: &'static str,
    /// The queue, by name or URL.
    pub(crate) queue: &'a str,
    /// Where the service is, for messages to people.
    pub(crate) place: &'a str,
}

/// Why SQS did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such queue.
    #[error(
        "there is no queue `{queue}` at {place}: create it, correct its name, or check region and \
         account"
    )]
    Missing {
        /// The queue.
        queue: String,
        /// Where it was looked for.
        place: String,
    },
    /// The credentials lack a right.
    #[error(
        "`{action}` on the queue `{queue}` is denied ({detail}): grant it in IAM or in the queue's policy"
    )]
    Denied {
        /// The right, as IAM names it.
        action: &'static str,
        /// The queue.
        queue: String,
        /// What AWS says.
        detail: String,
    },
    /// There are no credentials, or AWS does not know them.
    #[error(
        "AWS does not accept the credentials ({detail}): set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, a profile, or give the machine a role"
    )]
    Credentials {
        /// What is wrong with them.
        detail: String,
    },
    /// There are none for the moment: what provides them fails.
    #[error(
        "the AWS credentials could not be loaded ({detail}): that may pass; if it lasts, look at what \
         provides them (profile, process, token file, the role and its trust policy), and whether \
         STS or the metadata service can be reached"
    )]
    CredentialsAway {
        /// What happened.
        detail: String,
    },
    /// The credentials have expired.
    #[error(
        "the AWS credentials have expired ({detail}): renew them; a session token from the \
         environment is read only at the start, a role or a profile with a process renews itself"
    )]
    Expired {
        /// What AWS says.
        detail: String,
    },
    /// This machine's clock is off.
    #[error(
        "AWS refuses the signature's time ({detail}): this machine's clock is off; set it (NTP)"
    )]
    Skew {
        /// What AWS says.
        detail: String,
    },
    /// Too many calls.
    #[error(
        "SQS throttles `{action}` on `{queue}` ({detail}): backing off; ask for fewer pollers, or raise the quota"
    )]
    Throttled {
        /// The action.
        action: &'static str,
        /// The queue.
        queue: String,
        /// What AWS says.
        detail: String,
    },
    /// Too many messages are in flight.
    #[error(
        "`{queue}` has as many messages in flight as SQS allows (120,000) ({detail}): backing off \
         until some are settled; delayed retries count, too, so shorten their delays or work faster"
    )]
    OverLimit {
        /// The queue.
        queue: String,
        /// What AWS says.
        detail: String,
    },
    /// No connection.
    #[error("{place} cannot be reached ({detail}): check the endpoint, the region and the network")]
    Unreachable {
        /// Where the service was looked for.
        place: String,
        /// What went wrong.
        detail: String,
    },
    /// No answer in time.
    #[error("{place} did not answer `{action}` in time ({detail})")]
    TimedOut {
        /// Where the service is.
        place: String,
        /// The action.
        action: &'static str,
        /// What went wrong.
        detail: String,
    },
    /// The receipt handle is no longer valid.
    #[error("the receipt handle is no longer valid ({0})")]
    Stale(String),
    /// SQS says that the request itself is at fault.
    #[error("SQS refuses `{action}` on `{queue}` ({detail})")]
    Invalid {
        /// The action.
        action: &'static str,
        /// The queue.
        queue: String,
        /// What SQS says.
        detail: String,
    },
    /// Anything else; it may work again.
    #[error("`{action}` on `{queue}` failed ({detail})")]
    Other {
        /// The action.
        action: &'static str,
        /// The queue.
        queue: String,
        /// What is known.
        detail: String,
    },
}

/// Whether a queue cannot be created since there is one of this name, with other attributes.
pub(crate) fn already_exists<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    matches!(name_in(code), "QueueNameExists" | "QueueAlreadyExists")
}

/// `AWS.SimpleQueueService.NonExistentQueue`, `com.amazonaws.sqs#QueueDoesNotExist`, …: without what is
/// before the name.
fn name_in(code: &str) -> &str {
    code.rsplit(['.', '#']).next().unwrap_or(code)
}

impl Fault {
    /// Sorts an error of the SDK.
    pub(crate) fn of<E>(error: &SdkError<E>, call: Call<'_>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let Call { action, queue, place } = call;
        let whole = || DisplayErrorContext(error).to_string();
        match error {
            SdkError::ServiceError(context) => {
                let error = context.err();
                let status = context.raw().status().as_u16();
                let Some(code) = error.code() else {
                    // Not SQS, but something between: a proxy, a load balancer.
                    let detail = format!("an answer without a code, of status {status}");
                    return Self::Other { action, queue: queue.into(), detail };
                };
                let ours = (400..500).contains(&status);
                Self::coded(code, error.message().unwrap_or_default(), ours, call)
            }
            SdkError::TimeoutError(_) => {
                Self::TimedOut { place: place.into(), action, detail: short(&whole()) }
            }
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::TimedOut { place: place.into(), action, detail: short(&whole()) }
            }
            SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
                credentials::fault(error).unwrap_or_else(|| Self::Unreachable {
                    place: place.into(),
                    detail: short(&whole()),
                })
            }
            _ => Self::Other { action, queue: queue.into(), detail: short(&whole()) },
        }
    }

    /// Sorts an error by its code, be it of a whole request or of one entry of a batch. `ours`: SQS
    /// says that the sender is at fault.
    pub(crate) fn coded(code: &str, text: &str, ours: bool, call: Call<'_>) -> Self {
        let Call { action, queue, place } = call;
        let detail = if text.is_empty() { code.to_owned() } else { format!("{code}: {text}") };
        let queue = queue.to_owned();
        let says = |word: &str| text.to_ascii_lowercase().contains(word);
        match name_in(code) {
            "NonExistentQueue" | "QueueDoesNotExist" | "QueueDeletedRecently" => {
                Self::Missing { queue, place: place.into() }
            }
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
                Self::Expired { detail }
            }
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => {
                Self::Skew { detail }
            }
            "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                let time = says("signature expired") || says("not yet current") || says("clock");
                if time { Self::Skew { detail } } else { Self::Credentials { detail } }
            }
            "AccessDenied"
            | "AccessDeniedException"
            | "InvalidSecurity"
            | "KmsAccessDenied"
            | "KmsDisabled"
            | "KmsInvalidKeyUsage"
            | "KmsInvalidState"
            | "KmsNotFound"
            | "KmsOptInRequired" => Self::Denied { action, queue, detail },
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidAccessKeyId"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "OptInRequired" => Self::Credentials { detail },
            "OverLimit" => Self::OverLimit { queue, detail },
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "KmsThrottled"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "BandwidthLimitExceeded" => Self::Throttled { action, queue, detail },
            "ReceiptHandleIsInvalid" | "MessageNotInflight" | "InvalidIdFormat" => {
                Self::Stale(detail)
            }
            // A FIFO queue's answer to the handle of a hand-out that has ended.
            "InvalidParameterValue"
                if says("receipt handle has expired")
                    || says("not available for visibility timeout change") =>
            {
                Self::Stale(detail)
            }
            "RequestTimeout"
            | "RequestTimeoutException"
            | "InternalError"
            | "InternalFailure"
            | "ServiceUnavailable" => Self::Other { action, queue, detail },
            _ if ours => Self::Invalid { action, queue, detail },
            _ => Self::Other { action, queue, detail },
        }
    }

    /// Whether SQS asks for less.
    pub(crate) const fn is_throttle(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::OverLimit { .. })
    }

    /// Whether waiting will not help.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::Denied { .. }
                | Self::Credentials { .. }
                | Self::Invalid { .. }
        )
    }

    /// For one settlement.
    pub(crate) fn settling(self) -> SettleError {
        match self {
            Self::Stale(_) => SettleError::Stale,
            Self::Invalid { .. } => SettleError::Refused(self.into()),
            _ => SettleError::Unavailable(self.into()),
        }
    }

    /// For one extension of a lease.
    pub(crate) fn extending(self) -> LeaseError {
        match self {
            Self::Stale(_) | Self::Invalid { .. } => LeaseError::Lost,
            _ => LeaseError::Unavailable(self.into()),
        }
    }

    /// For one message that was to be published.
    pub(crate) fn publishing(self) -> PublishError {
        match self {
            Self::Invalid { .. } => PublishError::Refused(self.into()),
            _ => PublishError::Unavailable(self.into()),
        }
    }
}

impl From<Fault> for SourceError {
    fn from(fault: Fault) -> Self {
        if fault.is_fatal() { Self::Fatal(fault.into()) } else { Self::Unavailable(fault.into()) }
    }
}

impl From<Fault> for DeadLettersError {
    fn from(fault: Fault) -> Self {
        if fault.is_fatal() { Self::Fatal(fault.into()) } else { Self::Unavailable(fault.into()) }
    }
}

/// The first part of what the SDK says: the rest are its insides, in hundreds of bytes.
fn short(text: &str) -> String {
    cut(text, 300)
}

/// So many bytes of a text, at most.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(code: &str, text: &str, ours: bool) -> Fault {
        let call = Call { action: "sqs:ReceiveMessage", queue: "orders", place: "eu-west-1" };
        Fault::coded(code, text, ours, call)
    }

    #[test]
    fn codes_are_sorted_whatever_protocol_they_come_by() {
        for code in [
            "AWS.SimpleQueueService.NonExistentQueue",
            "com.amazonaws.sqs#QueueDoesNotExist",
            "QueueDoesNotExist",
        ] {
            let fault = sort(code, "", true);
            assert!(matches!(fault, Fault::Missing { .. }) && fault.is_fatal(), "{fault}");
            assert!(fault.to_string().contains("`orders` at eu-west-1"), "{fault}");
        }
        assert!(matches!(sort("ExpiredToken", "", true), Fault::Expired { .. }));
        assert!(matches!(sort("OverLimit", "", true), Fault::OverLimit { .. }));
        assert!(matches!(sort("ThrottlingException", "", true), Fault::Throttled { .. }));
        assert!(matches!(sort("ReceiptHandleIsInvalid", "", true), Fault::Stale(_)));
        assert!(matches!(sort("InternalFailure", "", false), Fault::Other { .. }));
    }

    #[test]
    fn a_signature_is_wrong_by_its_time_or_by_its_key() {
        let skew = sort("InvalidSignatureException", "Signature expired: 20…", true);
        assert!(matches!(skew, Fault::Skew { .. }) && !skew.is_fatal(), "{skew}");
        let key = sort("SignatureDoesNotMatch", "The request signature we calculated", true);
        assert!(matches!(key, Fault::Credentials { .. }) && key.is_fatal(), "{key}");
    }

    #[test]
    fn an_entry_is_stale_refused_or_worth_another_try() {
        let expired = "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.";
        let settling = |code, text, ours| sort(code, text, ours).settling();
        assert!(matches!(settling("InvalidParameterValue", expired, true), SettleError::Stale));
        let long = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
        assert!(matches!(settling("InvalidParameterValue", long, true), SettleError::Refused(_)));
        let error = settling("InternalError", "", false);
        assert!(matches!(error, SettleError::Unavailable(_)));
        let error = settling("AccessDenied", "no", true);
        assert!(matches!(error, SettleError::Unavailable(_)), "the message is not at fault");
    }
}
