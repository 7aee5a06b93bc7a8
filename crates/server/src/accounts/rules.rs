//! What e-mails, passwords, names, rooms and tables may be. Called with what people write; returns it as it is kept, or words that say what is wrong.

use super::AccountError;

/// Characters are counted as bytes: what is shorter is guessed, and what is longer only costs.
pub(super) const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// Of an e-mail's address (RFC 5321), and of the part before its `@`.
const EMAIL_BYTES_MAX: usize = 254;
const LOCAL_BYTES_MAX: usize = 64;
/// Of a name that people see, as in tokens.
const NAME_BYTES_MAX: usize = 256;
/// Of the id of a room, as it is a part of the store's keys.
const ROOM_BYTES_MAX: usize = 255;
/// Of a table's name: longer ones are no names.
const TABLE_BYTES_MAX: usize = 128;

/// The one form under which an e-mail's address is kept and found.
pub(super) fn email(text: &str) -> Result<String, AccountError> {
    let email = text.trim().to_lowercase();
    let bad = AccountError::BadEmail;
    if email.len() > EMAIL_BYTES_MAX {
        return Err(bad("it has more than 254 bytes"));
    }
    let (local, domain) = email.rsplit_once('@').ok_or(bad("it has no @"))?;
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|char| char.is_alphanumeric() || char == '-')
    };
    let illegal = |char: char| char.is_control() || char.is_whitespace() || "@<>()[],;:\\\"".contains(char);
    if local.is_empty() || local.len() > LOCAL_BYTES_MAX || local.contains(illegal) {
        return Err(bad("what is before its @ is no name"));
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(bad("a dot in it has nothing beside it"));
    }
    if !domain.split('.').all(is_label) {
        return Err(bad("what is behind its @ is no host"));
    }
    Ok(email)
}

pub(super) fn password(text: &str) -> Result<(), AccountError> {
    match text.len() {
        length if length < *PASSWORD_BYTES.start() => Err(AccountError::ShortPassword),
        length if length > *PASSWORD_BYTES.end() => Err(AccountError::LongPassword),
        _ => Ok(()),
    }
}

/// What people call a user or a room.
pub(super) fn name(text: &str) -> Result<String, AccountError> {
    let name = text.trim();
    let legal = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    legal.then(|| name.to_owned()).ok_or(AccountError::BadName)
}

/// The id of a room.
pub(super) fn room(text: &str) -> Result<&str, AccountError> {
    let room = text.trim();
    let legal = (1..=ROOM_BYTES_MAX).contains(&room.len()) && !room.chars().any(char::is_control);
    legal.then_some(room).ok_or(AccountError::BadRoom)
}

/// A table's name in small letters: SQL does not tell them from capitals.
pub(super) fn table(text: &str) -> Result<String, AccountError> {
    let mut bytes = text.bytes();
    let legal = text.len() <= TABLE_BYTES_MAX
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    legal.then(|| text.to_ascii_lowercase()).ok_or(AccountError::BadTable)
}

/// What is kept of the program that somebody signs in with: enough to know it again.
pub(super) fn agent(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails() {
        let cases = [
            (" Ann@Example.COM ", Some("ann@example.com")),
            ("ann.b+tag@mail.example.co.uk", Some("ann.b+tag@mail.example.co.uk")),
            ("root@localhost", Some("root@localhost")),
            ("jürgen@bücher.example", Some("jürgen@bücher.example")),
            ("ann", None),
            ("@example.com", None),
            ("ann@", None),
            ("ann@.com", None),
            ("ann@example..com", None),
            ("ann@-example.com", None),
            ("ann@exam ple.com", None),
            ("an n@example.com", None),
            ("ann@b@example.com", None),
            (".ann@example.com", None),
            ("a..n@example.com", None),
            ("ann<x>@example.com", None),
            ("ann\n@example.com", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(email(text).ok().as_deref(), expected, "{text:?}");
        }
        assert!(email(&format!("{}@a.example", "x".repeat(65))).is_err());
        assert!(email(&format!("x@{}a.example", "abc.".repeat(62))).is_err());
    }

    #[test]
    fn passwords_names_rooms_and_tables() {
        for (length, legal) in [(0, false), (7, false), (8, true), (256, true), (257, false)] {
            assert_eq!(password(&"x".repeat(length)).is_ok(), legal, "{length}");
        }
        assert!(password("ääää").is_ok(), "eight bytes");
        for (text, kept) in [(" Ann ", Some("Ann")), ("", None), ("  ", None), ("a\u{7}b", None)] {
            assert_eq!(name(text).ok().as_deref(), kept, "{text:?}");
        }
        for (text, kept) in [(" crm ", Some("crm")), ("a/b räume", Some("a/b räume")), (" ", None), ("a\tb", None)] {
            assert_eq!(room(text).ok(), kept, "{text:?}");
        }
        assert!(room(&"x".repeat(255)).is_ok() && room(&"x".repeat(256)).is_err());
        for (text, kept) in
            [("Tasks", Some("tasks")), ("_x1", Some("_x1")), ("1x", None), ("", None), ("a b", None), ("a\"b", None)]
        {
            assert_eq!(table(text).ok().as_deref(), kept, "{text:?}");
        }
        assert_eq!(agent("Mozilla/5.0\n(x)"), "Mozilla/5.0(x)");
        assert_eq!(agent(&"ä".repeat(500)).chars().count(), 100);
    }
}
