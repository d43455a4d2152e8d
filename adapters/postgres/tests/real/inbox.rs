//! Once, however often a message comes.

use crate::support::{
    Place, eventually, inbox, is_permanent, is_transient, server_address, server_through,
};
use forebay::{
    Failure, Job, MessageId, Outgoing, Sink, Worker,
    testing::{MemoryQueue, until_done},
};
use forebay_conformance::proxy::{Direction, FaultProxy};
use forebay_postgres::{Inbox, InboxOptions, Outcome, PgPool, Seen, Transaction, types::Type};
use futures_util::future::join_all;
use std::time::Duration;

async fn place() -> Place {
    let place = Place::new().await;
    place.run("CREATE TABLE effects (id text NOT NULL, UNIQUE (id))").await;
    place.run("CREATE TABLE log (id text NOT NULL)").await;
    place
}

/// Adds a row to the table without a unique index: there, twice is seen.
async fn log(tx: &Transaction, place: &Place, id: &str) -> Result<u64, tokio_postgres::Error> {
    let sql = format!("INSERT INTO {} VALUES ($1)", place.table("log"));
    tx.execute(&sql, &[(&id, Type::TEXT)]).await
}

#[tokio::test]
async fn a_redelivery_is_recognised_and_counted() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let id = MessageId::from("order-1");
    let first = inbox.run_as(&id, async |tx: &Transaction| log(tx, &place, "1").await).await;
    assert_eq!(first.unwrap(), Outcome::Done(1));
    for _ in 0..3 {
        let again = inbox.run_as(&id, async |tx: &Transaction| log(tx, &place, "1").await).await;
        assert_eq!(again.unwrap(), Outcome::Duplicate);
    }
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
    assert_eq!((inbox.counts().done, inbox.counts().duplicates), (1, 3));
}

#[tokio::test]
async fn of_copies_at_the_same_time_one_does_the_work() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let id = MessageId::from(7);
    let runs = (0..8).map(|_| {
        inbox.run_as(&id, async |tx: &Transaction| {
            log(tx, &place, "7").await?;
            tx.batch_execute("SELECT pg_sleep(0.1)").await
        })
    });
    let outcomes = join_all(runs).await;
    let done = outcomes.iter().filter(|o| matches!(o, Ok(Outcome::Done(())))).count();
    assert_eq!(done, 1, "{outcomes:?}");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
}

#[tokio::test]
async fn a_second_copy_does_the_work_when_the_first_fails() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let id = MessageId::from(7);
    let failing = inbox.run_as(&id, async |tx: &Transaction| {
        log(tx, &place, "7").await?;
        tx.batch_execute("SELECT pg_sleep(0.2)").await?;
        Err::<(), _>(Failure::transient("not today"))
    });
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        inbox.run_as(&id, async |tx: &Transaction| log(tx, &place, "7").await).await
    };
    let (first, second) = futures_util::future::join(failing, waiting).await;
    assert_eq!(first.unwrap_err().to_string(), "not today");
    assert_eq!(second.unwrap(), Outcome::Done(1));
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
}

#[tokio::test]
async fn an_error_passed_on_by_a_question_mark_is_sorted_by_its_sqlstate() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let run = async |sql: &str| {
        let sql = sql.replace("effects", &place.table("effects"));
        let work = async |tx: &Transaction| tx.batch_execute(&sql).await;
        inbox.run_as(&MessageId::from(sql.as_str()), work).await
    };
    run("INSERT INTO effects VALUES ('a')").await.unwrap();
    let unique = run("INSERT INTO effects VALUES ('a') ").await.unwrap_err();
    assert!(is_permanent(&unique), "{unique:?}");
    let text = unique.to_string();
    assert!(text.contains("SQLSTATE 23505") && text.contains("effects_id_key"), "{text}");
    let null = run("INSERT INTO effects VALUES (NULL)").await.unwrap_err();
    assert!(is_permanent(&null) && null.to_string().contains("column id"), "{null}");
    // A missing table is an outage, not poison.
    let table = run("INSERT INTO effects_2 VALUES ('a')").await.unwrap_err();
    assert!(is_transient(&table) && table.to_string().contains("42P01"), "{table:?}");
    let forced = "DO $$ BEGIN RAISE 'x' USING ERRCODE = '40001'; END $$";
    assert!(is_transient(&run(forced).await.unwrap_err()));
    // The handler's own word stands.
    let own = inbox.run_as(&MessageId::from("own"), async |tx: &Transaction| {
        let error = tx.batch_execute("SELECT 1/0").await.unwrap_err();
        Err::<(), _>(Failure::retry_after(error, Duration::from_secs(1)))
    });
    assert!(is_transient(&own.await.unwrap_err()));
}

