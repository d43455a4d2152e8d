//! What is written is read back, whatever it is.

use super::*;
use proptest::prelude::*;

fn headers(pairs: &[(&str, &[u8])]) -> Headers {
    pairs.iter().map(|(name, value)| (*name, Bytes::copy_from_slice(value))).collect()
}

fn read_back(encoded: Encoded) -> (Bytes, Headers, Option<Types>) {
    let decoded = decode(encoded.body, Some(encoded.attributes));
    assert_eq!(decoded.fault, None);
    (decoded.payload, decoded.headers.into_iter().collect(), decoded.types)
}

#[test]
fn text_and_valid_headers_go_as_they_are() {
    let headers = headers(&[("a", b"1"), ("b", &[0, 255])]);
    let encoded = encode(&Bytes::from_static(b"{\"id\":1}"), &headers, None, &[]);
    assert_eq!(encoded.body, "{\"id\":1}");
    assert_eq!(encoded.attributes["a"].string_value(), Some("1"));
    assert_eq!(encoded.attributes["b"].data_type(), "Binary");
    assert_eq!(encoded.attributes.len(), 2);
    // Body, names, types and values.
    assert_eq!(encoded.size, 8 + (1 + 6 + 1) + (1 + 6 + 2));
}

#[test]
fn more_than_ten_attributes_are_packed_into_one() {
    let names: Vec<_> = (0..10).map(|n| format!("h{n}")).collect();
    let ten: Headers = names.iter().map(|name| (name.as_str(), "v")).collect();
    let ours = [("forebay-id", Bytes::from_static(b"m-1"))];
    assert_eq!(encode(&Bytes::from_static(b"x"), &ten, None, &[]).attributes.len(), 10);
    let encoded = encode(&Bytes::from_static(b"x"), &ten, None, &ours);
    assert_eq!(encoded.attributes.len(), 2);
    assert!(encoded.attributes.contains_key("forebay-id"), "ours stay readable");
    let (_, mut back, _) = read_back(encoded);
    back.remove("forebay-id");
    assert_eq!(back, ten);
}

#[test]
fn types_that_say_more_survive() {
    let types: Types = [("n", "Number"), ("p", "Binary.png"), ("t", "Binary")]
        .map(|(name, data_type)| (name.to_owned(), data_type.to_owned()))
        .into();
    let headers = headers(&[("n", b"5"), ("p", &[1]), ("t", b"text")]);
    let payload = Bytes::from_static(b"x");
    let encoded = encode(&payload, &headers, Some(&types), &[]);
    assert_eq!(encoded.attributes["n"].string_value(), Some("5"));
    assert_eq!(encoded.attributes["t"].binary_value().map(AsRef::as_ref), Some(&b"text"[..]));
    let (_, back, read) = read_back(encoded);
    assert_eq!((back, read), (headers, Some(types)));
}

#[test]
fn what_cannot_be_read_is_left_as_it_came() {
    let with = |text: &str, body: &str| {
        let rest = attribute(text.as_bytes(), None);
        decode(body.into(), Some([(FOREBAY_SQS.to_owned(), rest)].into()))
    };
    for (text, body) in [
        ("nonsense", "a"),
        (r#"{"v":9}"#, "b"),
        (r#"{"v":1,"body":"base64"}"#, "%%%"),
        (r#"{"v":1,"body":"rot13"}"#, "c"),
    ] {
        let decoded = with(text, body);
        assert_eq!(decoded.payload, body.as_bytes());
        assert!(decoded.fault.is_some(), "{text}");
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("h".to_owned()), Just("AWS.x".to_owned()), "[a-c.]{1,3}", "\\PC{0,4}"]
        .prop_filter("ours is reserved", |name| name != FOREBAY_SQS)
}

proptest! {
    #[test]
    fn every_byte_is_read_back(
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "\\PC{0,20}".prop_map(String::into_bytes),
        ],
        pairs in proptest::collection::vec(
            (name(), prop_oneof![Just(vec![]), proptest::collection::vec(any::<u8>(), 0..6)]), 0..14,
        ),
    ) {
        let payload = Bytes::from(payload);
        let headers: Headers = pairs.into_iter().collect();
        let encoded = encode(&payload, &headers, None, &[]);
        prop_assert!(encoded.attributes.len() <= MOST_ATTRIBUTES);
        prop_assert!(plain(encoded.body.as_bytes()).is_some());
        for (name, value) in &encoded.attributes {
            prop_assert!(is_attribute_name(name));
            let text = value.string_value().is_none_or(|text| plain(text.as_bytes()).is_some());
            prop_assert!(text && cost(name, value) > name.len() + value.data_type().len());
        }
        let (payload_back, headers_back, _) = read_back(encoded);
        prop_assert_eq!(payload_back, payload);
        prop_assert_eq!(headers_back, headers);
    }
}
