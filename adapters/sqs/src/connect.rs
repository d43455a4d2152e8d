//! The clients: credentials and region by the SDK's own chain, endpoint by the settings, and limits on
//! time so that a connection that has gone silent is noticed.

use crate::{Fault, SqsError, SqsOptions, api::Clients};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::{
    Client,
    config::{Builder, Region, retry::RetryConfig, timeout::TimeoutConfig},
};
use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// How long one try of a call may take, beside the time that a receive waits.
const TRY: Duration = Duration::from_secs(4);

/// The SDK's settings: what it finds itself, and what ours say besides.
pub(crate) async fn sdk(options: &SqsOptions) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = options.region.as_deref().or_else(|| region_of(&options.queue)) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    loader.load().await
}

/// The clients for these settings.
pub(crate) fn clients(options: &SqsOptions, sdk: &SdkConfig) -> Result<Clients, SqsError> {
    let region = options.region.as_deref().or_else(|| region_of(&options.queue));
    let region = region.or_else(|| sdk.region().map(AsRef::as_ref));
    let endpoint = options.endpoint.as_deref().or_else(|| sdk.endpoint_url());
    let region = match (region, endpoint) {
        (Some(region), _) => region.to_owned(),
        (None, Some(_)) => "us-east-1".to_owned(),
        (None, None) => {
            return Err(SqsError::Setting {
                setting: "region",
                value: "not set".into(),
                allowed: "set it, or AWS_REGION, or give the queue by its URL".into(),
            });
        }
    };
    if sdk.credentials_provider().is_none() {
        let detail = "no provider of credentials is set up".into();
        return Err(Fault::Credentials { detail }.into());
    }
    let place = endpoint.map_or_else(|| format!("AWS in {region}"), str::to_owned);
    let client = |patience: Duration| {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(patience)
            .build();
        // Several quick tries: with the second one the SDK corrects for a clock that is off.
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(100));
        let mut builder = Builder::from(sdk)
            .region(Region::new(region.clone()))
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Client::from_conf(builder.build())
    };
    let wait = Duration::from_secs(options.wait_secs().unsigned_abs().into());
    Ok(Clients { client: client(TRY), receiver: client(TRY + wait), place: place.into() })
}

/// The region in a queue's URL: `https://sqs.eu-west-1.amazonaws.com/…`.
fn region_of(queue: &str) -> Option<&str> {
    let host = queue.strip_prefix("https://sqs.")?.split('/').next()?;
    let (region, rest) = host.split_once('.')?;
    rest.starts_with("amazonaws.com").then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_in_the_url() {
        let region = region_of("https://sqs.eu-west-1.amazonaws.com/123/orders");
        assert_eq!(region, Some("eu-west-1"));
        assert_eq!(region_of("https://sqs.cn-north-1.amazonaws.com.cn/1/q"), Some("cn-north-1"));
        assert_eq!(region_of("http://127.0.0.1:9324/000000000000/orders"), None);
        assert_eq!(region_of("orders"), None);
    }

    #[test]
    fn a_region_must_come_from_somewhere() {
        let sdk = SdkConfig::builder().build();
        let error = clients(&SqsOptions::new("orders"), &sdk).unwrap_err().to_string();
        assert!(error.contains("`region` is not set"), "{error}");
        let error = clients(&SqsOptions::new("orders").region("r"), &sdk).unwrap_err().to_string();
        assert!(error.contains("credentials"), "{error}");
    }
}
