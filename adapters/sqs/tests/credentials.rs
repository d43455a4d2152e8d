//! Credentials that are renewed while a worker runs, by a program that fails for a while: the worker
//! waits for it, and goes on by itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aws_config::{BehaviorVersion, SdkConfig, credential_process::CredentialProcessProvider};
use aws_sdk_sqs::config::Region;
use forebay_contract::{Outgoing, SettleError, Sink, Source, SourceError, Verdict, Want};
use forebay_sqs::{Fault, SqsError, SqsQueue, SqsSource, Topology};
use std::{fs, path::Path};
use support::{BOTH, Own, publish, receive, settlement};
use tempfile::TempDir;

/// Credentials that have ended, so that each call renews them. With a file `away` there are none.
async fn renewed(own: &Own, away: &Path) -> SdkConfig {
    let keys = r#"{"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "test",
        "SessionToken": "t", "Expiration": "2020-02-20T20:20:20Z"}"#;
    let away = away.display();
    let program = format!("test ! -e {away} || {{ echo STS is away >&2; exit 1; }}; echo '{keys}'");
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{}", own.direct))
        .credentials_provider(CredentialProcessProvider::new(program))
        .load()
        .await
}

async fn try_receive(source: &SqsSource) -> Result<usize, SourceError> {
    let mut out = Vec::new();
    source.receive(Want { messages: 1, bytes: 1 << 20 }, &mut out).await.map(|()| out.len())
}

#[tokio::test]
async fn a_worker_whose_credentials_cannot_be_renewed_for_a_while_goes_on_by_itself() {
    for emulator in BOTH {
        let own = Own::new(emulator, false, |o| o).await;
        let folder = TempDir::new().unwrap();
        let away = folder.path().join("away");
        let sdk = renewed(&own, &away).await;
        let options = own.options.clone().topology(Topology::Verify);
        let queue = SqsQueue::open_with(options.clone(), &sdk).await.unwrap();
        publish(&queue, &["1", "2"].map(Outgoing::new)).await;
        let source = queue.source().await.unwrap();
        let first = receive(&source, 1).await.remove(0);

        fs::write(&away, "").unwrap();
        let ack = [settlement(&first, Verdict::Ack)];
        match source.settle(&ack).await.remove(0) {
            Err(SettleError::Unavailable(error)) => {
                let said = error.to_string();
                assert!(said.contains("credentials could not be loaded"), "{said}");
                assert!(said.contains("STS is away"), "{said}");
            }
            other => panic!("{other:?}"),
        }
        // Time and again, and never for good. A receive that was under way may bring the other one.
        let mut failed = 0;
        let mut came = 0;
        while failed < 3 {
            match try_receive(&source).await {
                Ok(messages) => came += messages,
                Err(SourceError::Unavailable(error)) => {
                    assert!(error.to_string().contains("STS is away"), "{error}");
                    failed += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        // Who starts meanwhile is told the same.
        let error = SqsQueue::open_with(options, &sdk).await.unwrap_err();
        assert!(matches!(error, SqsError::Fault(Fault::CredentialsAway { .. })), "{error:?}");
        assert!(error.to_string().contains("STS is away"), "{error}");

        fs::remove_file(&away).unwrap();
        source.settle(&ack).await.remove(0).expect("with new credentials it is settled");
        while came == 0 {
            came += try_receive(&source).await.unwrap_or(0);
        }
        assert_eq!(came, 1);
        assert!(queue.publish(&[Outgoing::new("3")]).await[0].is_ok());
    }
}
