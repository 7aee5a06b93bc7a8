//! Methods on tables as a whole: making one, removing one, and what all look like.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::value::RawValue;

use super::{Ask, Refusal, refuse};
use crate::database::COLUMNS_MAX;
use crate::database::{is_full, is_out_of_memory, words};
use crate::payload::{self, Payload};
use crate::table::{self, quoted};
use crate::{Answer, Outcome, json};

/// Calls of `createTable` and of `deleteTable` in a minute. The protocol says 10.
const PER_MINUTE: usize = 10;
const TYPES: [&str; 8] = ["TEXT", "INTEGER", "REAL", "BLOB", "NUMERIC", "BOOLEAN", "DATE", "DATETIME"];
const NOW: [&str; 3] = ["CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"];

/// The table's name as it is in a payload: none if it is missing in the sense of JavaScript.
fn name_of(ask: &Ask<'_>) -> Option<Option<String>> {
    let raw = ask.payload.get("tableName")?;
    (!matches!(raw.get(), "null" | "false" | "0" | "\"\"")).then(|| payload::text(raw))
}

pub(super) fn create(db: &Connection, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let missing = || refuse("createTable requires tableName and columns array");
    let name = name_of(ask).ok_or_else(missing)?;
    let columns = ask.payload.array("columns").ok_or_else(missing)?;
    let name = name.filter(|name| table::is_name(name)).ok_or_else(|| {
        refuse(
            "Invalid table name. Use only letters, numbers, and underscores. Must start with a letter or underscore.",
        )
    })?;
    if name.starts_with('_') {
        return Err(refuse("Cannot create tables with names starting with underscore (reserved for system tables)"));
    }
    ask.admit(PER_MINUTE, "Rate limit exceeded for createTable")?;
    let failed = |why: String| refuse(format!("Failed to create table: {why}"));
    let sql = statement(&name, &columns).map_err(failed)?;
    let mut find = db
        .prepare_cached("SELECT name, sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE")?;
    let existing =
        find.query_row([&name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))).optional()?;
    if let Some((name, Some(sql))) = existing.filter(|(name, _)| table::is_accessible(name)) {
        return Ok(done(&name, Some(&sql)));
    }
    if table::names(db)?.len() >= ask.settings.tables_max {
        return Err(failed(format!("too many tables: maximum {}", ask.settings.tables_max)));
    }
    match db.execute_batch(&sql) {
        Ok(()) => {}
        Err(why) if is_full(&why) || is_out_of_memory(&why) || db.is_autocommit() => return Err(why.into()),
        Err(why) => return Err(failed(words(&why))),
    }
    Ok(Outcome { schema: Some(table::schema(db)?.into()), ..done(&name, Some(&sql)) })
}

