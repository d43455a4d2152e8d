//! `[handler.command]` with real programs.

use crate::bench::{Bench, wait_until, wait_until_gone};

/// A config in which `$$` is a plain dollar sign.
fn sh(script: &str, more: &str) -> String {
    format!("[handler.command]\nprogram = 'sh'\nargs = ['-c', '''{script}''']\n{more}")
}

#[test]
fn the_payload_is_on_standard_input_and_the_rest_in_the_environment() {
    let bench = Bench::with_handler(&sh(
        "cat >> got; echo \" $FOREBAY_ID $FOREBAY_KEY $FOREBAY_ATTEMPT $SECRET\" >> got",
        "env = { SECRET = { file = 'token' } }",
    ));
    bench.write("token", "hunter2\n");
    let args = ["send", "--config", "w.toml", "--key", "k", "--id-path", "$.id"];
    bench.forebay(&[&args[..], &["{\"id\": \"o-1\"}"]].concat()).ok();
    bench.work_off();
    assert_eq!(bench.read("got"), "{\"id\": \"o-1\"} o-1 k 1 hunter2\n");
}

#[test]
fn the_trace_goes_on_into_the_program() {
    let bench = Bench::with_handler(&sh("echo \"$TRACEPARENT $BAGGAGE\" >> got", ""));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let header = format!("traceparent={parent}");
    let headers = ["--header", &header, "--header", "baggage=tenant=blue"];
    bench.forebay(&[&["send", "--config", "w.toml"][..], &headers, &["1"]].concat()).ok();
    bench.send(&["2"]);
    let worker = bench.run_with(&[("TRACEPARENT", "the worker's own")]);
    wait_until("both are done", || bench.read("got").lines().count() == 2);
    assert_eq!(worker.stop().code, Some(0));
    let got = bench.read("got");
    let mut got: Vec<&str> = got.lines().collect();
    got.sort_unstable();
    assert_eq!(got, [" ".to_owned(), format!("{parent} tenant=blue")]);
}

#[test]
fn no_shell_reads_the_arguments() {
    let handler = "[handler.command]\nprogram = 'printf'\nargs = ['%s', '$(id) * ; \"']";
    let bench = Bench::with_handler(handler);
    bench.send(&["x"]);
    assert_eq!(bench.work_off().stdout, "$(id) * ; \"");
}

#[test]
fn exit_codes_have_their_meaning() {
    let bench = Bench::with_handler(&sh(
        "read code; echo $code >> runs; echo \"because of $code\" >&2; exit $code",
        "permanent = [2]\ndiscard = [3]",
    ));
    bench.send(&["0", "0", "0", "0", "65", "75", "1", "2", "3"]);
    bench.work_off();
    assert_eq!(bench.death_of("65"), "permanent: exit code 65: because of 65");
    assert_eq!(bench.death_of("2"), "permanent: exit code 2: because of 2");
    assert_eq!(bench.death_of("75"), "attempts_exhausted: exit code 75: because of 75");
    assert_eq!(bench.death_of("1"), "attempts_exhausted: exit code 1: because of 1");
    assert_eq!(bench.dead().len(), 4);
    let runs = bench.read("runs");
    let times = |code: &str| runs.lines().filter(|line| *line == code).count();
    assert_eq!((times("65"), times("75"), times("1"), times("3")), (1, 3, 3, 1), "{runs}");
}

#[test]
fn a_program_that_does_not_read_is_fine_and_a_signal_is_tried_again() {
    let bench = Bench::with_handler(&sh("exec true", ""));
    let large = "x".repeat(300_000);
    bench.forebay_with(&["send", "--config", "w.toml", "--raw", "-"], &large).ok();
    bench.work_off();
    assert_eq!(bench.dead().len(), 0);

    let bench = Bench::with_handler(&sh("kill -9 $$$$", ""));
    bench.send(&["x"]);
    bench.work_off();
    assert_eq!(bench.death_of("x"), "attempts_exhausted: killed by signal 9");
}

#[test]
fn when_time_is_up_all_that_the_program_started_is_killed() {
    let bench = Bench::new();
    let script = "sleep 600 & echo $! >> pids; echo $$$$ >> pids; wait";
    bench.config("timeout = '300ms'", &sh(script, ""));
    bench.send(&["x"]);
    bench.work_off();
    assert!(bench.death_of("x").starts_with("attempts_exhausted: "), "{}", bench.death_of("x"));
    let pids = bench.read("pids");
    assert_eq!(pids.lines().count(), 6, "{pids}");
    wait_until_gone(&pids);
}

#[test]
fn only_the_end_of_a_long_error_is_kept() {
    let script = "yes error | head -n 20000 >&2; echo the end >&2; exit 65";
    let bench = Bench::with_handler(&sh(script, ""));
    bench.send(&["x"]);
    bench.work_off();
    let death = bench.death_of("x");
    assert!(death.ends_with("the end") && death.len() < 1024, "{death}");
}
