//! Temporary copies of protected tables with the rows that one caller may see, for one statement. `src/methods/query.rs` asks for them
//! before the statement runs. A condition in a view would not do: the planner may evaluate a stranger's expression before it, and errors
//! and running times would tell of rows that the answer does not have.

use rusqlite::{Connection, named_params};

use crate::sight::{OWNER, Sight};
use crate::table::{Table, quoted};
use crate::{Caller, Settings};

/// Copies one table. The name is the original's, so the statement finds the copy first.
pub(crate) fn make(db: &Connection, settings: &Settings, caller: &Caller, name: &str) -> rusqlite::Result<()> {
    let Some(table) = Table::find(db, name)? else { return Ok(()) };
    let sight = Sight::new(caller, &table.name, table.column(OWNER).is_some());
    db.query_row(&format!("PRAGMA temp.max_page_count = {}", (settings.copy_bytes_max / 4_096).max(16)), [], |_| {
        Ok(())
    })?;
    let number = table.row_number();
    let is_number = |column: &str| number.is_some_and(|number| number.eq_ignore_ascii_case(column));
    let define = |column: &crate::table::Column| {
        let key = if is_number(&column.name) { " PRIMARY KEY" } else { "" };
        format!("{} {}{key}", quoted(&column.name), affinity(&column.kind))
    };
    let definitions: Vec<String> = table.columns.iter().map(define).collect();
    let mut columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    if let Some(number) = number.filter(|number| table.column(number).is_none()) {
        columns.push(number.to_owned());
    }
    let (table_name, columns) = (quoted(&table.name), columns.join(", "));
    db.execute_batch(&format!("CREATE TEMP TABLE {table_name}({})", definitions.join(", ")))?;
    let condition = sight.readable(":user");
    let copy =
        format!("INSERT INTO temp.{table_name}({columns}) SELECT {columns} FROM main.{table_name} WHERE {condition}");
    db.execute(&copy, named_params! { ":user": &*caller.user })?;
    Ok(())
}

/// The declared type as the one of five that SQLite makes of it: comparisons in a copy give what they give in the table.
fn affinity(kind: &str) -> &'static str {
    let kind = kind.to_ascii_uppercase();
    let has = |word: &str| kind.contains(word);
    if has("INT") {
        "INTEGER"
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        "TEXT"
    } else if has("BLOB") || kind.is_empty() {
        "BLOB"
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        "REAL"
    } else {
        "NUMERIC"
    }
}
