//! JSON as text: some members of an object, what a string says, strings that are written. Called by the dialect for all that clients send.
//!
//! Builds no tree of values: what is passed on stays as it was written, however deep it is. Strings may have halves of surrogate pairs, which JavaScript can
//! send and UTF-8 cannot say.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The values of the members of these names, as they are written. The last one counts where there are several of a name. None: it is not an object.
pub(super) fn members<'a, const N: usize>(json: &'a str, names: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let members = reader.deserialize_map(Members(names)).ok()?;
    reader.end().ok()?;
    Some(members)
}

/// True for text that is JSON.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The strings of an array of strings.
pub(super) fn texts(value: &str) -> Option<Vec<String>> {
    let values: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    values.into_iter().map(|value| text(value.get())).collect()
}

/// The text that a JSON string stands for; halves of surrogate pairs become U+FFFD. None: the value is no string.
pub(super) fn text(value: &str) -> Option<String> {
    bytes_of(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The one spelling of a JSON string, by which names are compared that clients choose. None: the value is no string.
pub(super) fn canonical(value: &str) -> Option<Vec<u8>> {
    let (mut out, bytes) = (Vec::new(), bytes_of(value)?);
    let mut rest = bytes.as_slice();
    out.push(b'"');
    loop {
        let good = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(error) => error.valid_up_to(),
        };
        let (text, half) = rest.split_at(good);
        escape(&String::from_utf8_lossy(text), &mut out);
        let [first, second, third, after @ ..] = half else { break };
        let unit = u32::from(first & 0xf) << 12 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
        out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        rest = after;
    }
    out.push(b'"');
    Some(out)
}

/// Appends the JSON string for a text.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Appends what stands between the quotation marks of a JSON string.
fn escape(text: &str, out: &mut Vec<u8>) {
    let mut written = 0;
    for (place, byte) in text.bytes().enumerate().filter(|(_, byte)| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
        out.extend_from_slice(&text.as_bytes()[written..place]);
        written = place + 1;
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
}

/// The bytes of a string, in which a half of a surrogate pair has three bytes of its own.
fn bytes_of(value: &str) -> Option<Vec<u8>> {
    value.starts_with('"').then_some(())?;
    serde_json::Deserializer::from_str(value).deserialize_bytes(ByteVisitor).ok()
}

struct ByteVisitor;

impl Visitor<'_> for ByteVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_owned())
    }
}

struct Members<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Place(&self.0))? {
            match place {
                Some(place) => found[place] = Some(map.next_value::<&'de RawValue>()?.get()),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// Which of these names a name is.
struct Place<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| known.as_bytes() == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_counts_and_values_stay_as_they_were_written() {
        let json = r#" { "b" : 1.50e+3 , "\ud800" : [1], "a\u0063":"\u00e9\ud800", "b": {"x":[ 1 ]} , "ac" : 7 } "#;
        assert_eq!(members(json, ["ac", "b", "c"]), Some([Some("7"), Some("{\"x\":[ 1 ]}"), None]));
        for other in ["[]", "1", "null", "\"a\"", "{", "{} x", "{\"a\":}", ""] {
            assert_eq!(members(other, ["a"]), None, "{other}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        assert!(is_json(&deep) && !is_json(&deep[1..]));
        let object = format!("{{\"a\":{deep},\"other\":{deep}}}");
        assert_eq!(members(&object, ["a"]), Some([Some(deep.as_str())]));
    }

    #[test]
    fn a_name_has_one_spelling() {
        let cases = [
            (r#""ann""#, r#""ann""#),
            (r#""\u0061nn""#, r#""ann""#),
            (r#""\/\"\\\n\u001F\u007f""#, "\"/\\\"\\\\\\n\\u001f\u{7f}\""),
            (r#""\u00e9ä\ud83d\ude00""#, "\"éä😀\""),
            (r#""a\ud800""#, r#""a\ud800""#),
            (r#""\uDFFFb\uD83D""#, r#""\udfffb\ud83d""#),
            (r#""""#, r#""""#),
        ];
        for (written, expected) in cases {
            let spelling = canonical(written).expect("a string");
            assert_eq!(String::from_utf8_lossy(&spelling), expected);
            let again = canonical(expected).expect("a string");
            assert_eq!(again, spelling, "{expected} is its own spelling");
        }
        for other in ["1", "null", "{}", "\"", ""] {
            assert!(canonical(other).is_none() && text(other).is_none(), "{other}");
        }
        assert_eq!(text(r#""a\ud800b\u00e9""#).expect("a string").chars().filter(|c| c.is_ascii()).count(), 2);
        assert_eq!(texts(r#"["a" , "\u0062"]"#), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!((texts("[1]"), texts("{}"), texts("[]")), (None, None, Some(Vec::new())));
    }
}
