//! The fault proxy before an echo server: each fault is as sudden, and as exact, as it says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use forebay_conformance::proxy::{Direction, FaultProxy, Passed};
use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Long enough for anything that is to happen on loopback.
const SOON: Duration = Duration::from_secs(5);
/// How long to look for what must not happen.
const WHILE: Duration = Duration::from_millis(100);

/// An echo server that closes its side once the client has closed.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                // Ends by a reset in most of these tests.
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    address
}

async fn proxied() -> FaultProxy {
    FaultProxy::start(echo().await).unwrap()
}

async fn client(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// A client that the proxy has accepted: something has passed.
async fn live(proxy: &FaultProxy) -> TcpStream {
    let mut client = client(proxy).await;
    say(&mut client, b"hello").await;
    client
}

async fn hear(client: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut heard = vec![0; len];
    timeout(SOON, client.read_exact(&mut heard)).await.expect("nothing came back").unwrap();
    heard
}

async fn say(client: &mut TcpStream, words: &[u8]) {
    client.write_all(words).await.unwrap();
    assert_eq!(hear(client, words.len()).await, words);
}

/// All that comes until the connection is reset; fails if it is closed instead.
async fn hear_until_reset(client: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let end = timeout(SOON, client.read_to_end(&mut heard)).await.expect("the connection lives on");
    assert_eq!(end.expect_err("closed rather than reset").kind(), ErrorKind::ConnectionReset);
    heard
}

async fn hear_nothing(client: &mut TcpStream) {
    let heard = timeout(WHILE, client.read_u8()).await;
    assert!(heard.is_err(), "heard {heard:?}");
}

/// Waits until so many connections are live.
async fn until_connections(proxy: &FaultProxy, count: usize) {
    let started = Instant::now();
    while proxy.connections() != count {
        assert!(started.elapsed() < SOON, "still {} connections", proxy.connections());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn without_faults_everything_passes_both_ways_to_the_end() {
    let proxy = proxied().await;
    let mut client = client(&proxy).await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut read, mut write) = client.split();
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let (_, end) = tokio::join!(send, timeout(SOON, read.read_to_end(&mut heard)));
    end.expect("the end of the stream does not pass").unwrap();
    assert!(heard == sent);
    assert_eq!(proxy.passed(), Passed { to_upstream: 1_000_000, from_upstream: 1_000_000 });
    until_connections(&proxy, 0).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_cut_resets_what_is_live_and_nothing_else() {
    let proxy = proxied().await;
    let (mut one, mut two) = (live(&proxy).await, live(&proxy).await);
    assert_eq!(proxy.connections(), 2);
    proxy.cut();
    assert_eq!(proxy.connections(), 0);
    assert_eq!(hear_until_reset(&mut one).await, b"");
    assert_eq!(hear_until_reset(&mut two).await, b"");
    let mut again = live(&proxy).await;
    say(&mut again, b"still there").await;
    assert_eq!((proxy.connections(), proxy.accepted()), (1, 3));
}

#[tokio::test]
async fn a_cut_resets_the_side_of_the_broker_too() {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(broker.local_addr().unwrap()).unwrap();
    let mut client = client(&proxy).await;
    let (mut served, _) = timeout(SOON, broker.accept()).await.unwrap().unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(hear(&mut served, 1).await, b"x");
    proxy.cut();
    hear_until_reset(&mut served).await;
    hear_until_reset(&mut client).await;
}

#[tokio::test]
async fn a_reset_by_the_broker_reaches_the_client_as_a_reset() {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(broker.local_addr().unwrap()).unwrap();
    let mut client = client(&proxy).await;
    let (served, _) = timeout(SOON, broker.accept()).await.unwrap().unwrap();
    served.set_zero_linger().unwrap();
    drop(served);
    hear_until_reset(&mut client).await;
}

#[tokio::test]
async fn half_open_says_nothing_and_loses_nothing() {
    let proxy = proxied().await;
    let mut before = live(&proxy).await;
    proxy.half_open(true);
    let passed = proxy.passed();
    let mut during = client(&proxy).await;
    before.write_all(b"one").await.unwrap();
    during.write_all(b"two").await.unwrap();
    hear_nothing(&mut before).await;
    hear_nothing(&mut during).await;
    assert_eq!(proxy.passed(), passed);
    assert_eq!(proxy.connections(), 2);
    proxy.half_open(false);
    assert_eq!(hear(&mut before, 3).await, b"one");
    assert_eq!(hear(&mut during, 3).await, b"two");
}

#[tokio::test]
async fn half_open_holds_back_the_end_of_a_connection() {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(broker.local_addr().unwrap()).unwrap();
    let mut client = client(&proxy).await;
    let (mut served, _) = timeout(SOON, broker.accept()).await.unwrap().unwrap();
    proxy.half_open(true);
    served.write_all(b"bye").await.unwrap();
    drop(served);
    hear_nothing(&mut client).await;
    proxy.half_open(false);
    let mut heard = Vec::new();
    timeout(SOON, client.read_to_end(&mut heard)).await.expect("no end came").unwrap();
    assert_eq!(heard, b"bye");
}

#[tokio::test]
async fn what_is_half_open_can_be_cut() {
    let proxy = proxied().await;
    let mut before = live(&proxy).await;
    proxy.half_open(true);
    let mut during = client(&proxy).await;
    until_connections(&proxy, 2).await;
    before.write_all(b"lost").await.unwrap();
    proxy.cut();
    assert_eq!(hear_until_reset(&mut before).await, b"");
    assert_eq!(hear_until_reset(&mut during).await, b"");
}

#[tokio::test]
async fn a_delay_holds_each_way_and_keeps_the_throughput() {
    let proxy = proxied().await;
    let mut client = live(&proxy).await;
    proxy.delay(Duration::from_millis(60));
    let started = Instant::now();
    say(&mut client, b"there and back").await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(120), "took {took:?}");

    // 64 chunks, one after the other, would take 64 delays.
    let started = Instant::now();
    let words = vec![7; 1 << 20];
    let (mut read, mut write) = client.split();
    let mut heard = vec![0; words.len()];
    let (wrote, _) = tokio::join!(write.write_all(&words), read.read_exact(&mut heard));
    wrote.unwrap();
    assert!(heard == words);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "took {took:?}");

    proxy.delay(Duration::ZERO);
    let started = Instant::now();
    say(&mut client, b"quick").await;
    let took = started.elapsed();
    assert!(took < Duration::from_millis(60), "took {took:?}");
}

#[tokio::test]
async fn refusing_resets_the_live_and_the_new_until_it_is_over() {
    let proxy = proxied().await;
    let mut before = live(&proxy).await;
    proxy.refuse(true);
    hear_until_reset(&mut before).await;
    // The reset may already be there when `connect` looks.
    if let Ok(mut during) = TcpStream::connect(proxy.address()).await {
        hear_until_reset(&mut during).await;
    }
    assert_eq!((proxy.connections(), proxy.accepted()), (0, 1));
    proxy.refuse(false);
    live(&proxy).await;
}

#[tokio::test]
async fn a_reset_comes_after_exactly_so_many_bytes_to_upstream() {
    let proxy = proxied().await;
    let mut client = live(&proxy).await;
    let before = proxy.passed().to_upstream;
    proxy.reset_after(100_000, Direction::ToUpstream);
    say(&mut client, &[1; 60_000]).await;
    // May fail, when the reset is faster.
    drop(client.write_all(&[2; 60_000]).await);
    hear_until_reset(&mut client).await;
    assert_eq!(proxy.passed().to_upstream - before, 100_000);
    // Once only.
    let mut again = live(&proxy).await;
    say(&mut again, &[3; 200_000]).await;
}

#[tokio::test]
async fn a_reset_comes_after_exactly_so_many_bytes_from_upstream() {
    let proxy = proxied().await;
    proxy.reset_after(7, Direction::FromUpstream);
    let mut client = client(&proxy).await;
    client.write_all(b"hello world").await.unwrap();
    assert_eq!(hear_until_reset(&mut client).await, b"hello w");
    assert_eq!(proxy.passed(), Passed { to_upstream: 11, from_upstream: 7 });
}

#[tokio::test]
async fn a_reset_after_no_bytes_lets_none_pass() {
    let proxy = proxied().await;
    let mut client = live(&proxy).await;
    let before = proxy.passed();
    proxy.reset_after(0, Direction::ToUpstream);
    client.write_all(b"x").await.unwrap();
    hear_until_reset(&mut client).await;
    assert_eq!(proxy.passed(), before);
}

#[tokio::test]
async fn a_broker_that_is_away_resets_its_clients_until_it_is_back() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = port.local_addr().unwrap();
    drop(port);
    let proxy = FaultProxy::start(upstream).unwrap();
    if let Ok(mut early) = TcpStream::connect(proxy.address()).await {
        hear_until_reset(&mut early).await;
    }
    let broker = TcpListener::bind(upstream).await.unwrap();
    let mut client = client(&proxy).await;
    let (mut served, _) = timeout(SOON, broker.accept()).await.unwrap().unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(hear(&mut served, 1).await, b"x");
}

#[tokio::test]
async fn dropping_it_resets_what_is_live_and_frees_its_port() {
    let upstream = echo().await;
    let proxy = FaultProxy::start(upstream).unwrap();
    let address = proxy.address();
    let mut client = live(&proxy).await;
    drop(proxy);
    hear_until_reset(&mut client).await;
    assert!(TcpStream::connect(address).await.is_err());
    let again = FaultProxy::start_on(address, upstream).unwrap();
    assert_eq!(again.address(), address);
    live(&again).await;
}
