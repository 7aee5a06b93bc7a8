//! `batchInsert`: many rows in groups, each group a transaction in which a row that fails is skipped. A call of one small group is a part of the
//! transaction that all writes share which wait together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde_json::value::RawValue;

use super::rows::{self, foreign};
use super::{Ask, Refusal, refuse};
use crate::database::{is_full, is_out_of_memory, is_room_full, patiently, words};
use crate::payload::{Pairs, Payload};
use crate::sight::{self, OWNER, Owner, Sight};
use crate::table::{Table, quoted};
use crate::{Action, Answer, Failure, Outcome, RowChange, json};

/// Rows of a transaction. The protocol says 50.
const GROUP: usize = 50;
/// Rows of a call. The protocol says 10,000.
const ROWS_MAX: usize = 10_000;
/// Of a payload that is looked at to find out whether its rows are one group: others cost more than a commit.
const SHARED_BYTES_MAX: usize = 64 << 10;
/// Errors that are reported. The protocol says the first five.
const ERRORS_MAX: usize = 5;
/// Names of columns in a refusal. 50: more are not read.
const NAMES_MAX: usize = 50;

pub(crate) const FULL: &str = "Room database is full";

/// The rows of one call on their way.
struct Insert<'a> {
    ask: &'a Ask<'a>,
    table: &'a Table,
    sight: Sight<'a>,
    /// Column by its name in lower case, and by its normalised name.
    columns: BTreeMap<String, usize>,
    inserted: usize,
    errors: Vec<String>,
    changes: Vec<RowChange>,
}

/// Whether the rows are one group, so that they can be a part of a transaction that others share.
pub(crate) fn is_one_group(payload: &[u8]) -> bool {
    payload.len() <= SHARED_BYTES_MAX && Payload::of(payload).array("rows").is_none_or(|rows| rows.len() <= GROUP)
}

/// Runs a call of one group in the transaction that is open. An error leaves it to the caller to undo what was done.
pub(crate) fn run_in_transaction(db: &Connection, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let (table, given) = wanted(db, ask)?;
    let mut insert = Insert::new(ask, &table)?;
    insert.compare(given[0])?;
    insert.rows(db, 0, &given)?;
    insert.inserted = insert.changes.len();
    Ok(insert.outcome(given.len(), false))
}

/// The table and the rows of a call.
fn wanted<'a>(db: &Connection, ask: &Ask<'a>) -> Result<(Table, Vec<&'a RawValue>), Refusal> {
    let name = ask.payload.text("table").ok_or_else(|| refuse("Invalid table name"))?;
    let given = ask.payload.array("rows").filter(|rows| !rows.is_empty());
    let given = given.ok_or_else(|| refuse("Rows must be a non-empty array"))?;
    if given.len() > ROWS_MAX {
        return Err(refuse("Too many rows: maximum 10,000"));
    }
    Ok((rows::table(db, &name)?, given))
}

/// Runs a call on a connection without an open transaction, and counts the commits.
pub(crate) fn run(db: &Connection, ask: &Ask<'_>, commits: &AtomicU64) -> Result<Outcome, Refusal> {
    let (table, given) = wanted(db, ask)?;
    let mut insert = Insert::new(ask, &table)?;
    insert.compare(given[0])?;
    let mut is_full = false;
    for (group, rows) in given.chunks(GROUP).enumerate() {
        let done = patiently(|| insert.group(db, group * GROUP, rows, commits));
        if let Err(why) = done.unwrap_or_else(|why| Err(words(&why))) {
            is_full = why == FULL;
            insert.complain(format!("Rows {} to {}: {why}", group * GROUP + 1, group * GROUP + rows.len()));
            if is_full {
                // The next ones would find no space either.
                break;
            }
        }
    }
    Ok(insert.outcome(given.len(), is_full))
}

