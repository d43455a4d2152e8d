//! What a person sees who gets something wrong, word for word.

use super::*;
use forebay_embedded::SourceOptions;

#[cfg(feature = "rabbitmq")]
mod manifests;
#[cfg(feature = "postgres")]
mod postgres;
mod sources;

const SOURCE: &str = "[source.embedded]\npath = 'q.db'\nqueue = 'orders'\n";
const STDOUT: &str = "[handler.stdout]\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("conf/w.toml"), text).map_err(|error| error.to_string())
}

/// Parses a sound source and handler with `more` after them (from line 5 on).
fn parse_with(more: &str) -> Result<Config, String> {
    parse(&format!("{SOURCE}{STDOUT}{more}"))
}

/// What is commented out aside: that has no default, or is an example.
#[test]
fn the_template_is_valid_as_it_is_and_sets_what_is_the_default() {
    let required = "[source.embedded]\npath = 'forebay.db'\nqueue = 'orders'\n[handler.stdout]\n";
    let settings = |text: &str| {
        let Config { settings, handler } = parse(text).unwrap();
        let Settings { worker, retry, breaker, log, scale, .. } = settings;
        format!("{:#?}", (worker, retry, breaker, log, scale, handler))
    };
    assert_eq!(settings(TEMPLATE), settings(required));
    // Not vacuous: the defaults are there to be seen, and can be told from others.
    let set = TEMPLATE.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
    assert_eq!(set.count(), 23, "{TEMPLATE}");
    let other = TEMPLATE.replace("cap = \"15m\"", "cap = \"16m\"");
    assert_ne!(settings(&other), settings(required));

    let lease = TEMPLATE.lines().find_map(|line| line.strip_prefix("lease = \"")).unwrap();
    let lease = duration(lease.split('"').next().unwrap()).unwrap();
    let usual = SourceOptions::default();
    assert_eq!(format!("{:?}", usual.clone().lease(lease)), format!("{usual:?}"));

    let http = "[handler.http]\nurl = 'http://x'\n";
    let shown = TEMPLATE.lines().find_map(|line| line.strip_prefix("# timeout = ")).unwrap();
    let timeout = |more: &str| match parse(&format!("{SOURCE}{http}{more}")).unwrap().handler {
        HandlerConfig::Http(config) => config.timeout,
        other => panic!("{other:?}"),
    };
    assert_eq!(timeout(&format!("timeout = {shown}")), timeout(""));
}

#[test]
fn every_line_that_the_template_offers_is_valid() {
    let (head, handlers) = TEMPLATE.split_once("# Exactly one handler.").unwrap();
    let is_setting = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            rest.starts_with('[')
                || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', ':']))
        })
    };
    let uncomment = |text: &str| {
        let lines = text.lines().map(|line| if is_setting(line) { &line[2..] } else { line });
        lines.collect::<Vec<_>>().join("\n")
    };
    let secrets = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secrets.path(), "a token that is long enough".replace(' ', "-")).unwrap();
    let secret = secrets.path().display().to_string();
    let head = &head.replace("/run/secrets/key", &secret);
    let handlers = handlers
        .replace("/run/secrets/key", &secret)
        .replace("${TOKEN}", "${PATH}")
        .replace("${PASSWORD}", "${PATH}");
    let (stdout, rest) = handlers.split_once("# One POST").unwrap();
    let mut checked = 0;
    let postgres = cfg!(feature = "postgres").then_some(("postgres", 3));
    let parts = [("http", 0), ("command", 1), ("sqlite", 2)].into_iter().chain(postgres);
    for (name, part) in parts {
        let part = rest.split("\n\n").nth(part).unwrap();
        let mut head = uncomment(head);
        if name == "command" {
            head = head
                .lines()
                .filter(|line| !line.starts_with("batch"))
                .collect::<Vec<_>>()
                .join("\n");
        }
        let text = format!("{head}\n{}", uncomment(&format!("# {part}")));
        parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(text.contains(&format!("\n[handler.{name}]")));
        checked += 1;
    }
    let expected = if cfg!(feature = "postgres") { 4 } else { 3 };
    assert!(stdout.contains("[handler.stdout]") && checked == expected);
}

#[test]
fn paths_are_relative_to_the_config() {
    let source = parse_with("").unwrap().settings.source;
    assert_eq!(source.describe(), "embedded: conf/q.db, queue `orders`");
}