#[tokio::test]
async fn a_swallowed_error_is_found_before_the_message_is_acknowledged() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let id = MessageId::from("x");
    let run = inbox.run_as(&id, async |tx: &Transaction| {
        log(tx, &place, "x").await?;
        let _ = tx.batch_execute("SELECT 1/0").await; // swallowed: PostgreSQL undoes it all
        Ok::<_, tokio_postgres::Error>(())
    });
    let failure = run.await.unwrap_err();
    assert!(is_transient(&failure) && failure.to_string().contains("not passed on"), "{failure}");
    assert_eq!(place.number("SELECT count(*) FROM forebay_inbox").await, 0);
}

#[tokio::test]
async fn an_answer_lost_while_committing_is_found_out_at_the_next_attempt() {
    let place = place().await;
    let proxy = FaultProxy::start(server_address()).unwrap();
    let pool = PgPool::connect(place.options_at(&server_through(&proxy))).await.unwrap();
    let inbox = inbox(&pool).await;
    for (id, direction, committed) in
        [("answer", Direction::FromUpstream, 1), ("commit", Direction::ToUpstream, 0)]
    {
        let id = MessageId::from(id);
        let text = id.to_string();
        let lost = inbox.run_as(&id, async |tx: &Transaction| {
            log(tx, &place, &text).await?;
            proxy.reset_after(0, direction);
            Ok::<_, tokio_postgres::Error>(())
        });
        let failure = lost.await.unwrap_err();
        assert!(is_transient(&failure) && failure.to_string().contains("committing"), "{failure}");
        let count = format!("SELECT count(*) FROM log WHERE id = '{text}'");
        eventually("the server has ended it", Duration::from_secs(5), || async {
            place.number(&count).await == committed
        })
        .await;
        let again = inbox.run_as(&id, async |tx: &Transaction| log(tx, &place, &text).await).await;
        let expected = if committed == 1 { Outcome::Duplicate } else { Outcome::Done(1) };
        assert_eq!(again.unwrap(), expected, "{text}");
        assert_eq!(place.number(&count).await, 1);
    }
}

#[tokio::test]
async fn work_that_is_called_off_is_undone_and_leaves_its_connection_usable() {
    let place = place().await;
    let pool = PgPool::connect(place.options().connections(1)).await.unwrap();
    let inbox = inbox(&pool).await;
    let id = MessageId::from("slow");
    for sql in ["SELECT pg_sleep(30)", "SELECT 1"] {
        let run = inbox.run_as(&id, async |tx: &Transaction| {
            log(tx, &place, "slow").await?;
            tx.batch_execute(sql).await?;
            tokio::time::sleep(Duration::from_secs(30)).await;
            Ok::<_, tokio_postgres::Error>(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(200), run).await.is_err());
        // One connection: the next run gets it only once the server is rid of the first.
        let next = inbox
            .run_as(&MessageId::from(sql), async |tx: &Transaction| log(tx, &place, "next").await);
        assert_eq!(next.await.unwrap(), Outcome::Done(1));
    }
    assert_eq!(place.number("SELECT count(*) FROM log WHERE id = 'slow'").await, 0);
    let mark = place.number("SELECT count(*) FROM forebay_inbox WHERE id = 'slow'");
    assert_eq!(mark.await, 0);
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30)%' AND state = 'active'";
    assert_eq!(place.number(sleeping).await, 0, "it was called off on the server too");
}

#[tokio::test]
async fn a_batch_learns_which_messages_are_new() {
    let place = place().await;
    let pool = place.pool().await;
    let inbox = inbox(&pool).await;
    let ids: Vec<MessageId> = ["b", "a", "b", "7"].map(MessageId::from).into();
    let tx = pool.begin().await.unwrap();
    let seen = inbox.fresh(&tx, &ids).await.unwrap();
    assert_eq!(seen, [Seen::New, Seen::New, Seen::Twin(0), Seen::New]);
    inbox.forget(&tx, &ids[1..2]).await.unwrap();
    tx.commit().await.unwrap();
    let tx = pool.begin().await.unwrap();
    let seen = inbox.fresh(&tx, &ids).await.unwrap();
    assert_eq!(seen, [Seen::Before, Seen::New, Seen::Twin(0), Seen::Before]);
}

