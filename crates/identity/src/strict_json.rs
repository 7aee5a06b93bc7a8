//! JSON objects in which nothing is said twice. Parsers disagree on which of two equal names counts, and an attacker picks the parser
//! (RFC 7515 section 4, RFC 8725 section 2.4): here both are refused, at every depth. Called for headers, claims and key sets.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::RefCell, fmt};

/// Depth of arrays and objects inside one another: tokens have three, and each level costs stack.
const DEPTH_MAX: u32 = 64;

/// Why bytes are not such an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON, not UTF-8, something after the end, or a number that no `f64` holds.
    Syntax,
    /// JSON, but not an object.
    NotAnObject,
    /// An object has this name twice.
    Duplicate(String),
    /// Deeper than `DEPTH_MAX`.
    TooDeep,
}

/// The object that the bytes are, whole.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    let fault = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth_left: DEPTH_MAX, fault: &fault }.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Fault::NotAnObject),
        Err(_) => Err(fault.take().unwrap_or(Fault::Syntax)),
    }
}

/// Reads one value; what it refuses itself is left in `fault`, because serde's errors carry only text.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth_left: u32,
    fault: &'a RefCell<Option<Fault>>,
}

impl Strict<'_> {
    fn refuse<E: Error>(&self, fault: Fault) -> E {
        self.fault.replace(Some(fault));
        E::custom("refused")
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Strict { depth_left, ..self }),
            None => Err(self.refuse(Fault::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (inner, mut array) = (self.deeper()?, Vec::new());
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let (inner, mut object) = (self.deeper()?, Map::new());
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.refuse(Fault::Duplicate(name)));
            }
            object.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_and_nothing_else() {
        let same = [r#"{}"#, r#"{"a":[1,-2,0.5,null,true,"x",{"b":[]}],"__proto__":{"c":1}}"#, r#"{"a":1,"A":2}"#];
        for text in same {
            assert_eq!(Value::Object(parse_object(text.as_bytes()).unwrap()).to_string().len(), text.len(), "{text}");
        }
        let refused: &[(&[u8], Fault)] = &[
            (b"", Fault::Syntax),
            (b"{", Fault::Syntax),
            (b"{} {}", Fault::Syntax),
            (b"{'a':1}", Fault::Syntax),
            (br#"{"a":1,}"#, Fault::Syntax),
            (br#"{"a":01}"#, Fault::Syntax),
            (br#"{"a":NaN}"#, Fault::Syntax),
            (br#"{"a":1e400}"#, Fault::Syntax),
            (b"{\"a\":\"\xff\"}", Fault::Syntax),
            (b"\xef\xbb\xbf{}", Fault::Syntax),
            (b"[]", Fault::NotAnObject),
            (b"null", Fault::NotAnObject),
            (b"\"a\"", Fault::NotAnObject),
            (br#"{"a":1,"a":1}"#, Fault::Duplicate("a".into())),
            (br#"{"a":1,"\u0061":2}"#, Fault::Duplicate("a".into())),
            (br#"{"x":[{"b":{"a":1,"a":2}}]}"#, Fault::Duplicate("a".into())),
        ];
        for (bytes, fault) in refused {
            assert_eq!(parse_object(bytes).as_ref(), Err(fault), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}{}", r#"{"a":"#.repeat(depth), 1, "}".repeat(depth));
        assert!(parse_object(nested(DEPTH_MAX as usize).as_bytes()).is_ok());
        for depth in [DEPTH_MAX as usize + 1, 500, 100_000] {
            assert_eq!(parse_object(nested(depth).as_bytes()), Err(Fault::TooDeep), "{depth}");
        }
    }
}
