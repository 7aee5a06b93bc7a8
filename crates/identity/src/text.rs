//! Text of strangers in words for people: bounded and escaped, so that a token can neither fill a log nor write lines into it. Called
//! wherever a message shows what a credential says.

/// Characters of a stranger's text that a message shows.
const SHOWN_CHARS_MAX: usize = 64;

/// Bytes that an id, a name, a role or an address may have: the store keeps an author of 256 bytes with each change.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// The text in quotes, control characters escaped, at most 64 characters of it.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(SHOWN_CHARS_MAX).is_some() { "..." } else { "" };
    format!("\"{shown}\"{rest}")
}

/// What is wrong with a text that is kept and shown, to follow its name: `None` when it is fine.
pub(crate) fn problem(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("is empty"),
        text if text.len() > TEXT_BYTES_MAX => Some("is longer than 256 bytes"),
        text if text.chars().any(char::is_control) => Some("has control characters"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_texts_are_bounded_and_escaped() {
        let cases = [
            ("key-1", r#""key-1""#.to_owned()),
            ("", r#""""#.to_owned()),
            ("a\nb\u{1b}[31m", r#""a\nb\u{1b}[31m""#.to_owned()),
            ("\u{202e}x\"", r#""\u{202e}x\"""#.to_owned()),
            ("ä漢", r#""ä漢""#.to_owned()),
        ];
        for (text, shown) in cases {
            assert_eq!(quoted(text), shown);
        }
        assert_eq!(quoted(&"x".repeat(64)), format!("\"{}\"", "x".repeat(64)));
        assert_eq!(quoted(&"x".repeat(9_000)), format!("\"{}\"...", "x".repeat(64)));
    }

    #[test]
    fn kept_texts_have_rules() {
        let (long, longest) = ("x".repeat(257), "x".repeat(256));
        let cases = [
            ("u1", None),
            ("Zoë 漢", None),
            (longest.as_str(), None),
            ("", Some("is empty")),
            (long.as_str(), Some("is longer than 256 bytes")),
            ("a\nb", Some("has control characters")),
            ("a\u{0}", Some("has control characters")),
            ("\u{85}", Some("has control characters")),
        ];
        for (text, expected) in cases {
            assert_eq!(problem(text), expected, "{text:?}");
        }
    }
}
