//! The members of one JSON object in their order, with values as the text that they are: what is passed on stays as it was written, also numbers that no
//! other program would write like this. Called by the sessions dialect for what clients send and for presence. Builds no tree of values.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// An object.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(String, &'a str)>);

impl<'a> Object<'a> {
    /// Reads text that is known to be JSON. None: it is something else than an object.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The value of a member. The last one counts where there are several of that name.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The same, where `null` is as good as nothing.
    pub(super) fn get_some(&self, name: &str) -> Option<&'a str> {
        self.get(name).filter(|value| *value != "null")
    }

    /// How many members have this name.
    pub(super) fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(known, _)| known == name).count()
    }

    /// All members.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            members.push((name, value.get()));
        }
        Ok(Object(members))
    }
}

/// True for text that is JSON, however deep.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The text that a JSON string stands for. None: the value is no string.
pub(super) fn text(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

/// The JSON string for a text.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object that is being written.
pub(super) struct Writer {
    json: String,
    is_empty: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { json: "{".to_owned(), is_empty: true }
    }

    /// Adds a member whose value is JSON already.
    pub(super) fn member(&mut self, name: &str, value: &str) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.json.push(',');
        }
        self.json.push_str(&quoted(name));
        self.json.push(':');
        self.json.push_str(value);
    }

    /// Adds a member that is a text.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.member(name, &quoted(value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    pub(super) fn finish(mut self) -> String {
        self.json.push('}');
        self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_were_written() {
        let json = r#" { "a" : 1.50e+3 , "b\u0062":"\u00e9\ud800", "c": {"x":[ 1 ]}, "a":123456789012345678901 } "#;
        let object = Object::read(json).expect("an object");
        let members: Vec<_> = object.members().collect();
        let expected =
            [("a", "1.50e+3"), ("bb", r#""\u00e9\ud800""#), ("c", r#"{"x":[ 1 ]}"#), ("a", "123456789012345678901")];
        assert_eq!(members, expected);
        assert_eq!((object.get("a"), object.count("a"), object.get("d")), (Some("123456789012345678901"), 2, None));
        for other in ["[]", "1", "null", "\"a\"", "{"] {
            assert!(Object::read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        assert!(is_json(&deep) && !is_json(&deep[1..]));
        assert!(Object::read(&format!("{{\"a\":{deep}}}")).is_some());
    }
}
