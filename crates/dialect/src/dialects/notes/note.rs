//! A note as a client sends it: held to the rules, and made into what a notebook takes. Called for messages and for HTTP requests alike.

use super::json::{Fault, Object, characters, depth, elements, is_text_within, quoted, text};
use super::{AHEAD_MS, instant};
use room::notebook::NewNote;

/// Of the whole note as JSON: content, and as much again for the rest as would be odd.
const NOTE_BYTES_MAX: usize = 12 << 20;
/// Of its content as UTF-8: a page with a few pictures pasted into it.
const CONTENT_BYTES_MAX: usize = 10 << 20;
/// Characters of an id: it is a key, and goes into paths.
const ID_CHARACTERS_MAX: usize = 128;
/// Characters of a title, as the notes app has it.
const TITLE_CHARACTERS_MAX: usize = 255;
/// Tags of a note, and characters of each: what a page can show.
const TAGS_MAX: usize = 100;
const TAG_CHARACTERS_MAX: usize = 100;
/// Members of a note: those known, and many of the application's own. Each is looked at by itself.
const MEMBERS_MAX: usize = 1_000;
/// Arrays and objects in each other: readers that recurse end at a few hundred.
const DEPTH_MAX: usize = 100;

/// Members that the server writes itself.
const OWNED: [&str; 4] = ["createdAt", "updatedAt", "remoteVersion", "deletedAt"];
/// Members in which a device keeps count of its own: they do not make another note of it.
const BOOKKEEPING: [&str; 3] = ["syncStatus", "lastSyncedAt", "localVersion"];

/// Why something is no note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNote {
    /// The member that breaks a rule; `note` when it is the whole.
    pub member: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
    /// The note, where that is known.
    pub id: Option<String>,
}

/// What is special about a note from an HTTP request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lenience<'a> {
    /// The note that the path names: the only one that it may be, also when it does not say so itself.
    pub id: Option<&'a str>,
    /// Its times may be missing.
    pub fills_times: bool,
}

/// Reads a note: the text of one JSON object. `now_ms`: milliseconds since the Unix epoch.
pub fn read_note(json: &str, lenience: Lenience<'_>, now_ms: u64) -> Result<NewNote, InvalidNote> {
    let whole = |message: String| InvalidNote { member: "note", message, id: lenience.id.map(str::to_owned) };
    let object = Object::read(json, MEMBERS_MAX).map_err(|fault| {
        whole(match fault {
            Fault::NotJson => "note is not JSON; send an object".to_owned(),
            Fault::NotAnObject => "note is not an object; send an object".to_owned(),
            Fault::TooManyMembers => format!("note may have {MEMBERS_MAX} members; send fewer"),
        })
    })?;
    let id = read_id(&object, lenience.id)?;
    let invalid = |member, message: String| InvalidNote { member, message, id: Some(id.clone()) };
    if json.len() > NOTE_BYTES_MAX {
        return Err(invalid("note", format!("note may have {NOTE_BYTES_MAX} bytes of JSON; shorten it")));
    }
    let nested = object.members().filter(|member| member.value.starts_with(['[', '{']));
    if nested.map(|member| 1 + depth(member.value)).max().is_some_and(|depth| depth > DEPTH_MAX) {
        return Err(invalid("note", format!("note may be nested {DEPTH_MAX} deep; make it flatter")));
    }
    let title = object.get("title").and_then(characters);
    let title: Vec<Option<char>> = title.into_iter().flatten().take(TITLE_CHARACTERS_MAX + 1).collect();
    if !object.get("title").is_some_and(|title| title.starts_with('"')) || title.len() > TITLE_CHARACTERS_MAX {
        let message = format!("title has to be a string of at most {TITLE_CHARACTERS_MAX} characters");
        return Err(invalid("title", message));
    }
    if !object.get("content").is_some_and(|content| is_text_within(content, CONTENT_BYTES_MAX)) {
        let message = format!("content has to be a string of at most {CONTENT_BYTES_MAX} bytes of UTF-8");
        return Err(invalid("content", message));
    }
    let tags = object.get("tags").and_then(|tags| elements(tags, TAGS_MAX));
    let is_tag =
        |tag: &&str| characters(tag).is_some_and(|tag| tag.take(TAG_CHARACTERS_MAX + 1).count() <= TAG_CHARACTERS_MAX);
    if !tags.is_some_and(|tags| tags.len() <= TAGS_MAX && tags.iter().all(is_tag)) {
        let message = format!(
            "tags has to be an array of at most {TAGS_MAX} strings with at most {TAG_CHARACTERS_MAX} characters each"
        );
        return Err(invalid("tags", message));
    }
    let time = |member| match object.get(member) {
        None if lenience.fills_times => Ok(None),
        value => match value.and_then(text).and_then(|text| instant::parse(&text)) {
            Some(time_ms) => Ok(Some(time_ms)),
            None => Err(invalid(member, format!("{member} has to be a time such as 2025-01-17T14:27:39.502Z"))),
        },
    };
    let (created_ms, updated_ms) = (time("createdAt")?, time("updatedAt")?);
    if updated_ms.is_some_and(|updated_ms| updated_ms > (now_ms as i64).saturating_add(AHEAD_MS)) {
        let message = "updatedAt may be at most 24 hours ahead; set the clock of the device".to_owned();
        return Err(invalid("updatedAt", message));
    }
    let title: String = title.into_iter().map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    let members = kept(&object, &id).into();
    Ok(NewNote { id: id.into(), title: title.into(), created_ms, updated_ms, likeness: likeness(&object), members })
}

