//! `[handler.http]`: one POST per message, or per batch.

mod answer;
mod batch;

use crate::{
    config::{HttpConfig, Meaning},
    handlers::{Finding, trace},
};
use forebay::{BatchHandler, BatchOutcome, Bytes, Failure, Handler, Headers, Job};
use reqwest::{
    Client, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use std::{sync::Arc, time::SystemTime};

/// Of an answer's body, this much goes into the error text.
const SNIPPET: usize = 512;
/// A longer answer is not read to its end, and its connection not used again.
const READ: usize = 64 << 10;
/// An answer to a batch longer than this is not read to its end.
const MAX_ANSWER: usize = 4 << 20;

/// What rustls says of a certificate that leads to nobody whom we trust.
const NOT_TRUSTED: &str = "invalid peer certificate: UnknownIssuer";

/// Posts messages to a URL.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
    config: Arc<HttpConfig>,
}

impl Http {
    /// A handler with its own pool of connections.
    ///
    /// # Errors
    /// When TLS cannot be set up, as with an authority that is no certificate.
    pub(crate) fn new(config: HttpConfig) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .tls_certs_merge(config.authorities.iter().cloned())
            .timeout(config.timeout)
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, config: Arc::new(config) })
    }

    /// Sends one request. The message's own headers give way to the configured ones.
    async fn post(&self, mut headers: HeaderMap, body: Bytes) -> Result<Response, Finding> {
        for (name, value) in &self.config.headers {
            headers.insert(name, value.clone());
        }
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let request = self.client.post(self.config.url.clone()).headers(headers).body(body);
        // Without the URL: it may hold a secret, and the text goes into dead letters.
        request.send().await.map_err(|error| failed(error.without_url()))
    }

    async fn post_one(&self, job: &Job<Bytes>) -> Result<Finding, Finding> {
        let response = self.post(headers_of(job), job.payload.clone()).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        // A body that breaks off changes nothing: the status has been said.
        let (body, _) = read(response, READ).await;
        let snippet = snippet(&body);
        Ok(answer::judge(status, &headers, &snippet, &self.config.codes, SystemTime::now()))
    }

    /// Sends a batch; the outcome is about those of its messages that are JSON.
    async fn post_batch(&self, json: Vec<u8>, sent: usize) -> Result<Vec<Finding>, BatchOutcome> {
        let mut headers = HeaderMap::new();
        set_trace(&mut headers, None);
        let response = match self.post(headers, json.into()).await {
            Ok(response) => response,
            Err(finding) => return Ok(vec![finding; sent]),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, end) = read(response, MAX_ANSWER).await;
        if let Err(finding) = end {
            // It may have been about to say which messages failed.
            return Ok(vec![finding; sent]);
        }
        match batch::parts(&body, sent, &self.config.codes, SystemTime::now()) {
            Some(Ok(findings)) => return Ok(findings),
            Some(Err(finding)) if status.is_success() => return Ok(vec![finding; sent]),
            Some(Err(_)) | None => {}
        }
        let snippet = snippet(&body);
        let whole =
            answer::judge(status, &headers, &snippet, &self.config.codes, SystemTime::now());
        if sent > 1 && answer::may_be_one_message(status, &whole) {
            let failure = whole.into_result().err();
            return Err(BatchOutcome::Failed(
                failure.unwrap_or_else(|| Failure::transient(snippet)),
            ));
        }
        Ok(vec![whole; sent])
    }
}

impl Handler<Bytes> for Http {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        let (Ok(finding) | Err(finding)) = self.post_one(&job).await;
        finding.into_result()
    }
}

impl BatchHandler<Bytes> for Http {
    async fn handle_batch(&self, jobs: Vec<Job<Bytes>>) -> BatchOutcome {
        let body = match batch::body(&jobs) {
            Ok(body) => body,
            Err(error) => return BatchOutcome::Failed(error.into()),
        };
        let sent = body.unfit.iter().filter(|unfit| unfit.is_none()).count();
        let answers = match sent {
            0 => Vec::new(),
            _ => match self.post_batch(body.json, sent).await {
                Ok(findings) => findings,
                // The halves are judged again, those that are not JSON among them.
                Err(whole) => return whole,
            },
        };
        let mut answers = answers.into_iter();
        let each = body.unfit.into_iter().map(|unfit| unfit.or_else(|| answers.next()));
        BatchOutcome::Each(
            each.map(|finding| match finding {
                Some(finding) => finding.into_result(),
                None => Err(Failure::transient("the answer did not cover this message")),
            })
            .collect(),
        )
    }
}

/// The headers that say which message it is, and those that it brought along.
fn headers_of(job: &Job<Bytes>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A key or id with bytes that HTTP does not allow in a header is left out, not mangled.
    let mut set = |name: &'static str, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("forebay-id", job.id().to_string().as_bytes());
    set("forebay-attempt", job.attempt().to_string().as_bytes());
    if let Some(key) = job.key() {
        set("forebay-key", key);
    }
    if let Some(value) = job.headers().get("content-type") {
        set("content-type", value);
    }
    set_trace(&mut headers, Some(job.headers()));
    headers
}

/// Says which trace a request belongs to.
fn set_trace(headers: &mut HeaderMap, message: Option<&Headers>) {
    for (name, value) in trace::context(message) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// A request without an answer: the message is not at fault.
fn failed(error: reqwest::Error) -> Finding {
    let mut text = Failure::from(error).to_string();
    if text.contains(NOT_TRUSTED) {
        text.push_str(
            ": if the server is yours, name the authority that signed its certificate in \
             `handler.http.ca_file`",
        );
    }
    Finding::new(Meaning::Transient, text)
}

/// The beginning of a body, up to `limit`, and whether that much could be read.
async fn read(mut response: Response, limit: usize) -> (Vec<u8>, Result<(), Finding>) {
    let mut body = Vec::new();
    while body.len() < limit {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
            }
            Ok(None) => break,
            Err(error) => return (body, Err(failed(error.without_url()))),
        }
    }
    (body, Ok(()))
}

fn snippet(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(SNIPPET)]).into_owned()
}
