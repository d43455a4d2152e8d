//! A fleet shares its connections: the sum fits at every instant, whoever comes, goes, dies or hangs.

use crate::support::{Place, eventually, server_address, server_through};
use forebay::{
    Gate, Job, Outgoing, Sink, Worker,
    policy::Concurrency,
    testing::{MemoryQueue, until_done},
};
use forebay_conformance::proxy::FaultProxy;
use forebay_postgres::{Budget, BudgetOptions, Connection, PgPool};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const QUICK: BudgetOptions =
    BudgetOptions { lease: Duration::from_millis(1500), renew: Duration::from_millis(100) };
const TOTAL: u32 = 12;
const SUM: &str =
    "SELECT coalesce(sum(share), 0) FROM forebay_budget_lease WHERE expires_at > clock_timestamp()";

async fn pool(place: &Place, url: &str) -> PgPool {
    PgPool::connect(place.options_at(url).connections(10).wait(Duration::from_millis(50)))
        .await
        .unwrap()
}

#[tokio::test]
async fn shares_follow_who_comes_and_goes_and_gates_follow_the_shares() {
    let place = Place::new().await;
    let url = crate::support::server();
    let first = pool(&place, &url).await;
    let gate = Gate::new(Concurrency::fixed(8));
    first.bound(&gate);
    let one = Budget::join(&first, "b", TOTAL, QUICK).await.unwrap();
    eventually("one alone", Duration::from_secs(5), || async { one.share() == 10 }).await;
    assert_eq!(gate.status().limit, 8, "never more than it was given");
    let second = pool(&place, &url).await;
    let two = Budget::join(&second, "b", TOTAL, QUICK).await.unwrap();
    assert!(two.share() <= 2, "only what is free");
    eventually("two", Duration::from_secs(5), || async { one.share() == 6 && two.share() == 6 })
        .await;
    assert_eq!(gate.status().limit, 6);
    // What is in use is not given back before it is closed.
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(second.get().await.unwrap());
    }
    let third = pool(&place, &url).await;
    let three = Budget::join(&third, "b", TOTAL, QUICK).await.unwrap();
    eventually("the first has given", Duration::from_secs(5), || async {
        one.share() == 4 && two.share() == 4 && three.share() == 2
    })
    .await;
    assert_eq!(second.held(), 6);
    tokio::time::sleep(QUICK.renew * 3).await;
    assert_eq!(three.share(), 2, "two are still in use elsewhere");
    held.clear();
    eventually("three", Duration::from_secs(5), || async { three.share() == 4 }).await;
    assert_eq!(gate.status().limit, 4);
    three.leave().await.unwrap();
    two.leave().await.unwrap();
    eventually("one again", Duration::from_secs(5), || async { one.share() == 10 }).await;
    assert_eq!(gate.status().limit, 8);
    // A lower total holds once the others have given back.
    let four = Budget::join(&third, "b", 4, QUICK).await.unwrap();
    eventually("a lower total", Duration::from_secs(5), || async {
        one.share() == 2 && four.share() == 2
    })
    .await;
}

