//! Who may ask.
//!
//! | danger | what keeps it out |
//! |---|---|
//! | anyone on the network | a bearer token; `config/admin.rs` insists on one beyond loopback |
//! | a web page that has its own name resolve to 127.0.0.1 (DNS rebinding) | without a token, only a `Host` that means this machine is answered |
//! | a web page that posts to us across sites | what changes state comes from our own page, or from no page at all |
//! | a page that frames ours, and has its visitor click | `x-frame-options` |
//!
//! A browser never adds the token by itself, as it would a cookie: so where there is one, a foreign
//! page cannot ask for anything.

use super::Admin;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{net::IpAddr, time::Duration};

/// A request that is not answered by then is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Asks for the token, where there is one.
pub(super) async fn token(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if admin.lets_in(bearer(request.headers())) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"forebay\"")];
    (StatusCode::UNAUTHORIZED, challenge, "the bearer token is missing or wrong\n").into_response()
}

impl Admin {
    /// Whether who presents this may ask.
    pub(super) fn lets_in(&self, token: Option<&str>) -> bool {
        let known = self.0.token.as_ref();
        known.is_none_or(|known| token.is_some_and(|token| known.is(token)))
    }
}

/// The token in a request's header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Keeps foreign web pages out.
pub(super) async fn site(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let host = host(&request);
    if admin.0.token.is_none() && !host.as_ref().is_some_and(is_this_machine) {
        let text = "ask by the name localhost or by its address, or set a token in [admin]\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && is_foreign(request.headers(), host.as_ref()) {
        let text = "this is asked by a page of another site\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whom the request is for: HTTP/2 says it in its own way.
fn host(request: &Request) -> Option<Authority> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    match (request.uri().authority(), header) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => host.parse().ok(),
        (None, None) => None,
    }
}

fn is_this_machine(host: &Authority) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a browser says that a page of another site asks.
fn is_foreign(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|it| it.to_str().unwrap_or("unreadable"));
    let fetched = text(HeaderName::from_static("sec-fetch-site"));
    if fetched.is_some_and(|from| from != "same-origin" && from != "none") {
        return true;
    }
    text(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.split_once("://").and_then(|(_, rest)| rest.parse().ok());
        origin.as_ref() != host
    })
}

/// Bounds each request in time, and tells browsers what not to do with the answer.
pub(super) async fn bounds(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    let mut response = answered
        .unwrap_or_else(|_| (StatusCode::GATEWAY_TIMEOUT, "it took too long\n").into_response());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for ours in ["localhost", "LocalHost:9464", "127.0.0.1:9464", "127.8.0.1", "[::1]:9464"] {
            assert!(is_this_machine(&ours.parse().unwrap()), "{ours}");
        }
        for other in ["evil.example", "localhost.evil.example:9464", "10.0.0.1", "127.0.0.1.nip.io"]
        {
            assert!(!is_this_machine(&other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_told_by_what_its_browser_says() {
        let host: Authority = "localhost:9464".parse().unwrap();
        let foreign = |pairs: &[_]| is_foreign(&headers(pairs), Some(&host));
        assert!(!foreign(&[]), "no browser");
        assert!(!foreign(&[("origin", "http://localhost:9464")]));
        assert!(!foreign(&[("sec-fetch-site", "same-origin")]));
        for origin in ["http://evil.example", "http://localhost:80", "null", "http://localhost"] {
            assert!(foreign(&[("origin", origin)]), "{origin}");
        }
        assert!(foreign(&[("sec-fetch-site", "same-site")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:9464")]));
    }

    #[test]
    fn the_token_is_in_a_header_of_its_own_scheme() {
        assert_eq!(bearer(&headers(&[("authorization", "bearer  abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), None);
        assert_eq!(bearer(&headers(&[])), None);
    }
}
