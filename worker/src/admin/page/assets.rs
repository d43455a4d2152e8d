//! The page's files, as parts of the program: what is served fits what serves it, and nothing is looked
//! for on the disk.
//!
//! The page gets no inline script or style, no frame, and nothing from or to another host: the policy
//! below says so to the browser, in case a payload should ever find its way into the markup.

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const PAGE: &str = include_str!("files/index.html");

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 17] = [
    ("acts.js", SCRIPT, include_str!("files/acts.js")),
    ("api.js", SCRIPT, include_str!("files/api.js")),
    ("app.js", SCRIPT, include_str!("files/app.js")),
    ("ask.js", SCRIPT, include_str!("files/ask.js")),
    ("banner.js", SCRIPT, include_str!("files/banner.js")),
    ("base.css", STYLE, include_str!("files/base.css")),
    ("board.js", SCRIPT, include_str!("files/board.js")),
    ("chart.js", SCRIPT, include_str!("files/chart.js")),
    ("dead.js", SCRIPT, include_str!("files/dead.js")),
    ("dom.js", SCRIPT, include_str!("files/dom.js")),
    ("format.js", SCRIPT, include_str!("files/format.js")),
    ("history.js", SCRIPT, include_str!("files/history.js")),
    ("letter.js", SCRIPT, include_str!("files/letter.js")),
    ("mark.svg", IMAGE, include_str!("files/mark.svg")),
    ("parts.css", STYLE, include_str!("files/parts.css")),
    ("payload.js", SCRIPT, include_str!("files/payload.js")),
    ("scale.js", SCRIPT, include_str!("files/scale.js")),
];

/// `GET /`
pub(super) async fn page() -> Response {
    served(HTML, PAGE)
}

/// `GET /assets/{name}`
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => served(kind, text),
        None => (StatusCode::NOT_FOUND, "the page has no such part\n").into_response(),
    }
}

fn served(kind: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file names of the others: `/assets/x` in markup, `./x` in scripts.
    fn named(text: &str) -> impl Iterator<Item = &str> {
        let after = |mark| text.split(mark).skip(1);
        after("\"/assets/").chain(after("from \"./")).filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn every_part_that_is_named_is_there_and_every_part_is_named() {
        let texts = FILES.iter().map(|(_, _, text)| *text).chain([PAGE]);
        let named: Vec<&str> = texts.flat_map(named).collect();
        for name in &named {
            assert!(FILES.iter().any(|(known, ..)| known == name), "no part `{name}`");
        }
        for (name, ..) in FILES {
            assert!(named.contains(&name), "nothing asks for `{name}`");
        }
    }

    #[test]
    fn no_part_makes_markup_of_text_or_asks_another_host() {
        for (name, _, text) in FILES {
            for banned in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(banned), "{name}: {banned}");
            }
            let hosts = text.matches("://").count();
            let namespaces = text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(hosts, namespaces, "{name} names a host");
        }
    }
}
