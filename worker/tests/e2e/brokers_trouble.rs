//! What the admin port says when its broker is away: soon, and why. A restart would not help, and jobs go
//! on when it is back.

use crate::{
    asking::Port,
    bench::{Bench, Worker, wait_until},
    brokers_at::{Broker, fresh},
    trouble::soon,
};
use forebay_conformance::proxy::FaultProxy;
use std::{
    env,
    net::{SocketAddr, ToSocketAddrs},
};

/// A worker whose broker is behind the proxy, at work.
fn behind(proxy: &FaultProxy, broker: Broker, host: &str) -> (Bench, Worker, Port) {
    let (bench, queue) = (Bench::new(), fresh("trouble"));
    let keys = broker.keys(&queue).replace(host, &proxy.address().to_string());
    let config = format!(
        "[source.{}]\n{keys}[handler.stdout]\n[admin]\nlisten = '127.0.0.1:0'\n",
        broker.name()
    );
    bench.write("w.toml", &config);
    bench.send(&["before"]);
    let worker = bench.run();
    let port = Port::of(&bench, "run.err");
    wait_until("it works", || bench.read("run.out") == "before\n");
    (bench, worker, port)
}

/// The host and port in a broker's address.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn resolved(host: &str) -> SocketAddr {
    host.to_socket_addrs().unwrap().next().unwrap()
}

/// Switches a fault on or off.
type Switch = fn(&FaultProxy, bool);

#[track_caller]
#[expect(clippy::print_stdout, reason = "a test's figures")]
fn a_broker_that_goes_is_missed(proxy: &FaultProxy, broker: Broker, host: &str) {
    let (bench, worker, port) = behind(proxy, broker, host);
    soon(&port, true);
    let faults: [(&str, Switch); 2] =
        [("refuses", FaultProxy::refuse), ("says nothing", FaultProxy::half_open)];
    for (fault, switch) in faults {
        println!("{} {fault}", broker.name());
        switch(proxy, true);
        soon(&port, false);
        assert!(port.is("live"), "a restart would not help");
        let ready = port.get("/health/ready").body;
        assert!(ready.lines().count() > 1, "it is not said why: {ready}");
        switch(proxy, false);
        soon(&port, true);
        assert!(port.scale()["trouble"].is_null());
        bench.send(&[fault]);
        // What was not settled when the broker went may come again.
        wait_until("jobs go on", || bench.read("run.out").lines().any(|line| line == fault));
    }
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn rabbitmq_that_goes_is_missed() {
    let address = Broker::Rabbitmq.address();
    let proxy = FaultProxy::start(resolved(host(&address))).unwrap();
    a_broker_that_goes_is_missed(&proxy, Broker::Rabbitmq, host(&address));
}

#[test]
fn sqs_that_goes_is_missed() {
    let address = Broker::Sqs.address();
    let proxy = FaultProxy::start(resolved(host(&address))).unwrap();
    a_broker_that_goes_is_missed(&proxy, Broker::Sqs, host(&address));
}

#[test]
fn kafka_that_goes_is_missed() {
    // A broker of Kafka tells its clients where to come back to, which is the proxy's one port.
    let at = |name: &str, usual: &str| env::var(name).unwrap_or_else(|_| usual.to_owned());
    let listen = resolved(&at("FOREBAY_TEST_KAFKA_PROXY", "127.0.0.1:29096"));
    let upstream = resolved(&at("FOREBAY_TEST_KAFKA_BEHIND", "127.0.0.1:29095"));
    let proxy = FaultProxy::start_on(listen, upstream).expect("the proxy's port is free");
    a_broker_that_goes_is_missed(&proxy, Broker::Kafka, &Broker::Kafka.address());
}