#[tokio::test]
async fn an_identity_that_cannot_be_kept_is_a_dead_letter_of_its_own() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    for id in ["x".repeat(1025), "nul\0".into()] {
        let run = inbox
            .run_as(&MessageId::from(id.as_str()), async |_: &Transaction| Ok::<_, Failure>(()));
        assert!(is_permanent(&run.await.unwrap_err()));
    }
    // The longest that is taken fits the index, whatever is in it.
    let id: String = (0..256).map(|_| ['ü', 'ß', 'é', '漢'][fastrand::usize(..4)]).collect();
    let run = inbox.run_as(&MessageId::from(id), async |_: &Transaction| Ok::<_, Failure>(()));
    assert_eq!(run.await.unwrap(), Outcome::Done(()));
}

#[tokio::test]
async fn marks_are_pruned_by_age_and_those_of_others_stay() {
    let place = place().await;
    let pool = place.pool().await;
    let keep = inbox(&pool).await;
    place
        .run(
            "INSERT INTO forebay_inbox SELECT 'pruned', n, now() - interval '8 days' FROM generate_series(1, 40000) n;
             INSERT INTO forebay_inbox SELECT 'pruned', n, now() - interval '6 days' FROM generate_series(40001, 40010) n;
             INSERT INTO forebay_inbox SELECT 'test', n, now() - interval '8 days' FROM generate_series(1, 5) n",
        )
        .await;
    let scans = "SELECT seq_scan + idx_scan FROM pg_stat_user_tables
                 WHERE relid = 'forebay_inbox'::regclass";
    let scanned = place.number(scans).await;
    let mut options = InboxOptions::new("pruned");
    options.prune_every = Duration::from_millis(20);
    // Fewer than a statement finds in the blocks that it looks at, and these are not all.
    options.prune_batch = 5000;
    let capabilities = crate::support::stable();
    let pruned = Inbox::open(&pool, &capabilities, options).await.unwrap();
    eventually("the old are gone", Duration::from_secs(20), || async {
        pruned.counts().pruned == 40_000
    })
    .await;
    let deleted =
        "SELECT n_tup_del FROM pg_stat_user_tables WHERE relid = 'forebay_inbox'::regclass";
    eventually("the server has counted that", Duration::from_secs(20), || async {
        place.number(deleted).await == 40_000
    })
    .await;
    assert_eq!(
        place.number(scans).await,
        scanned,
        "found by blocks, not by reading the whole table"
    );
    assert_eq!(
        place.number("SELECT count(*) FROM forebay_inbox WHERE consumer = 'pruned'").await,
        10
    );
    assert_eq!(place.number("SELECT count(*) FROM forebay_inbox WHERE consumer = 'test'").await, 5);
    drop(keep);
}

#[derive(Clone)]
struct State {
    inbox: Inbox,
    log: String,
}

async fn handle(job: Job<String, State>) -> Result<(), Failure> {
    let insert = format!("INSERT INTO {} VALUES ($1)", job.state().log);
    let work = async |tx: &Transaction| {
        if job.payload == "poison" {
            return tx.execute("SELECT 1/0", &[]).await;
        }
        tx.execute(&insert, &[(&job.payload, Type::TEXT)]).await
    };
    job.state().inbox.run(&job, work).await?;
    Ok(())
}

#[tokio::test]
async fn in_a_worker_each_message_has_its_effect_once() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let queue = MemoryQueue::new();
    let mut messages: Vec<_> =
        (0..200).map(|n| Outgoing::new(format!("\"{}\"", n % 50)).id(n % 50)).collect();
    messages.push(Outgoing::new("\"poison\"").id(1000));
    for published in queue.publish(&messages).await {
        published.unwrap();
    }
    let state = State { inbox: inbox.clone(), log: place.table("log") };
    let worker = Worker::builder(queue.source()).state(state).handler(handle).build().unwrap();
    let control = worker.control();
    let (report, ()) = tokio::join!(worker.run_until_drained(), async {
        until_done(&queue).await;
        control.drain();
    });
    report.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM log").await, 50);
    assert_eq!(place.number("SELECT count(DISTINCT id) FROM log").await, 50);
    assert_eq!(inbox.counts().done, 50);
    assert_eq!(inbox.counts().duplicates, 150);
    assert_eq!(forebay::testing::dead_letters(&queue).await, 1, "SELECT 1/0 is poison");
}

