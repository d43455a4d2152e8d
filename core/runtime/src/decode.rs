//! From a message's bytes to what a handler wants to see.

use bytes::Bytes;
use forebay_contract::{BoxError, Message};
use serde::de::DeserializeOwned;

/// Why a payload could not be decoded. The message becomes a dead letter at once: no retry will
/// change its bytes.
#[derive(Debug, thiserror::Error)]
#[error("the payload is not {expected}: {source}")]
pub struct DecodeError {
    expected: &'static str,
    source: BoxError,
}

impl DecodeError {
    /// It is not `expected` (say, "JSON"), because of `source`.
    pub fn new(expected: &'static str, source: impl Into<BoxError>) -> Self {
        Self { expected, source: source.into() }
    }
}

/// How payloads become values of type `T`.
///
/// ```
/// use forebay::{Decode, DecodeError, Message};
///
/// struct Utf8;
/// impl Decode<String> for Utf8 {
///     fn decode(&self, message: &Message) -> Result<String, DecodeError> {
///         String::from_utf8(message.payload.to_vec()).map_err(|e| DecodeError::new("UTF-8", e))
///     }
/// }
/// assert_eq!(Utf8.decode(&Message::new(1, "hello")).unwrap(), "hello");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot decode a payload into `{T}`",
    note = "with the default, `Json`, the payload type must implement `serde::Deserialize`",
    note = "for the raw bytes, take `Job<Bytes>` and build the worker with `.decode(Raw)`"
)]
pub trait Decode<T>: Send + Sync + 'static {
    /// Decodes one message's payload; its headers may say how.
    ///
    /// # Errors
    /// When the payload is not what it should be.
    fn decode(&self, message: &Message) -> Result<T, DecodeError>;
}

/// JSON, by serde: the default. Errors name the path to the field.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, message: &Message) -> Result<T, DecodeError> {
        let mut json = serde_json::Deserializer::from_slice(&message.payload);
        let value = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| DecodeError::new("the JSON expected", error))?;
        json.end().map_err(|error| DecodeError::new("the JSON expected", error))?;
        Ok(value)
    }
}

/// The payload as it is, without a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Decode<Bytes> for Raw {
    fn decode(&self, message: &Message) -> Result<Bytes, DecodeError> {
        Ok(message.payload.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Order {
        #[allow(dead_code, reason = "only decoded")]
        amount: u32,
    }

    #[test]
    fn a_json_error_names_the_field() {
        let decode = |text: &'static str| {
            Decode::<Order>::decode(&Json, &Message::new(1, text)).map_err(|e| e.to_string())
        };
        assert!(decode(r#"{"amount": 3}"#).is_ok());
        let error = decode(r#"{"amount": -3}"#).unwrap_err();
        assert!(error.contains("amount"), "{error}");
        assert!(decode(r#"{"amount": 3} trailing"#).is_err());
        assert!(decode("").is_err());
    }
}
