//! What text SQS takes: in bodies and string attributes, as attribute names, and as the ids of groups
//! and deduplication.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// How long the id of a group, or of a deduplication, may be.
const LONGEST_ID: usize = 128;

/// The group of a key that cannot itself be a group's id begins so; the key is then in a header.
const KEY_GROUP: &str = "forebay.key.";
/// The group of a message without a key, which shares it with no other.
const LONE_GROUP: &str = "forebay.lone.";

/// The text that SQS will carry unchanged, if the bytes are that: UTF-8 of the characters that it
/// allows (tab, line feed, carriage return, and from U+0020 all but U+FFFE and U+FFFF), not empty.
pub(crate) fn plain(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())?;
    // A look at the bytes is enough, and quicker: all that is not allowed is below 0x20, or is
    // encoded as EF BF BE or EF BF BF.
    let control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    let none = !bytes.iter().any(|&byte| control(byte))
        && !bytes.windows(3).any(|three| matches!(three, [0xEF, 0xBF, 0xBE | 0xBF]));
    none.then_some(text)
}

/// Whether SQS takes an attribute of this name.
pub(crate) fn is_attribute_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.")
}

/// Whether SQS takes this as the id of a group or of a deduplication: letters, digits, punctuation.
fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The message group of a key: the key itself where it can be.
pub(crate) fn group_of(key: Option<&[u8]>) -> String {
    let Some(key) = key else { return format!("{LONE_GROUP}{}", unique()) };
    match std::str::from_utf8(key) {
        Ok(text) if is_id(text) && !text.starts_with("forebay.") => text.to_owned(),
        _ => within_limit(KEY_GROUP, key),
    }
}

/// The key that a message group stands for; `None` where it stands for none, or the key is in a
/// header.
pub(crate) fn key_of(group: &str) -> Option<&str> {
    (!group.starts_with(KEY_GROUP) && !group.starts_with(LONE_GROUP)).then_some(group)
}

/// A deduplication id that says which message this is.
pub(crate) fn dedup(text: &str) -> String {
    if is_id(text) { text.to_owned() } else { within_limit("forebay.id.", text.as_bytes()) }
}

/// Text that no other message has.
pub(crate) fn unique() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// The bytes as an id: readable back where there is room, else 128 bits of hash, so that two of them
/// are hardly ever one.
fn within_limit(prefix: &str, bytes: &[u8]) -> String {
    let encoded = URL_SAFE_NO_PAD.encode(bytes);
    if prefix.len() + encoded.len() <= LONGEST_ID {
        return format!("{prefix}{encoded}");
    }
    let hash = |salt: u8| BuildHasherDefault::<DefaultHasher>::default().hash_one((salt, bytes));
    format!("{prefix}.{:016x}{:016x}", hash(0), hash(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_that_sqs_allows_is_plain() {
        for text in ["a", "tab\tline\n\r", "ü €", "\u{D7FF}\u{E000}\u{FFFD}\u{10FFFF}", "\u{7f}"]
        {
            assert_eq!(plain(text.as_bytes()), Some(text));
        }
        for text in ["", "\0", "a\u{1b}", "\u{FFFE}", "x\u{FFFF}", "\u{1}"] {
            assert_eq!(plain(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(plain(&[0xff]), None);
    }

    #[test]
    fn attribute_names_follow_the_rules() {
        for name in ["a", "trace-parent", "x.y_z9"] {
            assert!(is_attribute_name(name), "{name}");
        }
        for name in ["", ".a", "a.", "a..b", "a b", "ü", "AWS.x", "amazon.y", &"n".repeat(257)] {
            assert!(!is_attribute_name(name), "{name}");
        }
    }

    #[test]
    fn a_group_is_the_key_where_it_can_be() {
        assert_eq!(group_of(Some(b"customer-1")), "customer-1");
        assert_eq!(key_of("customer-1"), Some("customer-1"));
        let long = "k".repeat(400);
        let odd: [&[u8]; 4] = [b"", b"\0\xff", long.as_bytes(), b"forebay.lone.x"];
        for key in odd {
            let group = group_of(Some(key));
            assert!(is_id(&group), "{group}");
            assert_eq!(group, group_of(Some(key)), "one key, one group");
            assert_eq!(key_of(&group), None);
        }
        assert_ne!(group_of(None), group_of(None));
        assert_eq!(key_of(&group_of(None)), None);
    }

    #[test]
    fn deduplication_ids_are_valid_and_tell_messages_apart() {
        assert_eq!(dedup("order-17"), "order-17");
        let (a, b) = (dedup(&"ü".repeat(200)), dedup(&format!("{}x", "ü".repeat(200))));
        assert!(is_id(&a) && is_id(&b) && a != b);
        assert!(is_id(&dedup("with space")) && is_id(&dedup("")));
    }
}
