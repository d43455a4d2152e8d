//! A small HTTP server that answers as a test tells it to, and remembers what it was asked; with
//! TLS, if told so.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

/// Status, further headers, body.
pub(crate) type Answer = (u16, &'static str, String);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request by `answer`, which also gets how many came before it.
    pub(crate) fn start(
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(None, answer)
    }

    /// As [`Server::start`], and speaks TLS.
    pub(crate) fn start_tls(
        tls: ServerConfig,
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(Some(Arc::new(tls)), answer)
    }

    fn start_as(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        // Ends with the process: it is the test's.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer, tls) = (seen.clone(), answer.clone(), tls.clone());
                let stream = stream.unwrap();
                thread::spawn(move || match tls {
                    None => serve(stream, &seen, &*answer),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(connection, stream), &seen, &*answer);
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: impl Read + Write,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request, usize) -> Answer + Send + Sync),
) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: BTreeMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let method = lines[0].split(' ').next().unwrap().to_owned();
    let body = String::from_utf8(body).unwrap();
    let request = Request { method, headers, body, at: Instant::now() };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let (status, more, body) = answer(&request, before);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n"
    );
    // The worker may have hung up, which is part of some tests.
    let stream = reader.get_mut();
    let _ = stream.write_all((head + &body).as_bytes()).and_then(|()| stream.flush());
}
