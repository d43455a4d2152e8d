//! `[handler.http]` against a real server.

use crate::{
    bench::Bench,
    server::{Request, Server},
};
use std::{net::TcpListener, time::Duration};

fn config(server: &Server, more: &str) -> String {
    format!("[handler.http]\nurl = 'http://{}/orders?x=1'\n{more}", server.address)
}

/// The server of most tests: answers with the status that the payload is.
fn status_of(request: &Request) -> u16 {
    request.body.parse().unwrap()
}

#[test]
fn every_class_of_status_is_settled_by_its_meaning() {
    let server = Server::start(|request, _| match status_of(request) {
        302 => (302, "location: http://elsewhere/\r\n", String::new()),
        status => (status, "", format!("said {status}")),
    });
    let bench = Bench::with_handler(&config(&server, "discard = [410]"));
    // Enough that succeed, for what fails to be no outage.
    bench.send(&["200"; 30]);
    bench.send(&["201", "204", "302", "400", "404", "410", "408", "425", "500", "502"]);
    bench.work_off();
    for status in ["400", "404"] {
        let death = bench.death_of(status);
        assert!(death.starts_with(&format!("permanent: HTTP {status} ")), "{death}");
        assert!(death.ends_with(&format!(": said {status}")), "{death}");
    }
    let death = bench.death_of("302");
    assert!(death.contains("to http://elsewhere/: redirects are not followed"), "{death}");
    for status in ["408", "425", "500", "502"] {
        let death = bench.death_of(status);
        assert!(death.starts_with(&format!("attempts_exhausted: HTTP {status} ")), "{death}");
    }
    assert_eq!(bench.dead().len(), 7);
    let requests = server.requests();
    let times = |body: &str| requests.iter().filter(|request| request.body == body).count();
    assert_eq!((times("200"), times("201"), times("410"), times("400")), (30, 1, 1, 1));
    assert_eq!((times("500"), times("408")), (3, 3));
}

#[test]
fn the_message_is_told_in_headers_and_secrets_are_sent() {
    let server = Server::start(|_, _| (200, "", String::new()));
    let bench = Bench::with_handler(&config(
        &server,
        "headers = { authorization = 'Bearer ${TOKEN}', x-key = { file = 'key' } }",
    ));
    bench.write("key", "k-9\n");
    let args = ["send", "--config", "w.toml", "--key", "cust-1", "--id-path", "$.id"];
    let more = ["--header", "traceparent=00-ab-cd-01", "--header", "private=1", "{\"id\": 17}"];
    bench.forebay(&[&args[..], &more[..]].concat()).ok();
    let worker = bench.run_with(&[("TOKEN", "hunter2")]);
    bench.wait_until_empty();
    worker.stop().ok();
    let requests = server.requests();
    let [request] = &requests[..] else { panic!("{requests:#?}") };
    assert_eq!(request.method, "POST");
    assert_eq!(request.body, "{\"id\": 17}");
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    assert_eq!(header("forebay-id"), Some("17"));
    assert_eq!(header("forebay-attempt"), Some("1"));
    assert_eq!(header("forebay-key"), Some("cust-1"));
    assert_eq!(header("authorization"), Some("Bearer hunter2"));
    assert_eq!(header("x-key"), Some("k-9"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("traceparent"), Some("00-ab-cd-01"));
    assert_eq!(header("private"), None);
}

#[test]
fn retry_after_is_honoured_and_costs_no_attempt() {
    let server = Server::start(|_, before| match before {
        0 => (503, "retry-after: 1\r\n", String::new()),
        1 => (429, "retry-after: 1\r\n", String::new()),
        _ => (200, "", String::new()),
    });
    let bench = Bench::new();
    let text = format!(
        "[source.embedded]\npath = 'q.db'\nqueue = 'orders'\n[retry]\nattempts = 1\n{}",
        config(&server, "")
    );
    bench.write("w.toml", &text);
    bench.send(&["1"]);
    bench.work_off();
    assert_eq!(bench.dead().len(), 0);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for pair in requests.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= Duration::from_millis(990), "{gap:?}");
    }
    assert!(requests.iter().all(|request| request.headers["forebay-attempt"] == "1"));
}

