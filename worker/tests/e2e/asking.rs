//! Asking a worker's admin port, as a program without a library would.

use crate::bench::{Bench, wait_until};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Where an admin port is, and how it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) headers: String,
}

impl Port {
    /// The port that a process has opened, as its log in `file` says.
    #[track_caller]
    pub(crate) fn of(bench: &Bench, file: &str) -> Self {
        let mut address = None;
        wait_until("the admin port is open", || {
            let log = bench.read(file);
            let line = log.lines().find(|line| line.contains("admin port open"));
            address = line.and_then(|line| line.rsplit_once("address=")?.1.trim().parse().ok());
            address.is_some()
        });
        Self { address: address.unwrap(), headers: String::new() }
    }

    /// The same port, asked by way of loopback.
    pub(crate) fn at_loopback(&self) -> Self {
        let address = ([127, 0, 0, 1], self.address.port()).into();
        Self { address, ..self.clone() }
    }

    /// Asks with one more header.
    pub(crate) fn with(&self, header: &str) -> Self {
        Self { headers: format!("{}{header}\r\n", self.headers), ..self.clone() }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path)
    }

    /// Asks, with a `Host` of its own unless one is among the headers.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str) -> Reply {
        let reply = self.try_to(method, path);
        reply.unwrap_or_else(|error| panic!("{method} {path} at {}: {error}", self.address))
    }

    fn try_to(&self, method: &str, path: &str) -> std::io::Result<Reply> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let host = match self.headers.to_lowercase().contains("host:") {
            true => String::new(),
            false => format!("host: {}\r\n", self.address),
        };
        let request =
            format!("{method} {path} HTTP/1.1\r\n{host}connection: close\r\n{}\r\n", self.headers);
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Reply { status: status.unwrap_or(0), head: head.to_lowercase(), body: body.to_owned() })
    }

    /// `/scale`.
    #[track_caller]
    pub(crate) fn scale(&self) -> Value {
        let reply = self.get("/scale");
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_str(&reply.body).unwrap()
    }

    /// Whether a probe says yes.
    #[track_caller]
    pub(crate) fn is(&self, probe: &str) -> bool {
        self.get(&format!("/health/{probe}")).status == 200
    }
}
