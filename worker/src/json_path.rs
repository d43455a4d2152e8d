//! Where in a JSON value something is: `$.customer.id`, `$.items[0]`, `$`.
//!
//! Just members and indices, the part of JSON paths that names one place: a path that could match
//! several would need a rule for which one is bound.

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, fmt, str::FromStr};

/// A path to one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Index(usize),
}

impl JsonPath {
    /// The value at this path, if there is one.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(value, |value, step| match step {
            Step::Member(name) => value.get(name),
            Step::Index(index) => value.get(index),
        })
    }

    /// The value at this path, as it was written, without making a tree of the rest. Of members with
    /// the same name it is the last, as everywhere.
    #[cfg_attr(
        not(any(feature = "embedded", feature = "postgres")),
        allow(dead_code, reason = "only what binds statements needs it")
    )]
    pub(crate) fn find_raw<'v>(&self, value: &'v RawValue) -> Option<&'v RawValue> {
        self.steps.iter().try_fold(value, |value, step| {
            // What is no object, or no array, has nothing at this step.
            step.deserialize(&mut serde_json::Deserializer::from_str(value.get())).ok().flatten()
        })
    }

    /// The text at this path: a string without its quotes, a number or boolean as it is written.
    pub(crate) fn find_text(&self, value: &Value) -> Option<String> {
        match self.find(value)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(bool) => Some(bool.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl<'v> DeserializeSeed<'v> for &Step {
    type Value = Option<&'v RawValue>;

    fn deserialize<D: Deserializer<'v>>(self, value: D) -> Result<Self::Value, D::Error> {
        match self {
            Step::Member(_) => value.deserialize_map(self),
            Step::Index(_) => value.deserialize_seq(self),
        }
    }
}

impl<'v> Visitor<'v> for &Step {
    type Value = Option<&'v RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'v>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Step::Member(wanted) = self else { return Ok(None) };
        let mut found = None;
        while let Some(name) = members.next_key::<Name<'v>>()? {
            if name.0 == *wanted {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'v>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let Step::Index(wanted) = self else { return Ok(None) };
        let (mut found, mut index) = (None, 0);
        while let Some(element) = elements.next_element()? {
            if index == *wanted {
                found = Some(element);
            }
            index += 1;
        }
        Ok(found)
    }
}

/// A member's name, copied only where it has escapes.
#[derive(Deserialize)]
struct Name<'v>(#[serde(borrow)] Cow<'v, str>);

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for JsonPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no path: write `$.customer.id`, `$.items[0]`, or `$` for the whole"
            )
        };
        let mut rest = text.strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                if name.is_empty() {
                    return Err(wrong());
                }
                steps.push(Step::Member(name.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (index, after) = after.split_once(']').ok_or_else(wrong)?;
                steps.push(Step::Index(index.parse().map_err(|_| wrong())?));
                rest = after;
            } else {
                return Err(wrong());
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn find(path: &str, value: &Value) -> Option<Value> {
        path.parse::<JsonPath>().unwrap().find(value).cloned()
    }

    #[test]
    fn members_and_indices_are_followed() {
        let value = json!({"a": {"b": [1, {"c-d": "x"}]}});
        assert_eq!(find("$", &value), Some(value.clone()));
        assert_eq!(find("$.a.b[0]", &value), Some(json!(1)));
        assert_eq!(find("$.a.b[1].c-d", &value), Some(json!("x")));
        assert_eq!(find("$.a.b[2]", &value), None);
        assert_eq!(find("$.a[0]", &value), None);
        assert_eq!(find("$.x.y", &value), None);
    }

    #[test]
    fn what_is_found_is_as_it_was_written() {
        let text = r#"{"n": 0.1234567890123456789, "a\u0062": [1, { "x" : 1e400 }], "n": 12.50}"#;
        let value: &RawValue = serde_json::from_str(text).unwrap();
        let raw = |path: &str| path.parse::<JsonPath>().unwrap().find_raw(value).map(RawValue::get);
        assert_eq!(raw("$.n"), Some("12.50"), "the last one");
        assert_eq!(raw("$.ab[1]"), Some(r#"{ "x" : 1e400 }"#));
        assert_eq!(raw("$.ab[1].x"), Some("1e400"));
        assert_eq!(raw("$"), Some(text));
        for nowhere in ["$.ab[2]", "$.ab.x", "$[0]", "$.n.x", "$.x"] {
            assert_eq!(raw(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn text_is_what_a_key_can_be_made_of() {
        let value = json!({"n": 7, "s": "x", "o": {}, "z": null});
        let text = |path: &str| path.parse::<JsonPath>().unwrap().find_text(&value);
        assert_eq!(text("$.n").as_deref(), Some("7"));
        assert_eq!(text("$.s").as_deref(), Some("x"));
        assert_eq!(text("$.o"), None);
        assert_eq!(text("$.z"), None);
    }

    #[test]
    fn what_is_no_path_says_what_one_looks_like() {
        for wrong in ["", "a", "$a", "$.", "$..a", "$.a[", "$.a[x]", "$.a[-1]", "$.a[0]b"] {
            assert!(wrong.parse::<JsonPath>().unwrap_err().contains("$.customer.id"), "{wrong}");
        }
    }
}
