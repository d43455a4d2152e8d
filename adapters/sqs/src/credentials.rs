//! What it means that the SDK has no credentials for a call.
//!
//! Credentials of a role, a token or a process are renewed while a worker runs. That asks STS, a
//! metadata service or a program, and fails for a moment as any call does. What passes must not end a
//! worker; only what nobody but an operator can mend does.
//!
//! | what a provider answers | what it means |
//! |---|---|
//! | not loaded: there are none; configured wrongly | lasting |
//! | the profile could not be read when it was first needed: the SDK does not read it again | lasting |
//! | an error, no answer in time, an answer that makes no sense | passing |

use crate::{Fault, fault::cut};
use aws_sdk_sqs::config::{ProvideCredentials, SharedCredentialsProvider};
use std::{error::Error, iter::successors};

/// The most of an error that is told, in bytes: enough for what a chain of providers says of each.
const TOLD: usize = 600;

/// The fault, if what went wrong is that there are no credentials.
pub(crate) fn fault(error: &(dyn Error + 'static)) -> Option<Fault> {
    let failed = answer_of(SharedCredentialsProvider::provide_credentials, error)?;
    let words = words(failed);
    // The names of its variants: the SDK does not let its type be named.
    let kind = format!("{failed:?}");
    let lasting = ["CredentialsNotLoaded", "InvalidConfiguration"];
    let is_lasting = lasting.iter().any(|lasting| kind.starts_with(lasting))
        || words.ends_with("initialization error already taken");
    let detail = cut(&words, TOLD);
    Some(match is_lasting {
        true => Fault::Credentials { detail },
        false => Fault::CredentialsAway { detail },
    })
}

/// What a provider of credentials answered, among an error's causes. The type of that answer is in a
/// crate that the SDK does not pass on, so it is taken from the provider's promise.
fn answer_of<'e, F, T, E>(
    _promise: fn(&'static SharedCredentialsProvider) -> F,
    error: &'e (dyn Error + 'static),
) -> Option<&'e E>
where
    F: Future<Output = Result<T, E>>,
    E: Error + 'static,
{
    causes(error).find_map(|error| error.downcast_ref())
}

/// An error, and what caused it.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    successors(Some(error), |error| (*error).source())
}

/// An error and its causes, in one line, without those that repeat what was said.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if !words.ends_with(&cause) {
            words.push_str(if words.is_empty() { "" } else { ": " });
            words.push_str(&cause);
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[expect(deprecated, reason = "the new names are in a crate that the SDK does not pass on")]
mod tests {
    use super::*;
    use crate::fault::Call;
    use aws_config::{
        BehaviorVersion, Region,
        credential_process::CredentialProcessProvider,
        meta::credentials::CredentialsProviderChain,
        profile::{
            ProfileFileCredentialsProvider,
            profile_file::{ProfileFileKind, ProfileFiles},
        },
        provider_config::ProviderConfig,
        web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
    };
    use aws_sdk_sqs::Client;
    use std::path::Path;

    fn profile(lines: &str) -> ProfileFileCredentialsProvider {
        let files = ProfileFiles::builder().with_contents(ProfileFileKind::Config, lines).build();
        ProfileFileCredentialsProvider::builder().profile_files(files).profile_name("w").build()
    }

    fn web_identity(file: &Path) -> WebIdentityTokenCredentialsProvider {
        let of = StaticConfiguration {
            web_identity_token_file: file.into(),
            role_arn: "arn:aws:iam::1:role/r".into(),
            session_name: "tests".into(),
        };
        let config = ProviderConfig::without_region().with_region(Some(Region::new("eu-west-1")));
        WebIdentityTokenCredentialsProvider::builder()
            .static_configuration(of)
            .configure(&config)
            .build()
    }

    /// What the SDK makes of it in two calls.
    async fn called(provider: impl ProvideCredentials + 'static) -> [Fault; 2] {
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url("http://127.0.0.1:9")
            .credentials_provider(provider)
            .load()
            .await;
        let client = Client::new(&sdk);
        let call = Call { action: "sqs:ReceiveMessage", queue: "orders", place: "eu-west-1" };
        let ask = async || Fault::of(&client.list_queues().send().await.unwrap_err(), call);
        [ask().await, ask().await]
    }

    #[tokio::test]
    async fn credentials_that_are_not_there_or_set_up_wrongly_are_lasting() {
        let nobody = "[profile other]\naws_access_key_id = a\naws_secret_access_key = b";
        let nowhere = "[profile w]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = missing";
        for lines in [nobody, nowhere] {
            for fault in called(profile(lines)).await {
                assert!(matches!(fault, Fault::Credentials { .. }), "{fault:?}");
                assert!(fault.is_fatal() && fault.to_string().contains("AWS_ACCESS_KEY_ID"));
            }
        }
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_renewed_for_the_moment_are_waited_for_and_say_why() {
        let away = "echo 'STS is away' >&2; exit 3".to_owned();
        let of_profile = format!("[profile w]\ncredential_process = {away}");
        let folder = tempfile::tempdir().unwrap();
        let (missing, no_text) = (folder.path().join("missing"), folder.path().join("no-text"));
        std::fs::write(&no_text, [0xff, 0xfe]).unwrap();
        for fault in [
            called(CredentialProcessProvider::new(away)).await,
            called(CredentialProcessProvider::new("echo 'STS is away'".into())).await,
            called(profile(&of_profile)).await,
            called(web_identity(&missing)).await,
            called(web_identity(&no_text)).await,
        ]
        .as_flattened()
        {
            assert!(
                matches!(fault, Fault::CredentialsAway { .. }) && !fault.is_fatal(),
                "{fault:?}"
            );
        }
        let away = "echo 'STS is away' >&2; exit 3".to_owned();
        let said = called(CredentialProcessProvider::new(away)).await[0].to_string();
        assert!(said.contains("STS is away") && said.contains("status: 3"), "{said}");
        assert!(!said.contains('\n') && !said.contains("ProviderError"), "{said}");
    }

    #[tokio::test]
    async fn where_nobody_has_credentials_each_that_was_asked_is_told() {
        let other = "[profile other]\naws_access_key_id = a\naws_secret_access_key = b";
        let chain = CredentialsProviderChain::first_try("One", profile(other))
            .or_else("Two", profile(other));
        let [fault, _] = called(chain).await;
        let said = fault.to_string();
        assert!(matches!(fault, Fault::Credentials { .. }), "{said}");
        assert!(said.contains("One: ") && said.contains("Two: "), "{said}");
    }

    #[tokio::test]
    async fn nobody_who_answers_is_no_matter_of_credentials() {
        let keys = aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "tests");
        let [fault, _] = called(keys).await;
        assert!(matches!(fault, Fault::Unreachable { .. }), "{fault:?}");
    }
}