impl<'a> Insert<'a> {
    fn new(ask: &'a Ask<'a>, table: &'a Table) -> Result<Self, Refusal> {
        let sight = Sight::new(&ask.call.caller, &table.name, table.column(OWNER).is_some());
        if !sight.may_add() {
            return Err(refuse(format!(
                "Table '{}' is protected: adding rows needs the right to change all of them",
                table.name
            )));
        }
        // A column's own name comes before what normalising makes of another's.
        let named = table.columns.iter().enumerate();
        let normal = named.clone().map(|(at, column)| (normalised(&column.name), at));
        let columns = normal.chain(named.map(|(at, column)| (column.name.to_ascii_lowercase(), at))).collect();
        Ok(Self { ask, table, sight, columns, inserted: 0, errors: Vec::new(), changes: Vec::new() })
    }

    fn column(&self, key: &str) -> Option<usize> {
        let found = self.columns.get(&key.to_ascii_lowercase()).or_else(|| self.columns.get(&normalised(key)));
        found.copied()
    }

    /// Whether the first row has a column of the table.
    fn compare(&self, first: &RawValue) -> Result<(), Refusal> {
        let keys = pairs(first);
        if keys.iter().any(|(key, _)| self.column(key).is_some()) {
            return Ok(());
        }
        let keys: Vec<String> = keys.iter().map(|(key, _)| normalised(key)).collect();
        let short = |names: &mut dyn Iterator<Item = &str>| {
            let names: Vec<String> = names.take(NAMES_MAX).map(|name| name.chars().take(128).collect()).collect();
            names.join(", ")
        };
        Err(refuse(format!(
            "Column mismatch. CSV columns ({}) do not match Table columns ({})",
            short(&mut keys.iter().map(String::as_str)),
            short(&mut self.table.columns.iter().map(|column| column.name.as_str()))
        )))
    }

    /// One transaction. The inner error says why none of its rows is there, the outer one that there was no memory.
    fn group(
        &mut self,
        db: &Connection,
        first: usize,
        rows: &[&RawValue],
        commits: &AtomicU64,
    ) -> rusqlite::Result<Result<(), String>> {
        let (errors, changes) = (self.errors.len(), self.changes.len());
        let begun = db.execute_batch("BEGIN IMMEDIATE").map_err(Refusal::from);
        let result = begun.and_then(|()| self.rows(db, first, rows));
        let result = result.and_then(|()| Ok(db.execute_batch("COMMIT")?));
        let Err(why) = result else {
            commits.fetch_add(1, Ordering::Relaxed);
            self.inserted = self.changes.len();
            return Ok(Ok(()));
        };
        if !db.is_autocommit() {
            // If this fails too, the next BEGIN will say so.
            let _ = db.execute_batch("ROLLBACK");
        }
        self.errors.truncate(errors);
        self.changes.truncate(changes);
        let bytes = rows.iter().map(|row| row.get().len()).sum();
        match why {
            Refusal::Sql(why) if is_out_of_memory(&why) => Err(why),
            Refusal::Sql(why) if is_full(&why) && is_room_full(db, bytes) => Ok(Err(FULL.to_owned())),
            Refusal::Sql(why) => Ok(Err(words(&why))),
            Refusal::Told(why) => Ok(Err(why.error)),
        }
    }

    fn rows(&mut self, db: &Connection, first: usize, rows: &[&RawValue]) -> Result<(), Refusal> {
        for (at, row) in rows.iter().enumerate() {
            db.execute_batch("SAVEPOINT one_row")?;
            match self.row(db, row) {
                Ok(change) => self.changes.push(change),
                // SQLite has given up the whole transaction: there is no space, no memory, or a broken disk.
                Err(why) if db.is_autocommit() => return Err(why),
                Err(Refusal::Sql(why)) if is_full(&why) || is_out_of_memory(&why) => return Err(why.into()),
                Err(why) => {
                    db.execute_batch("ROLLBACK TO one_row")?;
                    let why = match why {
                        Refusal::Told(why) => why.error,
                        Refusal::Sql(why) => words(&why),
                    };
                    self.complain(format!("Row {}: {why}", first + at + 1));
                }
            }
            db.execute_batch("RELEASE one_row")?;
        }
        Ok(())
    }

