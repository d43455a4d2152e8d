//! The page's endpoints, asked through the whole admin router, with a real queue behind.

use crate::{
    admin::{Admin, Title, history, router},
    brokers::{Queue, in_file},
    config::AdminConfig,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use forebay::{
    DeadReason, FailureKind, FailureNote, Outgoing, Settlement, Sink, Source, Verdict, Want,
    policy::Moment,
};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tower::ServiceExt;

/// A queue with as many dead letters as are asked for, and what is served of it.
struct Bench {
    queue: Queue,
    admin: Admin,
    router: Router,
    _folder: TempDir,
}

impl Bench {
    async fn with(dead: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = in_file(&folder.path().join("q.db"), "orders").unwrap().create().await.unwrap();
        let config = AdminConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            token: None,
            poll: Duration::from_secs(1),
        };
        let title = Title { name: "booker".into(), source: "a file".into() };
        let telemetry = queue.telemetry().build().unwrap();
        let admin = Admin::new(&config, title, queue.clone(), None, telemetry);
        let bench = Self { router: router(admin.clone()), queue, admin, _folder: folder };
        bench.bury(dead).await;
        bench
    }

    /// Even ones are permanent, odd ones have no attempts left.
    async fn bury(&self, dead: usize) {
        let letters: Vec<_> = (0..dead)
            .map(|n| Outgoing::new(format!("{{\"n\":{n}}}")).key(format!("k{n}")).header("a", "ä"))
            .collect();
        for published in self.queue.publish(&letters).await {
            published.unwrap();
        }
        let source = self.queue.source().await.unwrap();
        let mut buried = 0;
        while buried < dead {
            let mut taken = Vec::new();
            source.receive(Want { messages: 100, bytes: 1 << 20 }, &mut taken).await.unwrap();
            let settlements: Vec<_> = taken
                .into_iter()
                .map(|delivery| {
                    let reason = match buried % 2 {
                        0 => DeadReason::Permanent,
                        _ => DeadReason::AttemptsExhausted,
                    };
                    let note = FailureNote::new(
                        FailureKind::Permanent,
                        format!("no such customer: {buried}."),
                        SystemTime::now(),
                    );
                    buried += 1;
                    let verdict = Verdict::DeadLetter { reason, note };
                    Settlement { receipt: delivery.receipt, message: delivery.message, verdict }
                })
                .collect();
            for settled in source.settle(&settlements).await {
                settled.unwrap();
            }
        }
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).header(header::HOST, "localhost:9464");
        self.ask(request.body(Body::empty()).unwrap()).await
    }

    #[track_caller]
    fn ok((status, body): (StatusCode, Value)) -> Value {
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header(header::HOST, "localhost:9464")
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-forebay", "test");
        self.ask(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

#[tokio::test]
async fn the_page_comes_with_its_parts_and_forbids_everything_else() {
    let bench = Bench::with(0).await;
    for (path, kind) in [("/", "text/html"), ("/assets/app.js", "text/javascript")] {
        let request = Request::get(path).header(header::HOST, "localhost:9464");
        let request = request.body(Body::empty()).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
    }
    assert_eq!(bench.get("/assets/nonsense.js").await.0, StatusCode::NOT_FOUND);
    let (status, body) = bench.get("/api/nonsense").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body["hint"].as_str().unwrap().contains("dead-count"), "{body}");
}

#[tokio::test]
async fn status_and_history_tell_what_was_sampled() {
    let bench = Bench::with(0).await;
    for n in 0..3 {
        let reading = history::Reading {
            states: vec![history::State::BrokerGone],
            ..history::Reading::default()
        };
        let at = Moment::from_millis(n * 1000);
        bench.admin.history(|history| history.push(reading, at, 5_000 + n));
    }
    bench.admin.update(|view| view.unread = Some("it is being moved".into()));
    let status = Bench::ok(bench.get("/api/status").await);
    assert_eq!((&status["name"], &status["queue"]), (&json!("booker"), &json!("orders")));
    assert_eq!(status["states"][0]["name"], "broker_gone");
    assert_eq!(status["states"][0]["since_ms"], 5_000);
    assert_eq!(status["states"][0]["detail"], "it is being moved");
    assert_eq!(status["counts"], Value::Null, "no worker");
    // Without a new sample: what is the matter is not to be a second old.
    bench.admin.update(|view| view.unread = None);
    let status = Bench::ok(bench.get("/api/status").await);
    assert_eq!(status["states"][0]["name"], "scaling");

    let all = Bench::ok(bench.get("/api/history").await);
    assert_eq!((all["rows"].as_array().unwrap().len(), &all["next"]), (3, &json!(3)));
    assert_eq!(all["fields"].as_array().unwrap().len(), all["rows"][0].as_array().unwrap().len());
    let instance = all["instance"].as_str().unwrap();
    let more = Bench::ok(bench.get(&format!("/api/history?since=2&instance={instance}")).await);
    assert_eq!(more["rows"].as_array().unwrap().len(), 1);
    let other = Bench::ok(bench.get("/api/history?since=2&instance=another").await);
    assert_eq!(other["rows"].as_array().unwrap().len(), 3, "another process: all of it");
    let (status, body) = bench.get("/api/history?since=x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].is_string() && body["hint"].is_string(), "{body}");
}

#[tokio::test]
async fn dead_letters_come_in_pages_and_by_what_they_say() {
    let bench = Bench::with(7).await;
    let first = Bench::ok(bench.get("/api/dead?limit=4").await);
    assert_eq!(first["letters"].as_array().unwrap().len(), 4);
    let letter = &first["letters"][0];
    assert_eq!((&letter["key"], &letter["reason"]), (&json!("k0"), &json!("permanent")));
    assert_eq!(letter["error"], "no such customer: 0.");
    assert!(letter.get("payload").is_none(), "a list is no place for payloads");
    let next = first["next"].as_str().unwrap();
    let second = Bench::ok(bench.get(&format!("/api/dead?limit=4&after={next}")).await);
    assert_eq!(second["letters"].as_array().unwrap().len(), 3);
    assert_eq!(second["next"], Value::Null);
    let found = Bench::ok(bench.get("/api/dead?contains=customer:%203.").await);
    assert_eq!(found["letters"].as_array().unwrap().len(), 1);
    let found = Bench::ok(bench.get("/api/dead?reason=attempts_exhausted").await);
    assert_eq!(found["letters"].as_array().unwrap().len(), 3);

    let long = "x".repeat(1025);
    for (query, says) in [
        ("limit=0", "`limit` is 0"),
        ("limit=101", "`limit` is 101"),
        ("limit=many", "invalid digit"),
        ("reason=bad", "no reason is called `bad`"),
        ("resaon=permanent", "unknown field"),
        (&format!("contains={long}"), "longer than 1024 bytes"),
    ] {
        let (status, body) = bench.get(&format!("/api/dead?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(body["error"].as_str().unwrap().contains(says), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_count_says_as_of_when() {
    let bench = Bench::with(5).await;
    let all = Bench::ok(bench.get("/api/dead-count").await);
    assert_eq!((&all["count"], &all["more"]), (&json!(5), &json!(false)));
    let as_of = all["as_of_ms"].as_u64().unwrap();
    assert!(as_of > 1_000_000_000_000, "milliseconds since 1970: {as_of}");
    let count = |body: Value| body["count"].as_u64().unwrap();
    let even = Bench::ok(bench.get("/api/dead-count?reason=permanent").await);
    assert_eq!(count(even), 3);
    let none = Bench::ok(bench.get("/api/dead-count?redriven_less_than=0").await);
    assert_eq!(count(none), 0);
    let none = Bench::ok(bench.get("/api/dead-count?died_before_ms=1").await);
    assert_eq!(count(none), 0);
}

#[tokio::test]
async fn one_is_shown_whole() {
    let bench = Bench::with(1).await;
    let list = Bench::ok(bench.get("/api/dead").await);
    let id = list["letters"][0]["dead_id"].as_str().unwrap();
    let letter = Bench::ok(bench.get(&format!("/api/dead/{id}")).await);
    assert_eq!(letter["payload"], json!({"base64": "eyJuIjowfQ==", "bytes": 7, "cut": false}));
    assert_eq!(letter["headers"][0]["name"], "a");
    assert_eq!(letter["headers"][0]["value"]["text"], "ä");
    assert_eq!(letter["history"][0]["error"], "no such customer: 0.");
    assert_eq!((&letter["queue"], &letter["attempts"]), (&json!("orders"), &json!(1)));
    for missing in ["999", "nonsense", "a%2Fb"] {
        let (status, body) = bench.get(&format!("/api/dead/{missing}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{missing}");
        assert!(body["hint"].as_str().unwrap().contains("redriven or purged"), "{body}");
    }
}

#[tokio::test]
async fn a_redrive_goes_by_steps_until_none_is_left_that_is_meant() {
    let bench = Bench::with(130).await;
    let as_of = Bench::ok(bench.get("/api/dead-count").await)["as_of_ms"].clone();
    let meant = json!({"filter": {"died_before_ms": as_of, "redriven_less_than": 3}});
    let first = Bench::ok(bench.post("/api/dead/redrive", &meant).await);
    assert_eq!(first, json!({"moved": 100, "done": false, "stopped": null}));
    let second = Bench::ok(bench.post("/api/dead/redrive", &meant).await);
    assert_eq!(second, json!({"moved": 30, "done": true, "stopped": null}));
    let backlog = bench.queue.backlog().await.unwrap();
    assert_eq!((backlog.ready.unwrap().value, backlog.dead.unwrap().value), (130, 0));
}

#[tokio::test]
async fn letters_are_redriven_and_purged_by_name() {
    let bench = Bench::with(3).await;
    let list = Bench::ok(bench.get("/api/dead").await);
    let id = |n: usize| list["letters"][n]["dead_id"].clone();
    let one = json!({"ids": [id(0), "no-such-letter"]});
    let moved = Bench::ok(bench.post("/api/dead/redrive", &one).await);
    assert_eq!((&moved["moved"], &moved["done"]), (&json!(1), &json!(true)));
    let purged = Bench::ok(bench.post("/api/dead/purge", &json!({"ids": [id(1)]})).await);
    assert_eq!(purged, json!({"purged": 1}));
    let purged = Bench::ok(bench.post("/api/dead/purge", &json!({"filter": {}})).await);
    assert_eq!(purged, json!({"purged": 1}));
    assert_eq!(bench.queue.backlog().await.unwrap().dead.unwrap().value, 0);
}

#[tokio::test]
async fn an_order_that_does_not_say_what_it_means_does_nothing() {
    let bench = Bench::with(2).await;
    let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    for (body, says) in [
        (json!({}), "it names no letters"),
        (json!({"ids": [], "filter": {}}), "ids and a filter"),
        (json!({"ids": []}), "it names 0 letters"),
        (json!({"ids": many}), "it names 1001 letters"),
        (json!({"ids": ["x".repeat(1025)]}), "too long"),
        (json!({"filter": {"reason": "bad"}}), "no reason is called"),
        (json!({"filter": {"contians": "x"}}), "unknown field `contians`"),
        (json!({"all": true}), "unknown field `all`"),
    ] {
        for path in ["/api/dead/redrive", "/api/dead/purge"] {
            let (status, answer) = bench.post(path, &body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
            assert!(answer["error"].as_str().unwrap().contains(says), "{body}: {answer}");
        }
    }
    assert_eq!(bench.queue.backlog().await.unwrap().dead.unwrap().value, 2);
}

#[tokio::test]
async fn only_a_page_of_our_own_may_order() {
    let bench = Bench::with(1).await;
    let order = |headers: &[(&str, &str)], body: String| {
        let mut request = Request::post("/api/dead/purge").header(header::HOST, "localhost:9464");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body)).unwrap()
    };
    let (json_type, ours) = (("content-type", "application/json"), ("x-forebay", "1"));
    let all = || "{\"filter\":{}}".to_owned();
    for (headers, body, expected) in [
        (vec![json_type], all(), StatusCode::FORBIDDEN),
        (vec![ours, ("content-type", "text/plain")], all(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![ours], all(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![ours, json_type, ("origin", "http://evil.example")], all(), StatusCode::FORBIDDEN),
        (vec![ours, json_type, ("sec-fetch-site", "cross-site")], all(), StatusCode::FORBIDDEN),
        (vec![ours, json_type], " ".repeat(300 << 10), StatusCode::PAYLOAD_TOO_LARGE),
        (vec![ours, json_type], "no JSON".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = bench.ask(order(&headers, body)).await;
        assert_eq!(status, expected, "{headers:?}: {answer}");
    }
    let (status, _) = bench
        .ask(
            Request::get("/api/dead/purge")
                .header(header::HOST, "localhost")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(bench.queue.backlog().await.unwrap().dead.unwrap().value, 1);
    let (status, answer) = bench.ask(order(&[json_type, ours], all())).await;
    assert_eq!((status, &answer["purged"]), (StatusCode::OK, &json!(1)));
}
