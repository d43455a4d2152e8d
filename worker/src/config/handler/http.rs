//! `[handler.http]`: where messages are posted to.

use crate::config::{
    codes::{Codes, Lists, Meaning},
    document::Document,
    error::ConfigError,
    values::{Secret, Span, masked_url},
};
use reqwest::{
    Certificate, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

/// How long one request may take, unless the config says so.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// `[handler.http]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct HttpConfig {
    /// Where to.
    pub(crate) url: Url,
    /// The URL as it may be shown: without what came from the environment, and without a password.
    pub(crate) shown_url: String,
    /// Headers of every request. The values are secret.
    pub(crate) headers: HeaderMap,
    /// Whose certificates are trusted besides those that the system trusts.
    pub(crate) authorities: Vec<Certificate>,
    /// How long one request may take.
    pub(crate) timeout: Duration,
    /// Statuses that mean something else than usual.
    pub(crate) codes: Codes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    ca_file: Option<PathBuf>,
    timeout: Option<Span>,
    #[serde(default)]
    ack: Vec<u16>,
    #[serde(default)]
    transient: Vec<u16>,
    #[serde(default)]
    throttled: Vec<u16>,
    #[serde(default)]
    permanent: Vec<u16>,
    #[serde(default)]
    discard: Vec<u16>,
}

impl RawHttp {
    /// `within` is the worker's timeout, which a request must not outlast.
    pub(super) fn check(
        self,
        within: Duration,
        document: &Document<'_>,
    ) -> Result<HttpConfig, ConfigError> {
        let url = self.url(document)?;
        let shown_url = masked_url(document.template("handler.http.url").unwrap_or(&self.url));
        let headers = self.headers(document)?;
        let authorities = self.authorities(&url, document)?;
        let timeout = self.timeout(within, document)?;
        let lists: Lists = [
            ("ack", Meaning::Ack, self.ack),
            ("transient", Meaning::Transient, self.transient),
            ("throttled", Meaning::Throttled, self.throttled),
            ("permanent", Meaning::Permanent, self.permanent),
            ("discard", Meaning::Discard, self.discard),
        ];
        let codes = Codes::check(lists, "handler.http", 100..=599, document)?;
        Ok(HttpConfig { url, shown_url, headers, authorities, timeout, codes })
    }

    fn url(&self, document: &Document<'_>) -> Result<Url, ConfigError> {
        let wrong = |problem: String| {
            document
                .error("handler.http.url", problem)
                .help("write it whole, such as \"https://example.org/orders\"")
        };
        let url = Url::parse(&self.url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong(format!("`{}` is not http or https", url.scheme())));
        }
        Ok(url)
    }

    fn headers(&self, document: &Document<'_>) -> Result<HeaderMap, ConfigError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let key = format!("handler.http.headers.{name}");
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| document.error(&key, "not a name that a header can have"))?;
            let value = value.reveal(&key, document)?;
            let mut value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| document.error(&key, "its value has a line break or control byte"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn authorities(
        &self,
        url: &Url,
        document: &Document<'_>,
    ) -> Result<Vec<Certificate>, ConfigError> {
        let Some(file) = &self.ca_file else { return Ok(Vec::new()) };
        let wrong = |problem: String| document.error("handler.http.ca_file", problem);
        if url.scheme() != "https" {
            return Err(wrong("`url` is not https, so no certificate is looked at".to_owned())
                .help("leave it out, or make the URL https"));
        }
        let file = document.resolve(file);
        let pem = fs::read(&file)
            .map_err(|error| wrong(format!("{} cannot be read: {error}", file.display())))?;
        let unfit = |why: String| {
            wrong(format!("{}: {why}", file.display())).help(
                "it holds the certificates to trust in PEM format, each from \
                 `-----BEGIN CERTIFICATE-----` on",
            )
        };
        match Certificate::from_pem_bundle(&pem) {
            Ok(none) if none.is_empty() => Err(unfit("there is no certificate in it".to_owned())),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(unfit(error.to_string())),
        }
    }

    fn timeout(&self, within: Duration, document: &Document<'_>) -> Result<Duration, ConfigError> {
        let wrong = |problem, help| document.error("handler.http.timeout", problem).help(help);
        match self.timeout {
            None => Ok(REQUEST_TIMEOUT.min(within)),
            Some(Span(Duration::ZERO)) => Err(wrong("it is 0", "leave it out for the usual 10 s")),
            Some(Span(timeout)) if timeout > within => Err(wrong(
                "it is longer than `worker.timeout`",
                "the worker would call the request off first: raise `worker.timeout`",
            )),
            Some(Span(timeout)) => Ok(timeout),
        }
    }
}
