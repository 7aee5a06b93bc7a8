//! SQLite values as JSON and back. Methods write rows with this; it knows no table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};
use serde_json::value::RawValue;

/// Writes a string with its quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A string with its quotes.
pub(crate) fn string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// Writes one value. BLOBs are base64; text that is no UTF-8 has U+FFFD where it is not; what JSON has no number for is null.
pub(crate) fn push_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        ValueRef::Real(number) if number.is_finite() => {
            let _ = serde_json::to_writer(out, &number);
        }
        ValueRef::Real(_) => out.extend_from_slice(b"null"),
        ValueRef::Text(text) => push_string(out, &String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

/// The member names of a row, written once: quoted, and none for a column whose name a later one has too, as in JavaScript the last wins.
pub(crate) struct Names(Vec<Option<Vec<u8>>>);

impl Names {
    pub(crate) fn new(columns: &[&str]) -> Names {
        let quoted = |(at, name): (usize, &&str)| {
            let is_last = !columns[at + 1..].contains(name);
            is_last.then(|| {
                let mut out = Vec::with_capacity(name.len() + 3);
                push_string(&mut out, name);
                out.push(b':');
                out
            })
        };
        Names(columns.iter().enumerate().map(quoted).collect())
    }

    /// Writes the row as an object. False: with it, `out` has more than so many bytes, and what it has is not whole.
    pub(crate) fn push_row(&self, out: &mut Vec<u8>, row: &Row<'_>, bytes_max: usize) -> rusqlite::Result<bool> {
        out.push(b'{');
        let mut is_first = true;
        for (at, name) in self.0.iter().enumerate() {
            let Some(name) = name else { continue };
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(name);
            push_value(out, row.get_ref(at)?);
            // Looked at for each: values that a statement names many times are kept once by SQLite.
            if out.len() > bytes_max {
                return Ok(false);
            }
        }
        out.push(b'}');
        Ok(true)
    }
}

/// A JSON value as SQLite keeps it: booleans are 0 and 1, arrays and objects their text.
pub(crate) fn to_sql(raw: &RawValue) -> Value {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') | None => Value::Null,
        Some(b't') => Value::Integer(1),
        Some(b'f') => Value::Integer(0),
        Some(b'"') => Value::Text(crate::payload::text(raw).unwrap_or_default()),
        Some(b'[' | b'{') => Value::Text(text.to_owned()),
        Some(_) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Value::Integer(whole),
            (_, Ok(real)) => Value::Real(real),
            _ => Value::Null,
        },
    }
}
