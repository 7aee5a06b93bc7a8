//! What a table looks like, as SQLite says. Methods look tables up here before they touch a row; who may see which is `src/sight.rs`.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use crate::json;

/// A table that methods may work on.
pub(crate) struct Table {
    /// As it was made.
    pub(crate) name: Arc<str>,
    pub(crate) columns: Vec<Column>,
    /// The columns' names as members of an object.
    pub(crate) names: json::Names,
}

pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// 0 or the place in the primary key.
    pub(crate) key: i64,
}

/// `[A-Za-z_][A-Za-z0-9_]*`. 128 characters are more than anybody types, and keep texts that repeat a name short.
pub(crate) fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && name.len() <= 128
}

/// Whether a table of this name is for users: a name, and not one of the system's.
pub(crate) fn is_accessible(name: &str) -> bool {
    is_name(name) && !is_system(name)
}

/// Names of this crate's own tables and of SQLite's.
pub(crate) fn is_system(name: &str) -> bool {
    name.starts_with('_') || name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"))
}

/// An identifier in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// The table of that name, if users may work with it. Virtual tables and views are none.
    pub(crate) fn find(db: &Connection, name: &str) -> rusqlite::Result<Option<Table>> {
        if !is_accessible(name) {
            return Ok(None);
        }
        let mut find = db.prepare_cached(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name = ?1 COLLATE NOCASE",
        )?;
        let Some(name) = find.query_row([name], |row| row.get::<_, String>(0)).optional()? else { return Ok(None) };
        let columns = columns(db, &name)?;
        let names = json::Names::new(&columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>());
        Ok(Some(Table { name: Arc::from(name), columns, names }))
    }

    /// The column of that name, without regard to case.
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// A name for SQLite's number of a row: the integer primary key or one that no column has taken. None if all are taken.
    pub(crate) fn row_number(&self) -> Option<&str> {
        let mut keys = self.columns.iter().filter(|column| column.key > 0);
        if let (Some(key), None) = (keys.next(), keys.next())
            && key.kind.eq_ignore_ascii_case("INTEGER")
        {
            return Some(&key.name);
        }
        ["rowid", "_rowid_", "oid"].into_iter().find(|name| self.column(name).is_none())
    }
}

/// The columns of a table that is there, as `*` gives them.
pub(crate) fn columns(db: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut list = db.prepare_cached("SELECT name, type, pk FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1")?;
    list.query_map([table], |row| Ok(Column { name: row.get(0)?, kind: row.get(1)?, key: row.get(2)? }))?.collect()
}

/// All tables for users, in the order in which they were made.
pub(crate) fn names(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut list =
        db.prepare_cached("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY rowid")?;
    let all: Vec<String> = list.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(all.into_iter().filter(|name| is_accessible(name)).collect())
}

/// The schema as the protocol has it: each table with its columns as SQLite's `table_info` gives them.
pub(crate) fn schema(db: &Connection) -> rusqlite::Result<Vec<u8>> {
    let mut out = vec![b'{'];
    let mut list =
        db.prepare_cached("SELECT cid, name, type, \"notnull\", dflt_value, pk FROM pragma_table_info(?1, 'main')")?;
    let members = json::Names::new(&["cid", "name", "type", "notnull", "dflt_value", "pk"]);
    for (at, name) in names(db)?.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::push_string(&mut out, name);
        out.extend_from_slice(b":[");
        let mut rows = list.query([name])?;
        let mut is_first = true;
        while let Some(row) = rows.next()? {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            members.push_row(&mut out, row, usize::MAX)?;
        }
        out.push(b']');
    }
    out.push(b'}');
    Ok(out)
}
