//! Five functions of SQLite whose own time grows with the product of two lengths: with two values of a megabyte one call takes minutes, and
//! within a call no deadline is looked at. These give the same in linear time. `src/methods/query.rs` puts them on a connection before a
//! stranger's statement runs there.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result};

/// Puts the functions on the connection, in place of SQLite's.
pub(crate) fn replace_slow(db: &Connection, value_bytes_max: usize) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    let texts = Arc::new(Texts::default());
    let own = texts.clone();
    db.create_scalar_function("instr", 2, flags, move |call| instr(call, &own))?;
    let own = texts.clone();
    db.create_scalar_function("replace", 3, flags, move |call| replace(call, &own, value_bytes_max))?;
    for (name, left, right) in [("trim", true, true), ("ltrim", true, false), ("rtrim", false, true)] {
        for arguments in [1, 2] {
            let own = texts.clone();
            db.create_scalar_function(name, arguments, flags, move |call| trim(call, &own, left, right))?;
        }
    }
    Ok(())
}

/// Arguments as text. How SQLite writes a number with a point only SQLite knows, so it is asked, on a connection that is opened when the
/// first of them comes.
#[derive(Default)]
struct Texts(Mutex<Option<Connection>>);

impl Texts {
    /// An argument as text; none for NULL.
    fn of<'a>(&self, call: &'a Context<'_>, at: usize) -> Result<Option<Cow<'a, str>>> {
        Ok(match call.get_raw(at) {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number.to_string().into()),
            ValueRef::Real(number) => Some(self.real(number)?.into()),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
        })
    }

    fn real(&self, number: f64) -> Result<String> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_none() {
            *asked = Some(Connection::open_in_memory()?);
        }
        let Some(db) = &*asked else { return Ok(String::new()) };
        db.prepare_cached("SELECT CAST(?1 AS TEXT)")?.query_row([number], |row| row.get(0))
    }
}

fn instr(call: &Context<'_>, texts: &Texts) -> Result<Option<i64>> {
    if let (ValueRef::Blob(hay), ValueRef::Blob(needle)) = (call.get_raw(0), call.get_raw(1)) {
        // Each byte as a character of its own, because strings have a linear search.
        let wide = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        return Ok(Some(place(&wide(hay), &wide(needle))));
    }
    let (Some(hay), Some(needle)) = (texts.of(call, 0)?, texts.of(call, 1)?) else { return Ok(None) };
    Ok(Some(place(&hay, &needle)))
}

/// The place of the first character, from 1; 0 if there is none.
fn place(hay: &str, needle: &str) -> i64 {
    hay.find(needle).map_or(0, |at| hay[..at].chars().count() as i64 + 1)
}

fn replace(call: &Context<'_>, texts: &Texts, bytes_max: usize) -> Result<Option<String>> {
    let (Some(hay), Some(old)) = (texts.of(call, 0)?, texts.of(call, 1)?) else { return Ok(None) };
    // As in C, a NUL at the beginning ends it there.
    if old.is_empty() || old.starts_with('\0') {
        return Ok(Some(hay.into_owned()));
    }
    let Some(new) = texts.of(call, 2)? else { return Ok(None) };
    let count = hay.matches(&*old).count();
    if hay.len() - count * old.len() + count.saturating_mul(new.len()) > bytes_max {
        return Err(Error::UserFunctionError("string or blob too big".into()));
    }
    Ok(Some(hay.replace(&*old, &new)))
}

fn trim(call: &Context<'_>, texts: &Texts, left: bool, right: bool) -> Result<Option<String>> {
    let Some(hay) = texts.of(call, 0)? else { return Ok(None) };
    let unwanted: HashSet<char> = match call.len() {
        1 => [' '].into(),
        _ => match texts.of(call, 1)? {
            // As in C, a NUL ends the list.
            Some(letters) => letters.chars().take_while(|letter| *letter != '\0').collect(),
            None => return Ok(None),
        },
    };
    let mut rest: &str = &hay;
    if left {
        rest = rest.trim_start_matches(|letter| unwanted.contains(&letter));
    }
    if right {
        rest = rest.trim_end_matches(|letter| unwanted.contains(&letter));
    }
    Ok(Some(rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every argument that could be told apart, in SQLite's functions and in these.
    #[test]
    fn the_answers_are_those_of_sqlite() {
        let (own, theirs) =
            (Connection::open_in_memory().expect("memory"), Connection::open_in_memory().expect("memory"));
        replace_slow(&own, 1 << 20).expect("functions");
        let values = [
            "NULL",
            "''",
            "'a'",
            "'aab'",
            "'äöä b'",
            "' ab '",
            "x''",
            "x'61'",
            "x'0061ff'",
            "1",
            "-10",
            "1.0",
            "0.1",
            "-1.5",
            "123456.789",
            "1e14",
            "1e15",
            "1e16",
            "1e17",
            "1e18",
            "12345678901234567.0",
            "1.2345e22",
            "0.1 + 0.2",
            "2.0 / 3",
            "1e300",
            "-1e-5",
            "0.0001",
            "0.00012345",
            "9e999",
            "3.141592653589793",
            "0.0",
            "100.0",
        ];
        let mut compared = 0;
        let mut compare = |sql: String| {
            let ask = |db: &Connection| {
                db.query_row(&format!("SELECT typeof({sql}), quote({sql})"), [], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })
            };
            assert_eq!(ask(&own).expect("an answer"), ask(&theirs).expect("an answer"), "{sql}");
            compared += 1;
        };
        for a in values {
            compare(format!("trim({a})"));
            for b in values {
                for name in ["instr", "trim", "ltrim", "rtrim"] {
                    compare(format!("{name}({a}, {b})"));
                }
                compare(format!("replace({a}, {b}, 'xy')"));
                compare(format!("replace('aaba 1.0 -10 1e+15', {a}, {b})"));
            }
        }
        assert!(compared > 4_000);
    }
}
