//! What somebody may do in which rooms: patterns of room names, permissions, and the two together. Read from tokens, API keys and
//! command lines. Does not know whether a room has rules of its own: that is for the caller to add.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What an identity may do in a room. Each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Not even enter.
    None,
    /// Receive everything, and take part in presence.
    Read,
    /// Change the document.
    Write,
}

impl Permission {
    /// `read` or `write`. `None` for every other word: what is not understood must not grant anything.
    pub fn parse(name: &str) -> Option<Permission> {
        [Permission::Read, Permission::Write].into_iter().find(|permission| permission.name() == name)
    }

    /// As tokens and command lines say it: `none`, `read`, `write`.
    pub fn name(self) -> &'static str {
        match self {
            Permission::None => "none",
            Permission::Read => "read",
            Permission::Write => "write",
        }
    }
}

/// Names rooms: one by its whole name, or all whose names begin alike, with a `*` at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomPattern {
    text: String,
    prefix: bool,
}

impl RoomPattern {
    /// `None` for an empty pattern and for a `*` that is not at the end, which would silently match nothing.
    pub fn parse(pattern: &str) -> Option<RoomPattern> {
        let text = pattern.strip_suffix('*').unwrap_or(pattern);
        let legal = !pattern.is_empty() && !text.contains('*');
        legal.then(|| RoomPattern { text: text.to_owned(), prefix: text.len() < pattern.len() })
    }

    /// `*`: every room.
    pub fn all() -> RoomPattern {
        RoomPattern { text: String::new(), prefix: true }
    }

    /// The room of this name and no other, whatever characters are in it.
    pub fn exact(room: impl Into<String>) -> RoomPattern {
        RoomPattern { text: room.into(), prefix: false }
    }

    /// True when the pattern names this room.
    pub fn matches(&self, room: &str) -> bool {
        if self.prefix { room.starts_with(&self.text) } else { room == self.text }
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.prefix { "*" } else { "" })
    }
}

impl TryFrom<String> for RoomPattern {
    type Error = &'static str;

    fn try_from(pattern: String) -> Result<Self, Self::Error> {
        RoomPattern::parse(&pattern)
            .ok_or("a room pattern is a room's name, or the beginning of one with a * at the end")
    }
}

impl From<RoomPattern> for String {
    fn from(pattern: RoomPattern) -> String {
        pattern.to_string()
    }
}

/// What a credential allows in the rooms of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which rooms.
    pub pattern: RoomPattern,
    /// What may be done there.
    pub permission: Permission,
}

impl Grant {
    /// `team/*:write`, as command lines say it: the last colon separates, because names of rooms may have colons. `None` for a pattern
    /// or a permission that is not one.
    pub fn parse(text: &str) -> Option<Grant> {
        let (pattern, permission) = text.rsplit_once(':')?;
        Some(Grant { pattern: RoomPattern::parse(pattern)?, permission: Permission::parse(permission)? })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pattern, self.permission.name())
    }
}

/// The highest permission of the grants whose pattern names the room; `Permission::None` when none does.
pub fn permission_of(grants: &[Grant], room: &str) -> Permission {
    let matching = grants.iter().filter(|grant| grant.pattern.matches(room));
    matching.map(|grant| grant.permission).max().unwrap_or(Permission::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_one_room_or_all_that_begin_alike() {
        let cases = [
            ("team/*", "team/7", true),
            ("team/*", "team/", true),
            ("team/*", "team", false),
            ("team/*", "Team/7", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("a", "", false),
            ("*", "x", true),
            ("*", "", true),
            ("räume/*", "räume/1", true),
        ];
        for (pattern, room, matches) in cases {
            let parsed = RoomPattern::parse(pattern).expect(pattern);
            assert_eq!((parsed.matches(room), parsed.to_string().as_str()), (matches, pattern), "{pattern} {room}");
        }
        for pattern in ["", "a*b", "**", "*a", "a**"] {
            assert_eq!(RoomPattern::parse(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn grants_are_a_pattern_and_a_permission() {
        for text in ["team/*:write", "a:read", "a:b:c:write", "*:read"] {
            assert_eq!(Grant::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "a", ":", "a:", ":read", "a:none", "a:Write", "a:admin", "a*b:read", "a:read ", "a: read"] {
            assert_eq!(Grant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_highest_matching_grant_counts() {
        let cases: &[(&[&str], &str, Permission)] = &[
            (&[], "a", Permission::None),
            (&["b:write"], "a", Permission::None),
            (&["a:read"], "a", Permission::Read),
            (&["a*:read", "a:write"], "a", Permission::Write),
            (&["a:write", "*:read"], "a", Permission::Write),
            (&["a:write", "*:read"], "b", Permission::Read),
        ];
        for (texts, room, expected) in cases {
            let grants: Vec<Grant> = texts.iter().map(|text| Grant::parse(text).expect(text)).collect();
            assert_eq!(permission_of(&grants, room), *expected, "{texts:?} {room}");
        }
        assert!(Permission::None < Permission::Read && Permission::Read < Permission::Write);
    }
}
