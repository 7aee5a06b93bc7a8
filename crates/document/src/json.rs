//! Decides whether text is what `JSON.parse` accepts, without building anything.
//!
//! Called by `wire` for formats, embeds and legacy JSON, and by the room for awareness states. A JSON library is no use here: those
//! that build values refuse lone `\ud83d` escapes and numbers out of range, both legal in JavaScript. Nesting deeper than 64 is refused,
//! because readers recurse. One pass, no allocation, no recursion.

/// Deepest nesting accepted: a reader in another language may recurse, and no application is known to pass ten.
const DEPTH_MAX: u32 = 64;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Valid,
    Invalid,
    /// Correct as far as it was read, which is not further than the nesting allowed.
    TooDeep(u32),
}

/// True for any JSON text.
pub fn is_json(text: &[u8]) -> bool {
    scan(text) == Json::Valid
}

/// Looks at the whole text.
pub(crate) fn scan(text: &[u8]) -> Json {
    let mut scanner = Scanner { text, at: 0, too_deep: false };
    let valid = scanner.value() && {
        scanner.space();
        scanner.at == text.len()
    };
    match (valid, scanner.too_deep) {
        (true, _) => Json::Valid,
        (false, true) => Json::TooDeep(DEPTH_MAX),
        (false, false) => Json::Invalid,
    }
}

/// True for a JSON object or `null`: what an awareness state may be.
pub fn is_json_object_or_null(text: &[u8]) -> bool {
    let first = text.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(first, Some(b'{' | b'n')) && is_json(text)
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    too_deep: bool,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(word);
        self.at += word.len() * usize::from(found);
        found
    }

    /// One value with everything in it. `open` has a bit per open bracket, the innermost lowest: 1 for an object.
    fn value(&mut self) -> bool {
        let (mut open, mut depth) = (0u64, 0u32);
        loop {
            self.space();
            let entered = match self.peek() {
                Some(b'{') => Some(1),
                Some(b'[') => Some(0),
                _ => None,
            };
            if let Some(object) = entered {
                self.at += 1;
                depth += 1;
                if depth > DEPTH_MAX {
                    self.too_deep = true;
                    return false;
                }
                open = open << 1 | object;
                self.space();
                if !self.eat(if object == 1 { b'}' } else { b']' }) {
                    if object == 1 && !self.key() {
                        return false;
                    }
                    continue;
                }
                open >>= 1;
                depth -= 1;
            } else if !self.scalar() {
                return false;
            }
            match self.after_value(&mut open, &mut depth) {
                Next::Value => {}
                Next::Done => return true,
                Next::Bad => return false,
            }
        }
    }

    /// Closes what ends here, and says what has to come.
    fn after_value(&mut self, open: &mut u64, depth: &mut u32) -> Next {
        while *depth > 0 {
            self.space();
            let object = *open & 1 == 1;
            if self.eat(b',') {
                self.space();
                return if !object || self.key() { Next::Value } else { Next::Bad };
            }
            if !self.eat(if object { b'}' } else { b']' }) {
                return Next::Bad;
            }
            *open >>= 1;
            *depth -= 1;
        }
        Next::Done
    }

    fn key(&mut self) -> bool {
        self.string() && {
            self.space();
            self.eat(b':')
        }
    }

    fn scalar(&mut self) -> bool {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => false,
        }
    }

    fn string(&mut self) -> bool {
        if !self.eat(b'"') {
            return false;
        }
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return true,
                b'\\' if !self.escape() => return false,
                0..0x20 => return false,
                _ => {}
            }
        }
        false
    }

    fn escape(&mut self) -> bool {
        let Some(byte) = self.peek() else { return false };
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => true,
            b'u' => {
                let hex = self.text.get(self.at..self.at + 4);
                self.at += 4;
                hex.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            }
            _ => false,
        }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> bool {
        self.eat(b'-');
        let whole = self.eat(b'0') || self.digits();
        let fraction = !self.eat(b'.') || self.digits();
        let exponent = !(self.eat(b'e') || self.eat(b'E')) || {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()
        };
        whole && fraction && exponent
    }
}

enum Next {
    Value,
    Done,
    Bad,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_json_parse_accepts() {
        for text in [
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "1e999",
            "-1.5E-3",
            "\"\"",
            r#""\ud83d""#,
            r#""\"\\\/\b\f\n\r\t""#,
            "[]",
            "{}",
            "[ ]",
            "{ }",
            "[1,[2,{\"a\":[]}],null]",
            "{\"a\":1,\"b\":{\"c\":[{}]}}",
            "\"\u{2028}😀\"",
            "\t\n\r 1",
            "{\"__proto__\":{}}",
        ] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn refuses_what_json_parse_refuses() {
        for text in [
            "",
            " ",
            "undefined",
            "nul",
            "nulll",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "\"",
            "\"\n\"",
            r#""\x""#,
            r#""\u12""#,
            "[",
            "]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "{,}",
            "[}",
            "{]",
            "1 2",
            "'a'",
            "NaN",
            "\u{a0}1",
        ] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn nesting_ends_at_64() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(is_json(nested(64).as_bytes()));
        assert!(!is_json(nested(65).as_bytes()));
        assert!(!is_json("[".repeat(1_000_000).as_bytes()));
        let object = |depth: usize| ["{\"a\":".repeat(depth), "1".into(), "}".repeat(depth)].concat();
        assert!(is_json(object(64).as_bytes()) && !is_json(object(65).as_bytes()));
    }

    #[test]
    fn an_awareness_state_is_an_object_or_null() {
        for (text, expected) in [
            ("{}", true),
            ("null", true),
            (" {\"a\":1}", true),
            ("1", false),
            ("[]", false),
            ("\"\"", false),
            ("nope", false),
        ] {
            assert_eq!(is_json_object_or_null(text.as_bytes()), expected, "{text}");
        }
    }
}
