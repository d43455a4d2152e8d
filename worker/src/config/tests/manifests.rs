//! The config in the manifests of docs/kubernetes, which nothing else reads before a cluster does.

use super::parse;

const WORKER: &str = include_str!("../../../../docs/kubernetes/worker.yaml");

/// The whole number behind the first of these keys.
fn number(key: &str) -> u64 {
    let (_, rest) = WORKER.split_once(key).unwrap();
    rest.trim_start().lines().next().unwrap().parse().unwrap()
}

#[test]
fn the_config_in_the_manifests_is_valid_and_ends_in_the_time_that_they_give() {
    let (_, config) = WORKER.split_once("forebay.toml: |\n").unwrap();
    let (config, _) = config.split_once("---").unwrap();
    let config = config.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    // Variables of the environment, which tests cannot set.
    let config = config.replace("${ADMIN_TOKEN}", "correct-horse-battery");
    let settings = parse(&config.replace("${RABBIT_PASSWORD}", "x")).unwrap().settings;
    assert_eq!(u64::from(settings.admin.unwrap().listen.port()), number("containerPort:"));
    let workers = &settings.scale.workers[0];
    assert_eq!(
        (&*workers.host, u64::from(workers.port)),
        ("orders-workers", number("      port:"))
    );
    let (given, pause) = (number("terminationGracePeriodSeconds:"), number("seconds:"));
    let drain = settings.worker.drain_timeout.as_secs();
    assert!(given >= pause + drain + 10, "{given} s, of which {pause} and {drain} are used");
}