#[test]
fn an_unknown_key_names_the_nearest_right_one() {
    assert_eq!(
        parse_with("[retry]\nbase = '1s'\natempts = 3\n").unwrap_err(),
        "conf/w.toml:7: retry.atempts: there is no key `atempts`\n  \
         help: did you mean `attempts`? there are `attempts`, `base`, `factor`, `cap`, `max_age`"
    );
    let error = parse_with("[workers]\n").unwrap_err();
    assert!(error.starts_with("conf/w.toml:5: workers: there is no key `workers`"), "{error}");
    assert!(error.contains("did you mean `worker`?"), "{error}");
    let error =
        parse_with("[worker]\nconcurrency = { adaptve = { min = 1, max = 2 } }").unwrap_err();
    assert!(error.contains("conf/w.toml:6: worker.concurrency.adaptve"), "{error}");
    let error = parse_with("[log]\nformat = 'jsno'").unwrap_err();
    assert_eq!(
        error,
        "conf/w.toml:6: log.format: `jsno` is none of its values\n  \
         help: did you mean `json`? there are `text`, `json`"
    );
}

#[test]
fn what_is_missing_is_named() {
    let error = parse(STDOUT).unwrap_err();
    assert_eq!(
        error,
        "conf/w.toml: `source` is missing\n  help: add `[source.embedded]`, or another broker's table"
    );
    let error = parse(&format!("[source.embedded]\nqueue = 'x'\n{STDOUT}")).unwrap_err();
    assert!(error.contains("conf/w.toml:1: source.embedded: `path` is missing"), "{error}");
    let error = parse(&format!("{SOURCE}[handler]\n")).unwrap_err();
    assert!(error.contains("conf/w.toml:4: handler: it names no handler"), "{error}");
    let error = parse(&format!("[source]\n{STDOUT}")).unwrap_err();
    assert!(error.contains("there are `source.embedded`"), "{error}");
}

