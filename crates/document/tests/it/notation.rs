//! How cases are written down: a file of lines `words | bytes  # meaning`.
//!
//! Bytes are hex pairs, `'text'` for a string with its length before it, and `5b*64` for a byte many times.

use document::lib0::write_var_bytes;

/// One line of a case file.
pub(crate) struct Case<'a> {
    /// What stands before the bar.
    pub(crate) words: &'a str,
    pub(crate) bytes: Vec<u8>,
    /// The line itself, to be shown when it fails.
    pub(crate) line: &'a str,
}

/// The cases of a file; empty lines and those that begin with `#` are none.
pub(crate) fn cases(file: &str) -> impl Iterator<Item = Case<'_>> {
    file.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(|line| {
        let (words, rest) = line.split_once('|').unwrap_or_else(|| panic!("no bar in {line:?}"));
        let (text, _) = rest.split_once(" # ").unwrap_or_else(|| panic!("no meaning in {line:?}"));
        Case { words: words.trim(), bytes: bytes(text), line }
    })
}

/// The bytes that the notation stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, piece) in text.split('\'').enumerate() {
        if place % 2 == 1 {
            write_var_bytes(&mut out, piece.as_bytes());
            continue;
        }
        for word in piece.split_whitespace() {
            let (pair, times) = word.split_once('*').unwrap_or((word, "1"));
            let byte = u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2);
            let byte = byte.unwrap_or_else(|| panic!("{word:?} is not a byte, in {text:?}"));
            out.resize(out.len() + times.parse::<usize>().expect("a number of times"), byte);
        }
    }
    out
}
