//! How a message is written into SQS's terms and read back, bit by bit.
//!
//! SQS carries text of certain characters, at most ten attributes with valid names that are not empty,
//! and no order among them. What fits goes as it is, so that others can read it: text as the body, a
//! header as an attribute. What does not fit goes into one attribute of ours:
//!
//! ```json
//! {"v":1,"body":"base64","order":["h","g","h"],"packed":[["h","Binary","AP8="],["h","String","Mw=="]]}
//! ```
//!
//! | field    | there when | what |
//! |----------|------------|------|
//! | `body`   | the payload is empty or not text that SQS takes | `base64`, or `empty` |
//! | `order`  | the names of the producer's headers are not in the order of the alphabet | all of them, in their order |
//! | `packed` | a header has an invalid name, no value, or a name that repeats; all of the producer's, where there would be more than ten attributes | name, type, and value as base64 |
//!
//! An attribute's type is kept where it says more than text or bytes (`Number`, `Binary.png`).

use crate::text::{is_attribute_name, plain};
use aws_sdk_sqs::{primitives::Blob, types::MessageAttributeValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use forebay_contract::Headers;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The attribute that holds what SQS has no place for.
pub(crate) const FOREBAY_SQS: &str = "forebay-sqs";

/// How many attributes SQS takes.
const MOST_ATTRIBUTES: usize = 10;

const VERSION: u32 = 1;
const BASE64: &str = "base64";
const EMPTY: &str = "empty";

/// Types of attributes that say more than their values do, by name.
pub(crate) type Types = HashMap<String, String>;

/// The attributes of a message.
pub(crate) type Attributes = HashMap<String, MessageAttributeValue>;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Rest {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    order: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packed: Vec<(String, String, String)>,
}

impl Rest {
    fn is_needed(&self) -> bool {
        self.body.is_some() || !self.order.is_empty() || !self.packed.is_empty()
    }
}

/// A message in SQS's terms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) body: String,
    pub(crate) attributes: Attributes,
    /// Bytes that count against SQS's limit: the body, and each attribute's name, type and value.
    pub(crate) size: usize,
}

/// Writes a message: its payload, the producer's headers, and ours.
pub(crate) fn encode(
    payload: &Bytes,
    headers: &Headers,
    types: Option<&Types>,
    ours: &[(&'static str, Bytes)],
) -> Encoded {
    let mut rest = Rest { v: VERSION, ..Rest::default() };
    let body = match plain(payload) {
        Some(text) => text.to_owned(),
        None if payload.is_empty() => {
            rest.body = Some(EMPTY.into());
            EMPTY.into()
        }
        None => {
            rest.body = Some(BASE64.into());
            STANDARD.encode(payload)
        }
    };
    let mut attributes = Attributes::with_capacity(ours.len() + headers.len());
    for (name, value) in ours {
        put(name, value, None, &mut attributes, &mut rest);
    }
    let all_packed = pack_all(headers, attributes.len(), rest.is_needed());
    for (name, value) in headers.iter() {
        let data_type = types.and_then(|types| types.get(name)).map(String::as_str);
        if all_packed {
            pack(name, value, data_type, &mut rest);
        } else {
            put(name, value, data_type, &mut attributes, &mut rest);
        }
    }
    if !headers.iter().map(|(name, _)| name).is_sorted() || is_repeating(headers) {
        rest.order = headers.iter().map(|(name, _)| name.to_owned()).collect();
    }
    if rest.is_needed() {
        let text = serde_json::to_string(&rest).unwrap_or_default();
        attributes.insert(FOREBAY_SQS.into(), attribute(text.as_bytes(), None));
    }
    let size = body.len() + attributes.iter().map(|(name, value)| cost(name, value)).sum::<usize>();
    Encoded { body, attributes, size }
}

/// Whether the producer's headers must all be packed, or there would be too many attributes.
fn pack_all(headers: &Headers, ours: usize, has_rest: bool) -> bool {
    let fits = |(name, value): &(&str, &Bytes)| is_attribute_name(name) && !value.is_empty();
    let native = headers.iter().filter(fits).map(|(name, _)| name).collect::<HashSet<_>>().len();
    let rest =
        has_rest || native < headers.len() || !headers.iter().map(|(name, _)| name).is_sorted();
    ours + native + usize::from(rest) > MOST_ATTRIBUTES
}

fn is_repeating(headers: &Headers) -> bool {
    let mut seen = HashSet::new();
    !headers.iter().all(|(name, _)| seen.insert(name))
}

/// As an attribute where it can be one, else packed.
fn put(
    name: &str,
    value: &Bytes,
    data_type: Option<&str>,
    attributes: &mut Attributes,
    rest: &mut Rest,
) {
    // A name that repeats is an attribute once at most, and then its first: so it is read back.
    let repeats =
        attributes.contains_key(name) || rest.packed.iter().any(|(packed, ..)| packed == name);
    if value.is_empty() || !is_attribute_name(name) || repeats {
        pack(name, value, data_type, rest);
    } else {
        attributes.insert(name.to_owned(), attribute(value, data_type));
    }
}

fn pack(name: &str, value: &Bytes, data_type: Option<&str>, rest: &mut Rest) {
    let data_type = data_type.unwrap_or_else(|| natural_type(value));
    rest.packed.push((name.to_owned(), data_type.to_owned(), STANDARD.encode(value)));
}

/// The type of a value that says nothing more.
fn natural_type(value: &[u8]) -> &'static str {
    if plain(value).is_some() { "String" } else { "Binary" }
}

fn attribute(value: &[u8], data_type: Option<&str>) -> MessageAttributeValue {
    let data_type = data_type.unwrap_or_else(|| natural_type(value));
    let builder = MessageAttributeValue::builder().data_type(data_type);
    let builder = match plain(value) {
        Some(text) if !data_type.starts_with("Binary") => builder.string_value(text),
        _ => builder.binary_value(Blob::new(value)),
    };
    builder.build().expect("an attribute with a type can be built")
}

/// What an attribute counts against SQS's limit.
fn cost(name: &str, value: &MessageAttributeValue) -> usize {
    let text = value.string_value.as_ref().map_or(0, String::len);
    let binary = value.binary_value.as_ref().map_or(0, |blob| blob.as_ref().len());
    name.len() + value.data_type.len() + text + binary
}

/// What a message that SQS handed out says.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) payload: Bytes,
    /// All headers, ours among them.
    pub(crate) headers: Vec<(String, Bytes)>,
    pub(crate) types: Option<Types>,
    /// What of it could not be read, and is as it came.
    pub(crate) fault: Option<String>,
}