    fn row(&self, db: &Connection, row: &RawValue) -> Result<RowChange, Refusal> {
        let caller = &self.ask.call.caller;
        let mut values: BTreeMap<usize, Value> = BTreeMap::new();
        for (key, raw) in pairs(row) {
            if let Some(at) = self.column(&key) {
                values.insert(at, json::to_sql(raw));
            }
        }
        for (at, column) in self.table.columns.iter().enumerate() {
            let is_empty = match values.get(&at) {
                None | Some(Value::Null) => true,
                Some(Value::Text(text)) => text.is_empty(),
                Some(_) => false,
            };
            let name = column.name.to_ascii_lowercase();
            match name.as_str() {
                "owner_id" | "user_id" if is_empty => values.insert(at, Value::Text(caller.user.to_string())),
                "created_at" if is_empty => values.insert(at, Value::Integer(self.ask.call.now_ms as i64)),
                _ => continue,
            };
        }
        if values.is_empty() {
            return Err(refuse("it has none of the table's columns"));
        }
        let people = values.iter().map(|(at, value)| (&self.table.columns[*at].name, value));
        if let Some((column, _)) =
            people.into_iter().find(|(column, value)| !self.sight.may_name(column, (*value).into()))
        {
            return Err(refuse(foreign(column)));
        }
        let names: Vec<String> = values.keys().map(|at| quoted(&self.table.columns[*at].name)).collect();
        let places = vec!["?"; names.len()].join(", ");
        let sql = format!(
            "INSERT INTO main.{}({}) VALUES ({places}) RETURNING *",
            quoted(&self.table.name),
            names.join(", ")
        );
        let mut insert = db.prepare_cached(&sql)?;
        let mut found = insert.query(params_from_iter(values.values()))?;
        let Some(new) = found.next()? else { return Err(refuse("the database has not returned the new row")) };
        let (owner, json): (Owner, Bytes) = (rows::owner(self.table, new)?, rows::object(self.table, new)?);
        while found.next()?.is_some() {}
        let is_own = matches!(&owner, Owner::User(user) if *user == *caller.user);
        if self.sight.is_protected && self.table.column(OWNER).is_some() && !is_own {
            // A column of another type may have made another user's name of the caller's.
            return Err(refuse(foreign(OWNER)));
        }
        Ok(sight::told(&self.table.name, Action::Added, json, self.sight.readers(&owner)))
    }

    fn complain(&mut self, error: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    fn outcome(self, total: usize, is_full: bool) -> Outcome {
        let errors: Vec<String> = self.errors.iter().map(|error| json::string(error)).collect();
        let data = format!(r#"{{"inserted":{},"total":{total},"errors":[{}]}}"#, self.inserted, errors.join(","));
        let data = Some(Bytes::from(data));
        if self.inserted > 0 {
            return Outcome { changes: self.changes, ..Outcome::of(Answer::Done { data, message: None }) };
        }
        let error = match self.errors.first() {
            _ if is_full => FULL.to_owned(),
            first => format!("No rows were inserted. First error: {}", first.map_or("none", String::as_str)),
        };
        Outcome::of(Answer::Failed(Failure { data, ..Failure::new(error) }))
    }
}

/// The members of a row; what is no object has none.
fn pairs(row: &RawValue) -> Vec<(String, &RawValue)> {
    serde_json::from_str::<Pairs<'_>>(row.get()).map(|pairs| pairs.0).unwrap_or_default()
}

/// A name as people write it above a column, as a column's name.
fn normalised(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for letter in key.chars().flat_map(char::to_lowercase) {
        match letter {
            'a'..='z' | '0'..='9' => name.push(letter),
            _ if name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    let name = name.trim_matches('_');
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn keys_become_names_of_columns() {
        for (key, name) in [
            ("name", "name"),
            ("First Name", "first_name"),
            ("--E-Mail (work)!", "e_mail_work"),
            ("2nd", "_2nd"),
            ("__a__b__", "a_b"),
            ("Größe", "gr_e"),
            ("ÄÖ", ""),
            ("", ""),
        ] {
            assert_eq!(normalised(key), name, "{key}");
        }
    }
}
