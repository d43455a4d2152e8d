//! The few requests that no client library would send: bytes that are not text where text belongs.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A record with headers that may be anything.
pub(crate) struct Record {
    pub(crate) key: Option<&'static [u8]>,
    pub(crate) value: Option<&'static [u8]>,
    pub(crate) headers: &'static [(&'static [u8], Option<&'static [u8]>)],
}

/// Commits an offset of partition 0 with any bytes as its metadata (OffsetCommit, version 2), as a
/// group without members.
pub(crate) fn commit(brokers: &str, group: &str, topic: &str, offset: i64, metadata: &[u8]) {
    let mut body = Vec::new();
    string(&mut body, group.as_bytes());
    body.extend((-1i32).to_be_bytes()); // generation
    string(&mut body, b""); // member
    body.extend((-1i64).to_be_bytes()); // retention
    body.extend(1i32.to_be_bytes());
    string(&mut body, topic.as_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes()); // partition
    body.extend(offset.to_be_bytes());
    string(&mut body, metadata);
    let answer = ask(brokers, 8, 2, &body);
    assert_eq!(answer[answer.len() - 2..], [0, 0], "the commit was refused: {answer:?}");
}

/// Produces records into partition 0 (Produce, version 3).
pub(crate) fn produce(brokers: &str, topic: &str, records: &[Record]) {
    let batch = batch(records);
    let mut body = Vec::new();
    body.extend((-1i16).to_be_bytes()); // no transaction
    body.extend((-1i16).to_be_bytes()); // acks: all
    body.extend(5000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    string(&mut body, topic.as_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes()); // partition
    body.extend((batch.len() as i32).to_be_bytes());
    body.extend(batch);
    let answer = ask(brokers, 0, 3, &body);
    // Correlation, topics, name, partitions, partition: then the error.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "the records were refused: {answer:?}");
}

fn ask(brokers: &str, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let address = brokers.split(',').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(1i32.to_be_bytes()); // correlation
    string(&mut request, b"test");
    request.extend(body);
    stream.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
    stream.write_all(&request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as i16).to_be_bytes());
    out.extend(bytes);
}

/// A record batch, version 2.
fn batch(records: &[Record]) -> Vec<u8> {
    let count = records.len() as i32;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = (now.as_millis() as i64).to_be_bytes();
    let mut rest = Vec::new(); // all that the checksum covers
    rest.extend(0i16.to_be_bytes()); // attributes
    rest.extend((count - 1).to_be_bytes()); // last offset
    rest.extend(now);
    rest.extend(now);
    rest.extend((-1i64).to_be_bytes()); // producer
    rest.extend((-1i16).to_be_bytes());
    rest.extend((-1i32).to_be_bytes());
    rest.extend(count.to_be_bytes());
    for (i, record) in records.iter().enumerate() {
        let mut one = vec![0]; // attributes
        varint(&mut one, 0); // time
        varint(&mut one, i as i64); // offset
        bytes(&mut one, record.key);
        bytes(&mut one, record.value);
        varint(&mut one, record.headers.len() as i64);
        for (name, value) in record.headers {
            bytes(&mut one, Some(name));
            bytes(&mut one, *value);
        }
        varint(&mut rest, one.len() as i64);
        rest.extend(one);
    }
    let mut batch = Vec::new();
    batch.extend(0i64.to_be_bytes()); // offset
    batch.extend((rest.len() as i32 + 4 + 1 + 4).to_be_bytes());
    batch.extend((-1i32).to_be_bytes()); // leader epoch
    batch.push(2);
    batch.extend(crc32c(&rest).to_be_bytes());
    batch.extend(rest);
    batch
}

fn bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend(bytes.unwrap_or_default());
}

/// Zigzag, then seven bits at a time.
fn varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
