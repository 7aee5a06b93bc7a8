//! JSON as text: the members of one object in their order, and what its strings stand for. Values stay as they were written: numbers that no program can
//! hold, halves of surrogate pairs, whatever is unknown. Called by what reads messages and notes. Builds no tree of values.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// An object. Of members with the same name the last one counts, at the place of the first, as in browsers.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<Member<'a>>);

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// What its name stands for.
    pub(super) name: Cow<'a, str>,
    /// The name as it was written, with its quotation marks.
    pub(super) written: &'a str,
    /// The value as it was written.
    pub(super) value: &'a str,
}

/// Why text is no object that can be dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NotJson,
    NotAnObject,
    TooManyMembers,
}

impl<'a> Object<'a> {
    /// Reads one with at most so many members.
    pub(super) fn read(json: &'a str, members_max: usize) -> Result<Self, Fault> {
        if !json.trim_start().starts_with('{') {
            let is_json = serde_json::from_str::<&RawValue>(json).is_ok();
            return Err(if is_json { Fault::NotAnObject } else { Fault::NotJson });
        }
        // However deep it is nested, and without a look at what its strings stand for.
        let Pairs(pairs) = serde_json::from_str(json).map_err(|_| Fault::NotJson)?;
        if pairs.len() > members_max {
            return Err(Fault::TooManyMembers);
        }
        let mut places: BTreeMap<Cow<'a, str>, usize> = BTreeMap::new();
        let mut members: Vec<Member<'a>> = Vec::new();
        for (written, value) in pairs {
            // A name that is no text can only be the same as another one that is written like it.
            let name = text(written).unwrap_or(Cow::Borrowed(written));
            match places.get(&name) {
                Some(place) => members[*place].value = value,
                None => {
                    places.insert(name.clone(), members.len());
                    members.push(Member { name, written, value });
                }
            }
        }
        Ok(Self(members))
    }

    /// The value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|member| member.name == name).map(|member| member.value)
    }

    /// All members.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member<'a>> {
        self.0.iter()
    }
}

/// Names and values as they were written.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

/// So many members are read; nobody takes more, and the rest is passed over.
const PAIRS_MAX: usize = 10_000;

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
            if pairs.len() < PAIRS_MAX {
                pairs.push((name.get(), value.get()));
            }
        }
        Ok(Pairs(pairs))
    }
}

/// The elements of an array as they were written, at most one more than `most`. None: it is no array.
pub(super) fn elements(json: &str, most: usize) -> Option<Vec<&str>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    reader.deserialize_seq(Elements { most }).ok()
}

struct Elements {
    most: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<&'de str>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element::<&'de RawValue>()? {
            if elements.len() <= self.most {
                elements.push(element.get());
            }
        }
        Ok(elements)
    }
}

/// The text that a JSON string stands for. None: it is no string, or has half of a surrogate pair.
pub(super) fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let (mut text, mut rest) = (String::with_capacity(inner.len()), inner);
    while let Some(place) = rest.find('\\') {
        text.push_str(&rest[..place]);
        let mut escaped = Characters { rest: rest[place..].chars() };
        text.push(escaped.next()??);
        rest = escaped.rest.as_str();
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

/// The characters of a JSON string; of half a surrogate pair none. None: it is no string.
pub(super) fn characters(json: &str) -> Option<Characters<'_>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    Some(Characters { rest: inner.chars() })
}

/// See `characters`. What is given to it is known to be JSON.
pub(super) struct Characters<'a> {
    rest: std::str::Chars<'a>,
}

impl Iterator for Characters<'_> {
    type Item = Option<char>;

    fn next(&mut self) -> Option<Option<char>> {
        let first = self.rest.next()?;
        if first != '\\' {
            return Some(Some(first));
        }
        Some(match self.rest.next()? {
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => {
                let unit = self.unit()?;
                match char::from_u32(unit) {
                    Some(character) => Some(character),
                    None => self.pair(unit),
                }
            }
            // A quotation mark or a slash stands for itself.
            other => Some(other),
        })
    }
}

