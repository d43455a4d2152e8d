//! Headers as one column: for each, the length of name and value (32 bits, little endian), then
//! both. No headers are no bytes: the column is NULL.

use bytes::Bytes;
use forebay_contract::Headers;

/// Writes headers. A name or value beyond 4 GiB cannot come here: the row would be refused first.
pub(crate) fn encode(headers: &Headers) -> Option<Vec<u8>> {
    if headers.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(headers.size() + headers.len() * 8);
    for (name, value) in headers.iter() {
        for part in [name.as_bytes(), value] {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    }
    Some(out)
}

/// Reads headers; `None` where the bytes are not what [`encode`] wrote.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    while !bytes.is_empty() {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value) as usize)?;
        headers.append(std::str::from_utf8(name).ok()?, Bytes::copy_from_slice(value));
        bytes = rest;
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_being_written_and_read() {
        let mut headers: Headers = [("a", "1"), ("b", "")].into_iter().collect();
        headers.append("a", vec![0_u8, 255]);
        let bytes = encode(&headers).unwrap();
        assert_eq!(decode(&bytes), Some(headers));
        assert_eq!(encode(&Headers::new()), None);
    }

    #[test]
    fn cut_bytes_are_not_taken_for_headers() {
        let bytes = encode(&[("name", "value")].into_iter().collect()).unwrap();
        for cut in 1..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None);
        }
    }
}
