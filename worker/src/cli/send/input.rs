//! Where messages to send come from: arguments, a file, or standard input, line by line.
//!
//! Reading happens on a thread of its own, into a bounded channel, so that a slow producer on the
//! other end of a pipe costs nothing, and a huge file is never in memory.

use crate::json_path::JsonPath;
use forebay::{Bytes, Headers, Outgoing};
use serde_json::Value;
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    thread,
    time::Duration,
};
use tokio::sync::mpsc;

/// Lines that are read and not yet sent, at most.
const AHEAD: usize = 1024;

/// How a line becomes a message.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Any text, rather than JSON.
    pub(super) raw: bool,
    /// The key of every message.
    pub(super) key: Option<String>,
    /// Where in the payload the key is.
    pub(super) key_path: Option<JsonPath>,
    /// Where in the payload the identity is.
    pub(super) id_path: Option<JsonPath>,
    /// Headers of every message.
    pub(super) headers: Headers,
    /// Not to be handed out before.
    pub(super) delay: Option<Duration>,
}

impl Shape {
    /// The message of one line.
    ///
    /// # Errors
    /// A text that says what is wrong with the line.
    pub(super) fn message(&self, line: &[u8]) -> Result<Outgoing, String> {
        let json: Option<Value> = if self.raw {
            None
        } else {
            let json = serde_json::from_slice(line);
            Some(json.map_err(|error| format!("not JSON ({error}); --raw sends any text"))?)
        };
        let at = |path: &Option<JsonPath>, what: &str| match (path, &json) {
            (Some(path), Some(json)) => match path.find_text(json) {
                Some(text) => Ok(Some(text)),
                None => Err(format!("no text or number at {path}, where its {what} should be")),
            },
            _ => Ok(None),
        };
        let mut message = Outgoing::new(Bytes::copy_from_slice(line));
        message.key = at(&self.key_path, "key")?.or_else(|| self.key.clone()).map(Bytes::from);
        message.id = at(&self.id_path, "id")?.map(Into::into);
        message.headers = self.headers.clone();
        message.delay = self.delay;
        Ok(message)
    }
}

/// One line, with its number, counting from 1.
pub(super) type Line = (usize, io::Result<Vec<u8>>);

/// Lines from a reader, without the line breaks. With `blank`, also those with nothing on them.
fn read(reader: impl BufRead, blank: bool, lines: &mpsc::Sender<Line>) {
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = line.map(|mut line| {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            line
        });
        let is_blank = line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty());
        let failed = line.is_err();
        // Nobody receives any more when the command has ended.
        if (!is_blank || blank) && lines.blocking_send((index + 1, line)).is_err() || failed {
            return;
        }
    }
}

/// The lines of a file; `-` is standard input.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn file(path: &Path, blank: bool) -> io::Result<mpsc::Receiver<Line>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    if path.as_os_str() == "-" {
        thread::spawn(move || read(io::stdin().lock(), blank, &sender));
    } else {
        let reader = BufReader::new(File::open(path)?);
        thread::spawn(move || read(reader, blank, &sender));
    }
    Ok(receiver)
}

/// Payloads given as arguments.
pub(super) fn arguments(payloads: Vec<String>) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    thread::spawn(move || {
        for (index, payload) in payloads.into_iter().enumerate() {
            if sender.blocking_send((index + 1, Ok(payload.into_bytes()))).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, blank: bool) -> Vec<(usize, String)> {
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        read(text.as_bytes(), blank, &sender);
        drop(sender);
        let mut lines = Vec::new();
        while let Ok((number, line)) = receiver.try_recv() {
            lines.push((number, String::from_utf8(line.unwrap()).unwrap()));
        }
        lines
    }

    #[test]
    fn blank_lines_count_but_are_not_sent() {
        let expected = [(1, "a".to_owned()), (3, "b".to_owned())];
        assert_eq!(lines("a\r\n\nb", false), expected);
        assert_eq!(lines("a\n\nb\n", true).len(), 3);
        assert_eq!(lines("", true), []);
    }

    #[test]
    fn key_and_identity_come_from_the_payload() {
        let mut shape = Shape {
            raw: false,
            key: None,
            key_path: Some("$.customer".parse().unwrap()),
            id_path: Some("$.id".parse().unwrap()),
            headers: Headers::new(),
            delay: None,
        };
        let message = shape.message(br#"{"id": 7, "customer": "a"}"#).unwrap();
        assert_eq!(message.key.as_deref(), Some(b"a".as_slice()));
        assert_eq!(message.id, Some(7.into()));
        let error = shape.message(br#"{"id": 7}"#).unwrap_err();
        assert_eq!(error, "no text or number at $.customer, where its key should be");
        assert!(shape.message(b"hello").unwrap_err().contains("--raw"));
        shape.raw = true;
        assert_eq!(shape.message(b"hello").unwrap().payload, "hello");
    }
}