/// True for what may be the id of a note.
pub(super) fn is_note_id(id: &str) -> bool {
    let characters = id.chars().take(ID_CHARACTERS_MAX + 1).count();
    (1..=ID_CHARACTERS_MAX).contains(&characters) && !id.chars().any(char::is_control)
}

fn read_id(object: &Object<'_>, of_path: Option<&str>) -> Result<String, InvalidNote> {
    let said = object.get("id");
    let id = match (said, of_path) {
        (None, Some(id)) => Some(id.to_owned()),
        (said, _) => said.and_then(text).map(String::from),
    };
    let id = id.filter(|id| is_note_id(id)).ok_or_else(|| InvalidNote {
        member: "id",
        message: format!("id has to be a string of 1 to {ID_CHARACTERS_MAX} characters without control characters"),
        id: of_path.map(str::to_owned),
    })?;
    match of_path {
        Some(of_path) if of_path != id => Err(InvalidNote {
            member: "id",
            message: "id has to be that of the path".to_owned(),
            id: Some(of_path.to_owned()),
        }),
        _ => Ok(id),
    }
}

/// What a notebook keeps of its text.
fn kept(object: &Object<'_>, id: &str) -> Vec<u8> {
    let members: Vec<_> = object.members().filter(|member| !OWNED.contains(&&*member.name)).collect();
    let missing = if object.get("id").is_none() { format!("\"id\":{}", quoted(id)) } else { String::new() };
    let bytes: usize = members.iter().map(|member| member.written.len() + member.value.len() + 2).sum();
    let mut out = Vec::with_capacity(missing.len() + bytes);
    out.extend_from_slice(missing.as_bytes());
    for member in members {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(member.written.as_bytes());
        out.push(b':');
        out.extend_from_slice(member.value.as_bytes());
    }
    // Kept for long: without room for more.
    out.shrink_to_fit();
    out
}

/// A number that notes have in common that say the same: a hash of their members by name, strings as what they stand for, everything else without spaces.
/// Two different notes with the same number and the same time are one in 10^19, and the first of them stays.
fn likeness(object: &Object<'_>) -> u64 {
    let mut members: Vec<_> = object
        .members()
        .filter(|member| !OWNED.contains(&&*member.name) && !BOOKKEEPING.contains(&&*member.name))
        .collect();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    let mut hash = Mix(0);
    for member in members {
        hash.add(member.name.as_bytes());
        hash.value(member.value);
    }
    hash.0
}