#[test]
fn a_wrong_value_says_what_it_may_be() {
    for (text, expected) in [
        (
            "[worker]\ntimeout = 30",
            "w.toml:6: worker.timeout: invalid type: integer `30`, expected a duration with its unit",
        ),
        ("[worker]\ntimeout = '30'", "w.toml:6: worker.timeout: `30` is no duration"),
        ("[worker]\n\nconcurrency = 0", "w.toml:7: worker.concurrency: it is 0"),
        ("[worker]\nconcurrency = -1", "w.toml:6: worker.concurrency: it must be between 1 and"),
        ("[worker]\nconcurrency = 'x'", "expected a number, such as 8, or { adaptive"),
        (
            "[worker.concurrency.adaptive]\nmin = 9\nmax = 3",
            "w.toml:5: worker.concurrency.adaptive: min 9 is above max 3",
        ),
        ("[worker]\nrate = { per_second = 0 }", "w.toml:6: worker.rate.per_second: it is 0.0"),
        (
            "[worker]\nbatch = { size = 10 }",
            "worker.batch: this handler takes one message at a time",
        ),
        (
            "[retry]\nbase = '2s'\ncap = '1s'",
            "w.toml:6: retry.base: it is 2s\n  help: it must be above zero and at most `cap`",
        ),
        (
            "[retry]\nfactor = 0.5",
            "w.toml:6: retry.factor: it is 0.5\n  help: it must be a number of 1 or more",
        ),
        (
            "[retry]\n\nattempts = 0",
            "w.toml:7: retry.attempts: it is 0\n  help: it must be at least 1",
        ),
        ("[breaker]\nfailure_ratio = 2.0", "w.toml:6: breaker.failure_ratio: it is 2.0"),
        ("[log]\nlevel = 'inof'", "w.toml:6: log.level: `inof` is no level"),
        ("[handler.command]\nprogram = 'x'", "w.toml:4: handler: it names more than one handler"),
    ] {
        let error = parse_with(text).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

#[test]
fn a_handler_is_checked_before_anything_runs() {
    for (text, expected) in [
        ("[handler.http]\nurl = 'example.org'", "w.toml:5: handler.http.url: "),
        ("[handler.http]\nurl = 'ftp://x/'", "`ftp` is not http or https"),
        (
            "[handler.http]\nurl = 'http://x/'\ntimeout = '1m'",
            "w.toml:6: handler.http.timeout: it is longer than `worker.timeout`",
        ),
        (
            "[handler.http]\nurl = 'http://x/'\ndiscard = [410]\npermanent = [410]",
            "410 is in another list as well",
        ),
        (
            "[handler.http]\nurl = 'http://x/'\ndiscard = [41]",
            "41 cannot occur\n  help: from 100 to 599",
        ),
        (
            "[handler.http]\nurl = 'http://x/'\nheaders.x = { file = '/no/such' }",
            "w.toml:6: handler.http.headers.x: /no/such cannot be read",
        ),
        (
            "[handler.http]\nurl = 'http://x/'\nheaders.'a b' = 'x'",
            "not a name that a header can have",
        ),
        ("[handler.command]\nprogram = ''", "handler.command.program: it is empty"),
        (
            "[handler.sqlite]\npath = 'x'\nstatement = ''\nparams.a = '@paylod'",
            "did you mean `@payload`?",
        ),
        (
            "[handler.sqlite]\npath = 'x'\nstatement = ''\nparams.a = 'id'",
            "w.toml:7: handler.sqlite.params.a: `id` is no path",
        ),
    ] {
        let error = parse(&format!("{SOURCE}{text}")).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

#[cfg(not(feature = "postgres"))]
#[test]
fn postgresql_that_is_not_built_in_is_refused_by_its_feature() {
    let error = parse(&format!("{SOURCE}[handler.postgres]\nurl = 'x'\n")).unwrap_err();
    assert!(
        error.contains("w.toml:4: handler.postgres: this forebay was built without"),
        "{error}"
    );
    assert!(error.contains("--features postgres"), "{error}");
}

#[test]
fn secrets_come_from_files_and_the_environment_and_are_not_shown() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2\n").unwrap();
    let text = format!(
        "{SOURCE}[handler.http]\nurl = 'https://u:pw@x/${{PATH}}'\nheaders = {{ a = {{ file = '{}' }} }}",
        secret.path().display()
    );
    let config = parse(&text).unwrap();
    let HandlerConfig::Http(http) = &config.handler else { panic!("{config:?}") };
    assert_eq!(http.headers["a"], "hunter2");
    assert_eq!(http.shown_url, "https://u:***@x/${PATH}");
    assert!(!format!("{config:?}").contains("hunter2"));
    let plain = parse(&format!("{SOURCE}[handler.http]\nurl = 'https://u:pw@x/'")).unwrap();
    let HandlerConfig::Http(http) = &plain.handler else { panic!("{plain:?}") };
    assert_eq!(http.shown_url, "https://u:***@x/");
}

#[test]
fn what_a_handler_has_a_use_for_is_its_default() {
    let usual = |handler: &str| parse(&format!("{SOURCE}{handler}")).unwrap().settings.worker;
    let http = usual("[worker]\ntimeout = '5s'\n[handler.http]\nurl = 'http://x/'");
    assert_eq!((http.concurrency, http.batch.is_none()), (Concurrency::Fixed(64), true));
    let sqlite = usual("[handler.sqlite]\npath = 'x'\nstatement = ''");
    assert_eq!(sqlite.concurrency, Concurrency::Fixed(2));
    assert_eq!(sqlite.batch.map(|batch| batch.size), Some(100));
    assert_eq!(usual(STDOUT).concurrency, Concurrency::Fixed(1));
    let rate =
        |text: &str| parse_with(&format!("[worker]\nrate = {text}")).unwrap().settings.worker.rate;
    assert_eq!(rate("{ per_second = 1000 }").map(|rate| rate.burst), Some(100));
    assert_eq!(rate("{ per_second = 0.5 }").map(|rate| rate.burst), Some(1));
    assert_eq!(rate("{ per_second = 9, burst = 7 }").map(|rate| rate.burst), Some(7));
}

#[test]
fn naming_a_queue_needs_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.toml");
    let text = format!("{SOURCE}[handler.http]\nurl = '${{FOREBAY_NO_SUCH}}'\n");
    std::fs::write(&file, text).unwrap();
    assert!(load_source(&file).is_ok());
    assert!(Config::load(&file).unwrap_err().to_string().contains("FOREBAY_NO_SUCH"));
}

#[test]
fn an_admin_port_is_there_only_if_asked_for_and_not_for_all_without_a_token() {
    assert!(parse_with("").unwrap().settings.admin.is_none());
    let admin = |text: &str| parse_with(text).map(|config| config.settings.admin.unwrap());
    let usual = admin("[admin]").unwrap();
    assert_eq!((usual.listen.to_string(), usual.token.is_some()), ("127.0.0.1:9464".into(), false));
    let error = admin("[admin]\nlisten = '0.0.0.0:9464'").unwrap_err();
    assert!(
        error.starts_with("conf/w.toml:6: admin.listen: others can reach 0.0.0.0:9464"),
        "{error}"
    );
    let error = admin("[admin]\nlisten = '[::]:9464'\ntoken = 'hunter2'").unwrap_err();
    assert!(error.starts_with("conf/w.toml:7: admin.token: it is shorter than 16"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let open = admin("[admin]\nlisten = '0.0.0.0:1'\ntoken = 'correct-horse-battery'").unwrap();
    let token = open.token.unwrap();
    assert!(token.is("correct-horse-battery") && !token.is("correct-horse-batterx"));
    assert!(!token.is("") && !token.is("correct-horse-battery-staple"));
    assert!(!format!("{token:?}").contains("horse"));
    let error = admin("[admin]\nlisten = 'localhost'").unwrap_err();
    assert!(error.contains("`localhost` is no address and port"), "{error}");
}

#[test]
fn what_cannot_be_aimed_at_is_refused() {
    let error = parse_with("[scale]\nmin = 5\nmax = 4").unwrap_err();
    assert!(error.starts_with("conf/w.toml:6: scale.min: it is 5"), "{error}");
    let error = parse_with("[scale]\ntarget_drain = '10ms'").unwrap_err();
    assert!(error.starts_with("conf/w.toml:6: scale.target_drain: it is \"10ms\""), "{error}");
    for wrong in ["workers:9464", "https://workers:9464", "http://workers", "http://w:1/scale"] {
        let error = parse_with(&format!("[scale]\nworkers = ['{wrong}']")).unwrap_err();
        assert!(error.contains(&format!("`{wrong}` is not where a worker answers")), "{error}");
    }
    let scale = "[scale]\nworkers = ['http://workers:9464', 'http://[::1]:9464/']";
    let workers = parse_with(scale).unwrap().settings.scale.workers;
    let workers: Vec<_> = workers.iter().map(|at| (&*at.host, at.port)).collect();
    assert_eq!(workers, [("workers", 9464), ("::1", 9464)]);
}

#[test]
fn telemetry_is_checked_and_its_headers_are_not_shown() {
    let error = parse_with("[telemetry]\nendpoint = 'localhost:4317'").unwrap_err();
    assert_eq!(
        error,
        "conf/w.toml:6: telemetry.endpoint: it is no URL of http or https\n  \
         help: \"http://localhost:4317\" for gRPC, \"http://localhost:4318\" for HTTP"
    );
    let error = parse_with("[telemetry]\nsample = 1.5").unwrap_err();
    assert!(error.starts_with("conf/w.toml:6: telemetry.sample: it is 1.5"), "{error}");
    assert!(parse_with("[telemetry]\nsample = nan").is_err());
    let error = parse_with("[telemetry]\ninterval = '0s'").unwrap_err();
    assert!(error.contains("telemetry.interval: metrics would be sent without end"), "{error}");
    assert!(parse_with("[telemetry]\nservice = ''").unwrap_err().contains("it is empty"));
    let error = parse_with("[telemetry]\nprotocol = 'gprc'").unwrap_err();
    assert!(error.contains("did you mean `grpc`?"), "{error}");
    for (wrong, why) in [
        ("https://me:hush@host:4317", "a user or a password"),
        ("http://host:4318/v1/traces", "the path of one signal"),
        ("http://host:4318?key=hush", "it has a `?`"),
    ] {
        let error = parse_with(&format!("[telemetry]\nendpoint = '{wrong}'")).unwrap_err();
        assert!(error.starts_with("conf/w.toml:6: telemetry.endpoint: it has"), "{error}");
        assert!(error.contains(why) && !error.contains("hush"), "{error}");
    }
    for wrong in ["'two words' = 'hush'", "x-key = \"hush\\nhush\""] {
        let error = parse_with(&format!("[telemetry.headers]\n{wrong}")).unwrap_err();
        assert!(error.starts_with("conf/w.toml:6: telemetry.headers."), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    let config = parse_with("[telemetry]\nheaders = { authorization = 'hush' }").unwrap();
    let shown = format!("{:?}", config.settings.telemetry);
    assert!(shown.contains("authorization") && !shown.contains("hush"), "{shown}");
}