fn done(name: &str, sql: Option<&str>) -> Outcome {
    let mut data = format!(r#"{{"tableName":{}"#, json::string(name));
    if let Some(sql) = sql {
        data.push_str(r#","sql":"#);
        data.push_str(&json::string(sql));
    }
    data.push('}');
    Outcome::of(Answer::Done { data: Some(data.into()), message: None })
}

/// The statement that makes the table. Every word in it is a name that was checked, one of a list, or a quoted literal.
fn statement(name: &str, columns: &[&RawValue]) -> Result<String, String> {
    struct Column {
        name: String,
        definition: String,
        is_key: bool,
    }
    let mut made = Vec::with_capacity(columns.len() + 1);
    for raw in columns {
        let column = Payload::of(raw.get().as_bytes());
        let shown = column.get("name").map_or("undefined", |raw| raw.get());
        let name = column.get("name").and_then(payload::text);
        let Some(name) = name.filter(|name| table::is_name(name)) else {
            let shown = column.get("name").and_then(payload::text).unwrap_or_else(|| shown.to_owned());
            return Err(format!("Invalid column name: {}", shown.chars().take(128).collect::<String>()));
        };
        let kind = match column.get("type") {
            None => "TEXT".to_owned(),
            Some(raw) if matches!(raw.get(), "null" | "\"\"") => "TEXT".to_owned(),
            Some(raw) => payload::text(raw).unwrap_or_else(|| raw.get().to_owned()),
        };
        let Some(known) = TYPES.iter().find(|known| known.eq_ignore_ascii_case(&kind)) else {
            let shown: String = kind.to_uppercase().chars().take(128).collect();
            return Err(format!("Invalid column type: {shown}. Valid types: {}", TYPES.join(", ")));
        };
        let mut definition = format!("{} {known}", quoted(&name));
        let is_key = column.is_true("primaryKey");
        for (is_wanted, words) in [(column.is_true("notNull"), " NOT NULL"), (column.is_true("unique"), " UNIQUE")] {
            if is_wanted {
                definition.push_str(words);
            }
        }
        if let Some(default) = column.get("default") {
            definition.push_str(" DEFAULT ");
            definition.push_str(&literal(default)?);
        }
        made.push(Column { name, definition, is_key });
    }
    let keys = made.iter().filter(|column| column.is_key).count();
    let mut parts = Vec::with_capacity(made.len() + 2);
    // Who names a key has what finds a row; two keys SQLite would not take.
    if keys == 0 && !made.iter().any(|column| column.name.eq_ignore_ascii_case("id")) {
        parts.push("id INTEGER PRIMARY KEY AUTOINCREMENT".to_owned());
    }
    for column in &made {
        let key = if column.is_key && keys == 1 { " PRIMARY KEY" } else { "" };
        parts.push(format!("{}{key}", column.definition));
    }
    if parts.len() > COLUMNS_MAX {
        return Err(format!("too many columns: maximum {COLUMNS_MAX}"));
    }
    if keys > 1 {
        let names: Vec<String> =
            made.iter().filter(|column| column.is_key).map(|column| quoted(&column.name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    Ok(format!("CREATE TABLE {} ({})", quoted(name), parts.join(", ")))
}

/// A default value as SQL.
fn literal(raw: &RawValue) -> Result<String, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let value = payload::text(raw).unwrap_or_default();
            if let Some(word) = NOW.iter().find(|word| word.eq_ignore_ascii_case(&value)) {
                return Ok((*word).to_owned());
            }
            // Text of a statement ends at a NUL.
            if value.contains('\0') {
                return Err("Invalid default".to_owned());
            }
            Ok(format!("'{}'", value.replace('\'', "''")))
        }
        Some(b'n') => Ok("NULL".to_owned()),
        Some(b't') => Ok("1".to_owned()),
        Some(b'f') => Ok("0".to_owned()),
        // What JSON calls a number is one in SQL, too, but for those that are infinite.
        Some(b'-' | b'0'..=b'9') if text.len() <= 64 && text.parse::<f64>().is_ok_and(f64::is_finite) => {
            Ok(text.to_owned())
        }
        _ => Err("Invalid default".to_owned()),
    }
}

pub(super) fn delete(db: &Connection, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let name = name_of(ask).ok_or_else(|| refuse("deleteTable requires tableName parameter"))?;
    let name = name.filter(|name| table::is_name(name)).ok_or_else(|| refuse("Invalid table name"))?;
    if table::is_system(&name) || name.eq_ignore_ascii_case("tasks") {
        return Err(refuse("Cannot delete system tables"));
    }
    ask.admit(PER_MINUTE, "Rate limit exceeded for deleteTable")?;
    let Some(found) = table::Table::find(db, &name)? else { return Ok(done(&name, None)) };
    let rules = &ask.call.caller.rules;
    if rules.is_protected(&found.name) && !rules.writes_all(&found.name, &ask.call.caller.user) {
        // It may have rows of others; whether it has, must not be said.
        return Err(refuse(format!(
            "Table '{name}' is protected: deleting it needs the right to change all of its rows"
        )));
    }
    db.execute_batch(&format!("DROP TABLE main.{}", quoted(&found.name)))?;
    Ok(Outcome { schema: Some(table::schema(db)?.into()), ..done(&name, None) })
}

pub(super) fn schema(db: &Connection) -> rusqlite::Result<Outcome> {
    Ok(Outcome::of(Answer::Schema(Bytes::from(table::schema(db)?))))
}