#[tokio::test]
async fn more_processes_than_connections_leaves_some_without_and_their_workers_paused() {
    let place = Place::new().await;
    let url = crate::support::server();
    let mut members = Vec::new();
    for _ in 0..3 {
        let pool = pool(&place, &url).await;
        members.push((Budget::join(&pool, "b", 2, QUICK).await.unwrap(), pool));
    }
    eventually("two have one each", Duration::from_secs(5), || async {
        members.iter().map(|(budget, _)| budget.share()).collect::<Vec<_>>() == [1, 1, 0]
    })
    .await;
    let (_, empty) = &members[2];
    assert!(crate::support::is_throttled(&empty.get().await.unwrap_err()));
    let queue = MemoryQueue::new();
    for published in queue.publish(&vec![Outgoing::new("1"); 10]).await {
        published.unwrap();
    }
    let handler = |job: Job<u32, PgPool>| async move { job.state().begin().await.map(drop) };
    let worker =
        Worker::builder(queue.source()).state(empty.clone()).handler(handler).build().unwrap();
    let control = worker.control();
    empty.pause_when_empty(&control);
    let running = tokio::spawn(worker.run_until_drained());
    eventually("paused", Duration::from_secs(2), || async { control.status().paused }).await;
    members.remove(0).0.leave().await.unwrap();
    until_done(&queue).await;
    assert!(!control.status().paused);
    control.drain();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dead_process_gives_its_share_back_by_itself() {
    let place = Place::new().await;
    let url = crate::support::server();
    let (first, second) = (pool(&place, &url).await, pool(&place, &url).await);
    let one = Budget::join(&first, "b", TOTAL, QUICK).await.unwrap();
    eventually("alone", Duration::from_secs(5), || async { one.share() == 10 }).await;
    drop(one); // as far as the others can see, it has died
    assert_eq!(first.ceiling(), 0, "nobody uses a share that is not renewed");
    let two = Budget::join(&second, "b", TOTAL, QUICK).await.unwrap();
    assert!(two.share() <= 2);
    eventually("it has it all", QUICK.lease * 3, || async { two.share() == 10 }).await;
}

#[tokio::test]
async fn who_cannot_renew_stops_before_others_may_begin() {
    let place = Place::new().await;
    let proxy = FaultProxy::start(server_address()).unwrap();
    let cut_off = pool(&place, &server_through(&proxy)).await;
    let healthy = pool(&place, &crate::support::server()).await;
    let one = Budget::join(&cut_off, "b", 10, QUICK).await.unwrap();
    eventually("alone", Duration::from_secs(5), || async { one.share() == 10 }).await;
    proxy.half_open(true); // no error, no answer
    let two = Budget::join(&healthy, "b", 10, QUICK).await.unwrap();
    eventually("the other begins", QUICK.lease * 4, || async {
        let (mine, others) = (one.share(), two.share());
        assert!(mine + others <= 10, "{mine} + {others}");
        others > 0
    })
    .await;
    assert_eq!(one.share(), 0);
    proxy.half_open(false);
    eventually("both", Duration::from_secs(10), || async { one.share() == 5 && two.share() == 5 })
        .await;
}

/// What the members of the fleet may use at this moment, by their own account.
type Fleet = Arc<Mutex<Vec<PgPool>>>;

/// Watches both accounts without a pause: the leases in the database, and the ceilings in the processes.
async fn watch(place: &Place, fleet: &Fleet, over: &AtomicBool) -> (u64, u64) {
    let (mut looks, mut busiest) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let leased = place.number(SUM).await;
        assert!(leased <= i64::from(TOTAL), "{leased} leased of {TOTAL}");
        let look = || -> Vec<u32> { fleet.lock().unwrap().iter().map(PgPool::held).collect() };
        // Ceilings are read one after the other: only what two looks in a row agree on was so.
        let (first, second) = (look(), look());
        let used: u32 = second.iter().sum();
        assert!(first != second || used <= TOTAL, "{second:?} used of {TOTAL}");
        busiest = busiest.max(u64::from(used));
        looks += 1;
        tokio::task::yield_now().await;
    }
    (looks, busiest)
}

/// A process that joins, uses connections, and leaves or dies.
async fn live(place: &Place, fleet: &Fleet, seed: u64, over: &AtomicBool, deaths: &AtomicU64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !over.load(Ordering::Relaxed) {
        let pool = pool(place, &crate::support::server()).await;
        let budget = Budget::join(&pool, "b", TOTAL, QUICK).await.unwrap();
        fleet.lock().unwrap().push(pool.clone());
        let mut held: Vec<Connection> = Vec::new();
        for _ in 0..random.usize(10..60) {
            // Hungry: it mostly uses all that it may, and lets go slowly.
            match random.u8(0..8) {
                0..=3 => held.extend(pool.get().await),
                4 => drop(held.pop()),
                _ => tokio::time::sleep(Duration::from_millis(random.u64(0..100))).await,
            }
        }
        held.clear();
        // Few die: a dead one's share lies idle for a while, and the fleet is to be busy.
        if random.u8(0..4) > 0 {
            budget.leave().await.unwrap();
        } else {
            drop(budget);
            deaths.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(pool.ceiling(), 0);
        fleet.lock().unwrap().retain(|member| member.held() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_fits_at_every_instant() {
    let place = Place::new().await;
    let (fleet, over, deaths) = (Fleet::default(), AtomicBool::new(false), AtomicU64::new(0));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    drop(
        Budget::join(&pool(&place, &crate::support::server()).await, "b", TOTAL, QUICK)
            .await
            .unwrap(),
    );
    let members = futures_util::future::join_all(
        (0..5).map(|n| live(&place, &fleet, seed.wrapping_add(n), &over, &deaths)),
    );
    let watcher = watch(&place, &fleet, &over);
    let end = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        over.store(true, Ordering::Relaxed);
    };
    let (_, (looks, busiest), ()) = futures_util::future::join3(members, watcher, end).await;
    let deaths = deaths.load(Ordering::Relaxed);
    println!("{looks} looks, {busiest} of {TOTAL} in use at most, {deaths} deaths");
    assert!(looks > 500, "only {looks} looks");
    assert!(busiest >= u64::from(TOTAL) / 2, "never busy: {busiest}");
    assert!(deaths > 0);
}
