//! Values with a unit or a secret: how they are written in a config, and read.

use super::{document::Document, error::ConfigError};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, fs, path::PathBuf, time::Duration};

/// A duration: `"500ms"`, `"30s"`, `"5m"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    /// From milliseconds, for defaults.
    pub(crate) const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as \"500ms\", \"30s\" or \"5m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                duration(text).map(Span).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// Reads a duration, for the config and for the command line.
///
/// # Errors
/// A text that says what a duration looks like.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| {
        format!("`{text}` is no duration ({error}): write \"500ms\", \"30s\", \"5m\" or \"1h 30m\"")
    })
}

/// A number of bytes: `"1MiB"`, `"64KiB"`, `"10MB"`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes, such as \"64KiB\", \"1MiB\" or 4096")
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                usize::try_from(bytes).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                size(text).map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

fn size(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => Some(1),
        "KB" | "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<usize>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f));
    bytes.ok_or_else(|| format!("`{text}` is no size: write \"64KiB\", \"1MiB\" or \"10MB\""))
}

/// A value that is never shown: the text itself (usually `"${NAME}"`), or `{ file = "…" }`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// The value.
    Text(String),
    /// In this file; the line break at its end does not belong to it.
    File(PathBuf),
}

impl Secret {
    /// The value under `key`, read now: a file that is missing is an error at start, not at midnight.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn reveal(&self, key: &str, document: &Document<'_>) -> Result<String, ConfigError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(file) => {
                let file = document.resolve(file);
                let text = fs::read_to_string(&file).map_err(|error| {
                    document.error(key, format!("{} cannot be read: {error}", file.display()))
                })?;
                Ok(text.strip_suffix('\n').map_or(&*text, |t| t.trim_end_matches('\r')).to_owned())
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct InFile {
            file: PathBuf,
        }
        struct TextOrFile;
        impl<'de> Visitor<'de> for TextOrFile {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, such as \"${NAME}\", or { file = \"/run/secrets/name\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Text(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                InFile::deserialize(MapAccessDeserializer::new(map)).map(|it| Secret::File(it.file))
            }
        }
        deserializer.deserialize_any(TextOrFile)
    }
}

/// A URL without the password in it, if there is one.
pub(crate) fn masked_url(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host)))
    {
        Some((user, host)) => format!("{scheme}{user}:***@{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("1 MiB"), Ok(1 << 20));
        assert_eq!(size("10MB"), Ok(10_000_000));
        for wrong in ["", "MiB", "1.5MiB", "-1", "1Mb", "99999999999GiB"] {
            assert!(size(wrong).unwrap_err().contains("write"), "{wrong}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_says_how_to_write_it() {
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("30").unwrap_err().contains("\"30s\""));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::Text("hunter2".into())), "Secret(***)");
    }
}
