//! Changing one value of one row, in any table: `updateRow`, and what `completeTask` shares with it. Also how a row becomes JSON.

use bytes::Bytes;
use rusqlite::{Connection, Row, ToSql};
use serde_json::value::RawValue;

use super::{Ask, Refusal, TOO_FAST, refuse};
use crate::json;
use crate::sight::{self, OWNER, Owner, Sight};
use crate::table::{self, Table, quoted};
use crate::{Answer, Outcome, RowChange, payload};

/// Calls of `updateRow` in a minute. The protocol says 100.
const PER_MINUTE: usize = 100;

/// A table that a method may work on.
pub(super) fn table(db: &Connection, name: &str) -> Result<Table, Refusal> {
    // Only a name is repeated in full: what is longer would make the refusal as long as the payload.
    let shown: String = name.chars().take(128).collect();
    Table::find(db, name)?.ok_or_else(|| refuse(format!("Table '{shown}' does not exist or is not accessible")))
}

/// Whose the row is. The row has all columns of the table, in its order.
pub(super) fn owner(table: &Table, row: &Row<'_>) -> rusqlite::Result<Owner> {
    match table.columns.iter().position(|column| column.name.eq_ignore_ascii_case(OWNER)) {
        Some(at) => Ok(Owner::of(row.get_ref(at)?)),
        None => Ok(Owner::Nobody),
    }
}

/// The row as JSON.
pub(super) fn object(table: &Table, row: &Row<'_>) -> rusqlite::Result<Bytes> {
    let mut out = Vec::with_capacity(32 * table.columns.len());
    // A row is no longer than SQLite lets it be.
    table.names.push_row(&mut out, row, usize::MAX)?;
    Ok(out.into())
}

/// A row that was changed.
pub(super) struct Changed {
    pub(super) changes: Vec<RowChange>,
    /// The row after the change, if the caller may see it.
    row: Option<Bytes>,
}

/// Sets one column of the first row that the condition finds among those that the caller may change. None if there is no such row.
pub(super) fn change(
    db: &Connection,
    ask: &Ask<'_>,
    table: &Table,
    condition: &str,
    id: &dyn ToSql,
    column: &str,
    value: &dyn ToSql,
) -> Result<Option<Changed>, Refusal> {
    let sight = Sight::new(&ask.call.caller, &table.name, table.column(OWNER).is_some());
    let Some(number) = table.row_number() else { return Ok(None) };
    let user: &str = &ask.call.caller.user;
    let (name, number) = (quoted(&table.name), quoted(number));
    let mut find = db.prepare_cached(&format!(
        "SELECT *, {number} FROM main.{name} WHERE {condition} AND {} ORDER BY {number} LIMIT 1",
        sight.writable(":user")
    ))?;
    let mut found = find.query(&[(":id", id), (":user", &user as &dyn ToSql)][..])?;
    let Some(old) = found.next()? else { return Ok(None) };
    let row_number: i64 = old.get(table.columns.len())?;
    let before = (object(table, old)?, sight.readers(&owner(table, old)?));
    drop(found);

    let set = format!("UPDATE main.{name} SET {} = :value WHERE {number} = :number RETURNING *", quoted(column));
    let mut set = db.prepare_cached(&set)?;
    let mut found = set.query(&[(":value", value), (":number", &row_number as &dyn ToSql)][..])?;
    let Some(new) = found.next()? else { return Ok(None) };
    let new_owner = owner(table, new)?;
    let row = object(table, new)?;
    // A column of another type may have made another user's name of the caller's.
    let is_person = sight.is_protected && column.eq_ignore_ascii_case(OWNER);
    if is_person && !matches!(&new_owner, Owner::Everybody) && !matches!(&new_owner, Owner::User(name) if name == user)
    {
        return Err(refuse(foreign(column)));
    }
    while found.next()?.is_some() {}
    let visible = sight.sees(&new_owner).then(|| row.clone());
    let changes = sight::modified(&table.name, before, (row, sight.readers(&new_owner)));
    Ok(Some(Changed { changes, row: visible }))
}

/// Why a row cannot be given away.
pub(super) fn foreign(column: &str) -> String {
    format!("{column} cannot be set to another user")
}

pub(super) fn update(db: &Connection, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let payload = &ask.payload;
    let name = payload.text("table").ok_or_else(|| refuse("Invalid table name"))?;
    let id = payload.get("id").filter(|raw| is_id(raw)).ok_or_else(|| refuse("Invalid row id"))?;
    let field = payload.text("field").ok_or_else(|| refuse("Invalid field name"))?;
    let table = table(db, &name)?;
    if !table::is_name(&field) {
        return Err(refuse("Invalid field name format"));
    }
    ask.admit(PER_MINUTE, TOO_FAST)?;
    let none = || {
        let shown: String = payload::text(id).unwrap_or_else(|| id.get().to_owned()).chars().take(128).collect();
        refuse(format!("No row found with id {shown}"))
    };
    let Some(key) = key_of(&table) else { return Err(none()) };
    // SQLite would take what is no column for a string, or say nothing of hidden ones.
    let Some(column) = table.column(&field) else { return Err(refuse(format!("no such column: {field}"))) };
    let value = payload.get("value").map_or(rusqlite::types::Value::Null, json::to_sql);
    let sight = Sight::new(&ask.call.caller, &table.name, table.column(OWNER).is_some());
    let condition = format!("{} = :id", quoted(&key));
    if !sight.may_name(&column.name, (&value).into()) {
        // Whether the row is there must be said first: it may be a foreign one.
        return match exists(db, ask, &table, &condition, &json::to_sql(id))? {
            true => Err(refuse(foreign(&column.name))),
            false => Err(none()),
        };
    }
    let changed = change(db, ask, &table, &condition, &json::to_sql(id), &column.name, &value)?.ok_or_else(none)?;
    let answer = Answer::Done { data: changed.row, message: None };
    Ok(Outcome { changes: changed.changes, ..Outcome::of(answer) })
}

fn exists(db: &Connection, ask: &Ask<'_>, table: &Table, condition: &str, id: &dyn ToSql) -> rusqlite::Result<bool> {
    let sight = Sight::new(&ask.call.caller, &table.name, table.column(OWNER).is_some());
    let find = format!(
        "SELECT count(*) > 0 FROM main.{} WHERE {condition} AND {}",
        quoted(&table.name),
        sight.writable(":user")
    );
    let user: &str = &ask.call.caller.user;
    db.query_row(&find, &[(":id", id), (":user", &user as &dyn ToSql)][..], |row| row.get(0))
}

/// Numbers but 0, and strings with something in them.
fn is_id(raw: &RawValue) -> bool {
    match raw.get().as_bytes().first() {
        Some(b'"') => raw.get() != "\"\"",
        Some(b'-' | b'0'..=b'9') => raw.get().parse::<f64>().is_ok_and(|number| number != 0.0),
        _ => false,
    }
}

/// The column that finds a row: `id`, or the primary key if that is one column.
fn key_of(table: &Table) -> Option<String> {
    if let Some(id) = table.column("id") {
        return Some(id.name.clone());
    }
    let mut keys = table.columns.iter().filter(|column| column.key > 0);
    match (keys.next(), keys.next()) {
        (Some(key), None) => Some(key.name.clone()),
        (None, _) => table.row_number().map(str::to_owned),
        _ => None,
    }
}