#[tokio::test]
async fn an_effect_of_one_statement_is_there_once() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let id = MessageId::from("order-1");
    let sql = format!("INSERT INTO {} VALUES ($1)", place.table("log"));
    let once = || inbox.execute_as(&id, &sql, &[(&"1", Type::TEXT)]);
    assert_eq!(once().await.unwrap(), Outcome::Done(1));
    for _ in 0..3 {
        assert_eq!(once().await.unwrap(), Outcome::Duplicate);
    }
    // What `run` has done, `execute` recognises, and the other way round.
    let again = inbox.run_as(&id, async |tx: &Transaction| log(tx, &place, "1").await).await;
    assert_eq!(again.unwrap(), Outcome::Duplicate);
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
    assert_eq!((inbox.counts().done, inbox.counts().duplicates), (1, 4));
}

#[tokio::test]
async fn of_copies_of_one_statement_at_the_same_time_one_is_done() {
    let place = place().await;
    let inbox = inbox(&place.pool().await).await;
    let id = MessageId::from(7);
    let sql = format!("INSERT INTO {} SELECT $1 FROM pg_sleep(0.1)", place.table("log"));
    let parameters = [(&"7" as _, Type::TEXT)];
    let outcomes = join_all((0..8).map(|_| inbox.execute_as(&id, &sql, &parameters))).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Done(1)))).count();
    assert_eq!(done, 1, "{outcomes:?}");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
}

#[tokio::test]
async fn a_statement_that_is_refused_leaves_no_mark_and_a_sound_connection() {
    let place = place().await;
    place.run("INSERT INTO effects VALUES ('taken')").await;
    let pool = PgPool::connect(place.options().connections(1)).await.unwrap();
    let inbox = inbox(&pool).await;
    let sql = format!("INSERT INTO {} VALUES ($1)", place.table("effects"));
    // A unique index of the user's own is not the inbox's.
    let refused = inbox.execute_as(&MessageId::from(1), &sql, &[(&"taken", Type::TEXT)]).await;
    let refused = refused.unwrap_err();
    assert!(is_permanent(&refused) && refused.to_string().contains("23505"), "{refused}");
    let missing =
        inbox.execute_as(&MessageId::from(2), "INSERT INTO nowhere VALUES (1)", &[]).await;
    let missing = missing.unwrap_err();
    assert!(is_transient(&missing) && missing.to_string().contains("42P01"), "{missing}");
    for id in [1, 2] {
        let free = format!("free-{id}");
        let parameters = [(&free as _, Type::TEXT)];
        let done = inbox.execute_as(&MessageId::from(id), &sql, &parameters).await;
        assert_eq!(done.unwrap(), Outcome::Done(1));
    }
    assert_eq!(place.number("SELECT count(*) FROM effects").await, 3);
}

#[tokio::test]
async fn one_statement_whose_answer_is_lost_is_done_once() {
    let place = place().await;
    let proxy = FaultProxy::start(server_address()).unwrap();
    let pool = PgPool::connect(place.options_at(&server_through(&proxy))).await.unwrap();
    let inbox = inbox(&pool).await;
    let sql = format!("INSERT INTO {} SELECT $1 FROM pg_sleep(0.2)", place.table("log"));
    let id = MessageId::from("order-1");
    let parameters = [(&"1" as _, Type::TEXT)];
    let once = inbox.execute_as(&id, &sql, &parameters);
    let cutting = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // What was sent has arrived, the answers do not.
        proxy.reset_after(0, Direction::FromUpstream);
    };
    let (lost, ()) = futures_util::future::join(once, cutting).await;
    assert!(lost.is_err(), "{lost:?}");
    // Whether the server got as far as the commit, the inbox knows.
    let again = inbox.execute_as(&id, &sql, &parameters).await;
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
}