impl Characters<'_> {
    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | self.rest.next()?.to_digit(16)?))
    }

    /// The character of a surrogate pair whose first half was read.
    fn pair(&mut self, high: u32) -> Option<char> {
        let mut ahead = Characters { rest: self.rest.clone() };
        let follows = high < 0xdc00 && ahead.rest.next() == Some('\\') && ahead.rest.next() == Some('u');
        let low = if follows { ahead.unit()? } else { return None };
        let character = (0xdc00..0xe000)
            .contains(&low)
            .then(|| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)))
            .flatten()?;
        self.rest = ahead.rest;
        Some(character)
    }
}

/// Whether it is a JSON string of at most so many bytes as UTF-8.
pub(super) fn is_text_within(json: &str, bytes_max: usize) -> bool {
    // What an escape stands for is shorter than the escape.
    let is_short = json.len() <= bytes_max + 2;
    // Half of a surrogate pair would take three.
    let bytes =
        |characters: Characters<'_>| characters.map(|character| character.map_or(3, char::len_utf8)).sum::<usize>();
    characters(json).is_some_and(|characters| is_short || bytes(characters) <= bytes_max)
}

/// How deep arrays and objects are nested in JSON.
pub(super) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The JSON string for a text.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> Result<Vec<(String, &str)>, Fault> {
        let object = Object::read(json, 5)?;
        Ok(object.members().map(|member| (member.name.to_string(), member.value)).collect())
    }

    #[test]
    fn values_stay_as_they_were_written() {
        let json = r#" {"a" : 1.50e+3 ,"b\u0062":"\u00e9\ud800","__proto__":{"x":[ 1 ]},"a":123456789012345678901,"\ud800":1} "#;
        let expected = [
            ("a", "123456789012345678901"),
            ("bb", r#""\u00e9\ud800""#),
            ("__proto__", r#"{"x":[ 1 ]}"#),
            (r#""\ud800""#, "1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(members(json), Ok(expected.to_vec()));
    }

    #[test]
    fn what_is_no_object_says_why() {
        let cases = [
            ("", Fault::NotJson),
            ("{", Fault::NotJson),
            ("{} {}", Fault::NotJson),
            ("[", Fault::NotJson),
            (r#"{"a":01}"#, Fault::NotJson),
            (r#"{"a":"\x"}"#, Fault::NotJson),
            ("[]", Fault::NotAnObject),
            ("\"{\"", Fault::NotAnObject),
            ("null", Fault::NotAnObject),
            (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#, Fault::TooManyMembers),
        ];
        for (json, fault) in cases {
            assert_eq!(members(json), Err(fault), "{json}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        assert!(Object::read(&format!("{{\"a\":{deep}}}"), 1).is_ok());
        assert_eq!((depth(&deep), depth(r#"{"[[\"[":["]"]}"#), depth("1")), (500_000, 2, 0));
    }

    #[test]
    fn strings_are_read_as_browsers_read_them() {
        let cases = [
            (r#""a\"\\\/\b\f\n\r\tz""#, Some("a\"\\/\u{8}\u{c}\n\r\tz"), 10),
            (r#""\u0041\u00e9\ud83d\ude00""#, Some("A\u{e9}\u{1f600}"), 7),
            (r#""\ud83d""#, None, 3),
            (r#""\ude00\ud83d""#, None, 6),
            (r#""\ud83d\ud83d\ude00""#, None, 7),
            (r#""\ud83d\n""#, None, 4),
        ];
        for (json, expected, bytes) in cases {
            assert_eq!(text(json).as_deref(), expected, "{json}");
            assert!(is_text_within(json, bytes) && !is_text_within(json, bytes - 1), "{json}");
        }
        assert!(text("1").is_none() && !is_text_within("{}", 9) && !is_text_within("1", 9));
    }

    #[test]
    fn elements_are_read_up_to_one_more_than_these() {
        let cases = [
            ("[]", Some(vec![])),
            (r#"[ "a" ,{"b":[1]}]"#, Some(vec![r#""a""#, r#"{"b":[1]}"#])),
            ("[1,2,3,4,5]", Some(vec!["1", "2", "3"])),
            ("{}", None),
            ("1", None),
        ];
        for (json, expected) in cases {
            assert_eq!(elements(json, 2), expected, "{json}");
        }
    }
}
