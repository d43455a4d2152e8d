//! A tiny HTTP server in front of the emulator that answers in its place when told to: with the errors
//! that AWS has and emulators do not. All else it passes on.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request, as far as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `ReceiveMessage`, …
    pub(crate) action: String,
    /// The time that it was signed with: `20251125T130000Z`.
    pub(crate) signed_at: String,
    pub(crate) body: String,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// It goes to the emulator.
    Pass,
    /// It goes to the emulator, and the answer is lost: the connection is closed.
    LoseAnswer,
    /// This error, by its code and text.
    Refuse(&'static str, &'static str),
    /// As [`Act::Refuse`], by a server whose clock shows this (an HTTP date).
    RefuseAt(&'static str, &'static str, String),
    /// This answer, as JSON.
    Answer(String),
}

type Rule = Box<dyn FnMut(&Request) -> Act + Send>;

/// The server.
pub(crate) struct Responder {
    pub(crate) address: SocketAddr,
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Responder {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| Act::Pass)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (rules, all) = (Arc::clone(&rule), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (rules, all) = (Arc::clone(&rules), Arc::clone(&all));
                tokio::spawn(async move { serve(client, upstream, &rules, &all).await });
            }
        });
        Self { address, rule, seen, task }
    }

    /// From now on, this decides.
    pub(crate) fn rule(&self, rule: impl FnMut(&Request) -> Act + Send + 'static) {
        *self.rule.lock().expect("no rule panics") = Box::new(rule);
    }

    /// The requests for an action so far.
    pub(crate) fn seen(&self, action: &str) -> Vec<Request> {
        let seen = self.seen.lock().expect("no rule panics");
        seen.iter().filter(|request| request.action == action).cloned().collect()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers the one request of a connection.
async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    rules: &Mutex<Rule>,
    seen: &Mutex<Vec<Request>>,
) -> Option<()> {
    let (head, body) = read_request(&mut client).await?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let action = header("x-amz-target")?.rsplit('.').next()?.to_owned();
    let signed_at = header("x-amz-date").unwrap_or_default().to_owned();
    let request = Request { action, signed_at, body: String::from_utf8_lossy(&body).into_owned() };
    seen.lock().ok()?.push(request.clone());
    let act = (rules.lock().ok()?)(&request);
    match act {
        Act::Pass => {
            let answer = ask(upstream, &head, &body).await?;
            client.write_all(&answer).await.ok()?;
        }
        Act::LoseAnswer => {
            ask(upstream, &head, &body).await?;
        }
        Act::Refuse(code, text) => {
            let status = match code {
                "InternalError" => "500 Internal Server Error",
                _ => "400 Bad Request",
            };
            client.write_all(&answer(status, code, "", &error(code, text))).await.ok()?;
        }
        Act::RefuseAt(code, text, at) => {
            let (text, at) = (error(code, text), format!("date: {at}\r\n"));
            client.write_all(&answer("403 Forbidden", code, &at, &text)).await.ok()?;
        }
        Act::Answer(body) => {
            client.write_all(&answer("200 OK", "", "", &body)).await.ok()?;
        }
    }
    client.shutdown().await.ok()
}

fn error(code: &str, text: &str) -> String {
    format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"{text}"}}"#)
}

fn answer(status: &str, code: &str, more: &str, body: &str) -> Vec<u8> {
    let query = if code.is_empty() {
        String::new()
    } else {
        format!("x-amzn-query-error: {code};Sender\r\n")
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n{query}{more}\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn read_request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let length: usize = length.unwrap_or(0);
    while bytes.len() < end + length {
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, bytes.split_off(end)))
}

/// Asks the emulator, on a connection for just this.
async fn ask(upstream: SocketAddr, head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await.ok()?;
    let head = head.trim_end_matches("\r\n");
    server.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.ok()?;
    server.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}
