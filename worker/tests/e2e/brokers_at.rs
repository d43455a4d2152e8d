//! Queues of a test's own at the real brokers, as tables for a config.
//!
//! Where the brokers are is said by the variables that `scripts/brokers env` prints; the defaults are
//! what it prints by default.

use std::{
    env,
    net::{TcpStream, ToSocketAddrs},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// A broker that listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    Kafka,
    Rabbitmq,
    Sqs,
}

impl Broker {
    /// Its name, as a config has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Rabbitmq => "rabbitmq",
            Self::Sqs => "sqs",
        }
    }

    /// Where it is. Fails the test, saying what to do, when nobody listens there.
    #[track_caller]
    pub(crate) fn address(self) -> String {
        let (variable, usual) = match self {
            Self::Kafka => ("FOREBAY_TEST_KAFKA", "127.0.0.1:29092"),
            Self::Rabbitmq => ("FOREBAY_TEST_AMQP", "amqp://guest:guest@127.0.0.1:25672/%2f"),
            Self::Sqs => ("FOREBAY_TEST_SQS", "http://127.0.0.1:29324"),
        };
        let address = env::var(variable).unwrap_or_else(|_| usual.to_owned());
        let host = address.split_once("://").map_or(&*address, |(_, rest)| rest);
        let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or(host);
        let mut hosts = host.to_socket_addrs().unwrap();
        assert!(
            hosts.any(|host| TcpStream::connect(host).is_ok()),
            "no {0} at {address}: start one by `scripts/brokers up {0}`, or say where it is in \
             {variable}",
            self.name()
        );
        address
    }

    /// The lines of its table for a queue of this name; they make what is missing.
    #[track_caller]
    pub(crate) fn keys(self, queue: &str) -> String {
        let at = self.address();
        match self {
            Self::Kafka => format!(
                "brokers = '{at}'\ntopic = '{queue}'\nretry_steps = ['50ms']\n\
                 create = {{ partitions = 3, replication = 1 }}\n"
            ),
            Self::Rabbitmq => {
                format!("url = '{at}'\nqueue = '{queue}'\ndelays = ['50ms', '1h']\n")
            }
            Self::Sqs => format!("endpoint = '{at}'\nqueue = '{queue}'\ntopology = 'create'\n"),
        }
    }
}

/// A name that no other test has, in this run or another.
pub(crate) fn fresh(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("e2e-{what}-{}-{next}-{now}", process::id())
}
