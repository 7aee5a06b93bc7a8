//! The members of a payload. Methods read their arguments here; what an argument means is theirs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A payload: its members as JSON text, the last one of a name.
pub(crate) struct Payload<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Payload<'a> {
    /// What is not an object counts as an empty one.
    pub(crate) fn of(json: &'a [u8]) -> Payload<'a> {
        Payload(
            serde_json::from_slice::<Pairs<'a>>(json).map(|pairs| pairs.0.into_iter().collect()).unwrap_or_default(),
        )
    }

    /// The JSON text of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// A member that is a string and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text).filter(|text| !text.is_empty())
    }

    /// A member that is an array.
    pub(crate) fn array(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        self.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    /// Whether a member is exactly `true`.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|raw| raw.get() == "true")
    }

    /// A whole number, as a number or as digits in a string.
    pub(crate) fn whole(&self, name: &str) -> Option<u64> {
        let raw = self.get(name)?;
        match text(raw) {
            Some(digits) => digits.trim().parse().ok(),
            None => positive(raw.get()).or((raw.get() == "0").then_some(0)),
        }
    }
}

/// A string, decoded; none for other values. Halves of surrogate pairs, which JavaScript can send, become U+FFFD.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a string")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    if !raw.get().starts_with('"') {
        return None;
    }
    serde_json::Deserializer::from_str(raw.get()).deserialize_bytes(Text).ok()
}

/// A number that is whole and at least 1, also if written as `7.0`.
pub(crate) fn positive(json: &str) -> Option<u64> {
    if let Ok(whole) = json.parse::<u64>() {
        return (whole >= 1 && i64::try_from(whole).is_ok()).then_some(whole);
    }
    if !json.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    // Below 2^53 the conversion is exact; beyond, nobody can have meant a certain row with a fraction or an exponent.
    json.parse::<f64>()
        .ok()
        .filter(|real| real.fract() == 0.0 && (1.0..9_007_199_254_740_992.0).contains(real))
        .map(|real| real as u64)
}

/// An object's members in their order.
pub(crate) struct Pairs<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, &'de RawValue>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Members)
    }
}
