//! `[handler.postgres]` while the database is away, cut off, or not yet as it should be: nothing is
//! lost, nothing is written twice.

use crate::{
    bench::{Bench, Worker, wait_until},
    database::{Database, send_lines, through_a_proxy},
};
use rustix::process::Signal;
use std::{thread::sleep, time::Duration};

/// A queue with so many messages, each the number of its own.
fn bench(worker: &str, handler: &str, messages: usize) -> Bench {
    let bench = Bench::new();
    let text = format!(
        "[source.embedded]\npath = 'q.db'\nqueue = 'orders'\nlease = '2s'\n[worker]\n{worker}\n\
         [retry]\nbase = '1ms'\ncap = '50ms'\nattempts = 1000\n\
         [breaker]\nopen_for = '100ms'\nlongest_open = '200ms'\n{handler}\n"
    );
    bench.write("w.toml", &text);
    let lines: String = (0..messages).map(|n| format!("{n}\n")).collect();
    send_lines(&bench, &lines);
    bench
}

#[test]
fn connections_that_are_cut_and_an_outage_lose_nothing_and_double_nothing() {
    const MESSAGES: usize = 1500;
    for (worker, writes) in [
        ("batch = { size = 20 }", "table = 'TABLE'\ncolumns = { n = '$' }"),
        ("batch = { size = 20 }", "table = 'TABLE'\nmethod = 'copy'\ncolumns = { n = '$' }"),
        (
            "batch = { size = 1 }",
            "statement = 'INSERT INTO TABLE VALUES (:n)'\nparams = { n = '$' }",
        ),
    ] {
        let database = Database::new();
        database.run("CREATE TABLE log (n int)");
        let (proxy, url) = through_a_proxy();
        let writes = writes.replace("TABLE", &database.table("log"));
        let handler = format!("{}connect_timeout = '1s'\n{writes}", database.handler_at(&url));
        let bench = bench(worker, &handler, MESSAGES);
        let worker = bench.run();
        let written = || database.rows("log", "n").0;
        wait_until("it has begun", || written() > 0);
        for _ in 0..10 {
            proxy.cut();
            sleep(Duration::from_millis(100));
        }
        // Nobody home: the breaker opens, the backlog stays.
        proxy.refuse(true);
        sleep(Duration::from_millis(800));
        proxy.refuse(false);
        bench.wait_until_empty();
        worker.stop().ok();
        assert_eq!(database.rows("log", "n"), (MESSAGES as i64, MESSAGES as i64), "{writes}");
        assert_eq!(bench.dead().len(), 0, "an outage is nobody's fault");
        assert!(proxy.accepted() > 5, "it was cut while connected: {}", proxy.accepted());
    }
}

#[test]
fn a_worker_that_is_killed_again_and_again_writes_each_message_once() {
    const MESSAGES: usize = 1200;
    let database = Database::new();
    database.run("CREATE TABLE log (n int)");
    let handler = format!(
        "{}table = '{}'\ncolumns = {{ n = '$' }}",
        database.handler(),
        database.table("log")
    );
    let bench = bench("concurrency = 4\nbatch = { size = 5 }", &handler, MESSAGES);
    let mut killed = 0;
    let mut kill = |worker: Worker, after: i64| {
        let written = || database.rows("log", "n").0;
        let goal = (written() + after).min(MESSAGES as i64);
        wait_until("some more are written", || written() >= goal);
        worker.signal(Signal::KILL);
        drop(worker);
        killed += 1;
    };
    for after in [1, 40, 5, 100, 13] {
        kill(bench.run(), after);
    }
    bench.work_off();
    assert_eq!(database.rows("log", "n"), (MESSAGES as i64, MESSAGES as i64), "{killed} kills");
    assert_eq!(bench.dead().len(), 0);
}

#[test]
fn a_table_that_is_gone_for_a_while_makes_no_dead_letters() {
    let database = Database::new();
    database.run("CREATE TABLE log (n int)");
    let handler = format!(
        "{}table = '{}'\ncolumns = {{ n = '$' }}",
        database.handler(),
        database.table("log")
    );
    let bench = bench("batch = { size = 10 }", &handler, 0);
    let worker = bench.run();
    wait_until("it is ready", || bench.read("run.err").contains("taking messages"));
    database.run("ALTER TABLE log RENAME TO away");
    let lines: String = (0..300).map(|n| format!("{n}\n")).collect();
    send_lines(&bench, &lines);
    wait_until("the breaker opens", || bench.read("run.err").contains("circuit breaker"));
    assert_eq!((database.rows("away", "n").0, bench.dead().len()), (0, 0));
    database.run("ALTER TABLE away RENAME TO log");
    bench.wait_until_empty();
    worker.stop().ok();
    assert_eq!((database.rows("log", "n"), bench.dead().len()), ((300, 300), 0));
}