/// Reads a message. What cannot be read is left as it came: the handler sees it, not the void.
pub(crate) fn decode(body: String, attributes: Option<Attributes>) -> Decoded {
    let Some(mut attributes) = attributes.filter(|attributes| !attributes.is_empty()) else {
        return Decoded { payload: Bytes::from(body), ..Decoded::default() };
    };
    let mut decoded = Decoded::default();
    let rest = match attributes.get(FOREBAY_SQS).map(read_rest) {
        Some(Ok(rest)) => {
            attributes.remove(FOREBAY_SQS);
            rest
        }
        Some(Err(why)) => {
            decoded.fault = Some(format!("its attribute `{FOREBAY_SQS}` cannot be read: {why}"));
            Rest::default()
        }
        None => Rest::default(),
    };
    decoded.payload = match rest.body.as_deref() {
        None => Bytes::from(body),
        Some(EMPTY) => Bytes::new(),
        Some(BASE64) => match STANDARD.decode(&body) {
            Ok(payload) => Bytes::from(payload),
            Err(error) => {
                decoded.fault = Some(format!("its body is marked as base64, and is not: {error}"));
                Bytes::from(body)
            }
        },
        Some(other) => {
            decoded.fault = Some(format!("its body is encoded as `{other}`: update this worker"));
            Bytes::from(body)
        }
    };
    decoded.headers = in_order(rest, attributes, &mut decoded.types);
    decoded
}

fn read_rest(value: &MessageAttributeValue) -> Result<Rest, String> {
    let text = value.string_value().ok_or("it is not text")?;
    let rest: Rest = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if rest.v > VERSION {
        return Err(format!("version {}: update this worker", rest.v));
    }
    Ok(rest)
}

/// All headers: those in the order that was noted, then the others by name.
fn in_order(
    rest: Rest,
    mut attributes: Attributes,
    types: &mut Option<Types>,
) -> Vec<(String, Bytes)> {
    let mut headers = Vec::with_capacity(attributes.len() + rest.packed.len());
    let mut packed: HashMap<String, Vec<(String, Bytes)>> = HashMap::new();
    for (name, data_type, value) in rest.packed {
        let value = STANDARD.decode(&value).map_or_else(|_| Bytes::from(value), Bytes::from);
        packed.entry(name).or_default().push((data_type, value));
    }
    let mut note = |name: &str, data_type: String, value: &[u8]| {
        if data_type != natural_type(value) && !value.is_empty() {
            types.get_or_insert_default().insert(name.to_owned(), data_type);
        }
    };
    let native = |value: MessageAttributeValue| {
        let bytes = match (value.string_value, value.binary_value) {
            (Some(text), _) => Bytes::from(text),
            (None, Some(blob)) => Bytes::from(blob.into_inner()),
            (None, None) => Bytes::new(),
        };
        (value.data_type, bytes)
    };
    for name in rest.order {
        // The first of a name that repeats is the attribute, if there is one.
        let found = match attributes.remove(&name) {
            Some(value) => Some(native(value)),
            None => {
                packed.get_mut(&name).filter(|list| !list.is_empty()).map(|list| list.remove(0))
            }
        };
        if let Some((data_type, value)) = found {
            note(&name, data_type, &value);
            headers.push((name, value));
        }
    }
    let mut others: Vec<_> = attributes.into_iter().map(|(name, v)| (name, native(v))).collect();
    others.extend(
        packed
            .into_iter()
            .flat_map(|(name, list)| list.into_iter().map(move |v| (name.clone(), v))),
    );
    others.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, (data_type, value)) in others {
        note(&name, data_type, &value);
        headers.push((name, value));
    }
    headers
}

#[cfg(test)]
mod tests;