#[test]
fn a_server_that_is_away_or_silent_is_tried_again_and_no_secret_is_noted() {
    // A port that was free a moment ago, and one that accepts and says nothing.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for (address, expected) in [(free, "onnect"), (silent.local_addr().unwrap(), "timed out")] {
        let handler =
            format!("[handler.http]\nurl = 'http://{address}/${{TOKEN}}'\ntimeout = '200ms'");
        let bench = Bench::with_handler(&handler);
        bench.send(&["1"]);
        let worker = bench.run_with(&[("TOKEN", "hunter2")]);
        bench.wait_until_empty();
        let done = worker.stop();
        let death = bench.death_of("1");
        assert!(death.starts_with("attempts_exhausted: "), "{death}");
        assert!(death.contains(expected), "{death}");
        assert!(
            !death.contains("hunter2") && !done.stderr.contains("hunter2"),
            "{death}\n{done:#?}"
        );
    }
}

#[test]
fn a_batch_is_one_request_and_each_message_gets_its_own_answer() {
    let server = Server::start(|request, _| {
        let items: Vec<serde_json::Value> = serde_json::from_str(&request.body).unwrap();
        let answers: Vec<_> = items.iter().map(|item| item["payload"].clone()).collect();
        (200, "", serde_json::to_string(&answers).unwrap())
    });
    let bench = Bench::new();
    bench.config("batch = { size = 50, age = '50ms' }", &config(&server, ""));
    bench.send(&["200"; 20]);
    bench.send(&["422", "not json", "{\"status\": 409, \"error\": \"twice\"}"]);
    bench.work_off();
    assert_eq!(bench.death_of("422"), "permanent: HTTP 422 Unprocessable Entity");
    let death = bench.death_of("{\"status\": 409, \"error\": \"twice\"}");
    assert_eq!(death, "permanent: HTTP 409 Conflict: twice");
    assert!(bench.death_of("not json").contains("the payload is not JSON"));
    assert_eq!(bench.dead().len(), 3);
    let requests = server.requests();
    assert!(requests.len() < 10, "{} requests for 23 messages", requests.len());
    let first: serde_json::Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(first[0]["attempt"], 1);
    assert!(first[0]["id"].is_string());
}

#[test]
fn a_batch_that_is_refused_whole_is_split_down_to_the_one_at_fault() {
    let server = Server::start(|request, _| match request.body.contains("poison") {
        true => (400, "", "no poison, please".to_owned()),
        false => (204, "", String::new()),
    });
    let bench = Bench::new();
    bench.config("batch = { size = 32, age = '100ms' }", &config(&server, ""));
    let mut payloads = vec!["\"fine\""; 31];
    payloads.insert(13, "\"poison\"");
    bench.send(&payloads);
    bench.work_off();
    assert_eq!(bench.death_of("\"poison\""), "permanent: HTTP 400 Bad Request: no poison, please");
    assert_eq!(bench.dead().len(), 1);
}

#[test]
fn an_answer_that_does_not_fit_the_batch_acknowledges_nothing() {
    let server = Server::start(|_, before| match before {
        0 => (200, "", "[200]".to_owned()),
        _ => (204, "", String::new()),
    });
    let bench = Bench::new();
    bench.config("batch = { size = 2, age = '500ms' }", &config(&server, ""));
    bench.send(&["1", "2"]);
    bench.work_off();
    let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    assert!(bodies.len() >= 2, "{bodies:?}");
    for number in ["\"payload\":1", "\"payload\":2"] {
        let times = bodies.iter().filter(|body| body.contains(number)).count();
        assert_eq!(times, 2, "{bodies:?}");
    }
}