/// Multiplies and mixes, eight bytes at a time: a text may have ten million. It lies on disk with each note, so it stays as it is.
struct Mix(u64);

impl Mix {
    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(8) {
            let word = piece.iter().rev().fold(0, |high, low| high << 8 | u64::from(*low));
            self.word(word);
        }
        self.word(bytes.len() as u64);
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn value(&mut self, json: &str) {
        if let Some(text) = text(json) {
            self.add(b"\"");
            return self.add(text.as_bytes());
        }
        let (mut in_string, mut is_escaped) = (false, false);
        for byte in json.bytes() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_string = !in_string,
                b' ' | b'\t' | b'\r' | b'\n' if !in_string => continue,
                _ => {}
            }
            self.word(u64::from(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_737_124_059_502;

    fn note(members: &str) -> String {
        format!(
            r#"{{"id":"a","title":"T","content":"c","tags":["x"],"createdAt":"2025-01-17T14:00:00Z","updatedAt":"2025-01-17T14:27:39Z"{members}}}"#
        )
    }

    fn read(json: &str) -> Result<NewNote, InvalidNote> {
        read_note(json, Lenience::default(), NOW_MS)
    }

    /// A note in which one member has another value, or none.
    fn with(name: &str, value: Option<&str>) -> String {
        let members = [
            ("id", r#""a""#),
            ("title", r#""T""#),
            ("content", r#""c""#),
            ("tags", "[]"),
            ("createdAt", r#""2025-01-17T14:00:00Z""#),
            ("updatedAt", r#""2025-01-17T14:27:39Z""#),
        ];
        let members = members.map(|(known, usual)| (known, if known == name { value } else { Some(usual) }));
        let members: Vec<String> =
            members.iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", (*value)?))).collect();
        format!("{{{}}}", members.join(","))
    }

    #[test]
    fn each_rule_holds_at_its_border() {
        let string = |length: usize, character: &str| format!("\"{}\"", character.repeat(length));
        let tags = |count: usize, length: usize| format!("[{}]", vec![string(length, "t"); count].join(","));
        // The member, what it may be, what it may not be.
        let cases = [
            ("id", vec![string(1, "i"), string(128, "\u{1f600}"), string(128, "\\u00e9"), r#""__proto__""#.into()]),
            ("title", vec![string(0, ""), string(255, "\\ud83d\\ude00"), r#""\ud800""#.into()]),
            ("content", vec![string(0, ""), string(CONTENT_BYTES_MAX, "c"), r#""<script>\u0000\ud800""#.into()]),
            ("tags", vec![tags(0, 0), tags(100, 100), r#"["\ud800"]"#.into()]),
            ("createdAt", vec![string(1, "0001-01-01T00:00:00+14:00"), string(1, "9999-12-31T23:59:59Z")]),
            ("updatedAt", vec![string(1, "2025-01-18T14:27:39.502Z"), string(1, "2025-01-18T15:27:39.502+01:00")]),
        ];
        for (member, values) in cases {
            for value in values {
                assert!(read(&with(member, Some(&value))).is_ok(), "{member} {}", &value[..value.len().min(100)]);
            }
        }
        let cases = [
            (
                "id",
                vec![string(0, ""), string(129, "i"), r#""a\n""#.into(), r#""\u007f""#.into(), r#""\ud800""#.into()],
            ),
            ("title", vec![string(256, "t"), string(256, "\\u00e9")]),
            ("content", vec![string(CONTENT_BYTES_MAX + 1, "c"), string(CONTENT_BYTES_MAX / 2 + 1, "\u{e9}")]),
            ("tags", vec![tags(101, 0), tags(1, 101), "[1]".into(), "[null]".into(), "[[]]".into()]),
            ("createdAt", vec![string(1, "yesterday"), string(1, "2025-02-30T00:00:00Z"), string(1, "")]),
            ("updatedAt", vec![string(1, "2025-01-18T14:27:39.503Z"), string(1, "2025-01-17T14:27:39")]),
        ];
        for (member, values) in cases {
            let wrong_kinds = ["null", "1", "true", "{}"].map(str::to_owned);
            for value in values.into_iter().chain(wrong_kinds) {
                let fault = read(&with(member, Some(&value))).expect_err(member);
                assert_eq!(fault.member, member, "{}", &value[..value.len().min(100)]);
                assert!(fault.message.starts_with(member), "{}", fault.message);
                assert_eq!(fault.id, (member != "id").then(|| "a".to_owned()));
            }
            assert_eq!(read(&with(member, None)).expect_err(member).member, member);
        }
    }

    #[test]
    fn what_is_no_note_says_so() {
        let deep = |depth: usize| note(&format!(",\"x\":{}{}", "[".repeat(depth), "]".repeat(depth)));
        let wide = |count: usize| note(&(0..count).map(|number| format!(",\"{number}\":0")).collect::<String>());
        for json in [deep(DEPTH_MAX - 1), wide(MEMBERS_MAX - 6)] {
            assert!(read(&json).is_ok());
        }
        let long = note(&format!(",\"x\":\"{}\"", "x".repeat(NOTE_BYTES_MAX)));
        for json in ["", "[]", "null", "1", &deep(DEPTH_MAX), &wide(MEMBERS_MAX - 5), &long] {
            assert_eq!(read(json).expect_err("no note").member, "note");
        }
    }

    #[test]
    fn what_is_kept_is_what_was_written_without_what_the_server_writes() {
        let json = r#" { "id" : "a", "remoteVersion":99,"z": 1e400 ,"title":"T","content":"\ud800","tags":[ ],"z":-0.0,"deletedAt":null,
            "createdAt":"2025-01-17T14:00:00Z","updatedAt":"2025-01-17T14:27:39Z","__proto__":{"a": [1]}} "#;
        let kept = read(json).expect("a note");
        let expected = r#""id":"a","z":-0.0,"title":"T","content":"\ud800","tags":[ ],"__proto__":{"a": [1]}"#;
        assert_eq!(std::str::from_utf8(&kept.members), Ok(expected));
        assert_eq!((kept.created_ms, kept.updated_ms), (Some(1_737_122_400_000), Some(1_737_124_059_000)));
        let json = r#"{"title":"T","content":"","tags":[]}"#;
        let of_path = Lenience { id: Some("b\""), fills_times: true };
        let filled = read_note(json, of_path, NOW_MS).expect("a note");
        assert_eq!(&*filled.members, br#""id":"b\"","title":"T","content":"","tags":[]"#);
        assert_eq!((filled.created_ms, filled.updated_ms, &*filled.id), (None, None, "b\""));
        let other = read_note(&note(""), of_path, NOW_MS).expect_err("another id");
        assert_eq!((other.member, other.id.as_deref()), ("id", Some("b\"")));
    }

    #[test]
    fn notes_that_say_the_same_are_alike() {
        let usual = read(&note(r#","x":{"a":[1, "b c"]},"y":"é""#)).expect("a note").likeness;
        let same = [
            r#","y":"\u00e9","x": {"a":[1,"b c"]} "#,
            r#","x":{"a":[1,"b c"]},"y":"é","syncStatus":"pending","lastSyncedAt":null,"localVersion":7"#,
            r#","x":{"a":[1,"b c"]},"y":"é","remoteVersion":3,"deletedAt":"x""#,
            r#","y":"?","x":{"a":[1,"b c"]},"y":"é""#,
        ];
        for members in same {
            assert_eq!(read(&note(members)).expect("a note").likeness, usual, "{members}");
        }
        let others = [
            r#","x":{"a":[1,"bc"]},"y":"é""#,
            r#","x":{"a":[1,"b c"]},"y":"e""#,
            r#","x":{"a":[1,"b c"]}"#,
            r#","x":{"a":[1,"b c"]},"y":"é","z":null"#,
            r#","x":"{\"a\":[1,\"b c\"]}","y":"é""#,
        ];
        for members in others {
            assert_ne!(read(&note(members)).expect("a note").likeness, usual, "{members}");
        }
    }
}
