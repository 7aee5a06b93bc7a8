//! Methods on the built-in table `tasks`, which is always protected.

use bytes::Bytes;
use rusqlite::{Connection, Row, named_params};

use super::{Ask, Refusal, TOO_FAST, refuse, rows};
use crate::json::Names;
use crate::sight::{self, Owner, Sight};
use crate::table::Table;
use crate::{Action, Answer, Outcome, json, payload};

/// Calls of `createTask` in a minute. The protocol says 100.
const PER_MINUTE: usize = 100;
/// Characters of a title. The protocol says 500.
const TITLE_MAX: usize = 500;
const PAGE_DEFAULT: u64 = 100;
const PAGE_MAX: u64 = 1_000;
const PER_USER: &str = ":user";

fn sight<'a>(ask: &'a Ask<'_>) -> Sight<'a> {
    Sight::new(&ask.call.caller, "tasks", true)
}

pub(super) fn create(db: &Connection, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    ask.admit(PER_MINUTE, TOO_FAST)?;
    let title = title_of(&ask.payload.get("title").and_then(payload::text).unwrap_or_default());
    let table = rows::table(db, "tasks")?;
    let mut insert = db.prepare_cached(
        "INSERT INTO tasks(title, status, vector_status, owner_id, user_id) VALUES (:title, 'pending', 'pending', :user, :user) RETURNING *",
    )?;
    let row = one(&mut insert, &table, named_params! { ":title": title, ":user": &*ask.call.caller.user })?;
    let readers = sight(ask).readers(&Owner::User(ask.call.caller.user.to_string()));
    let mut outcome = Outcome::of(Answer::Done { data: Some(row.clone()), message: None });
    outcome.changes.push(sight::told(&table.name, Action::Added, row, readers));
    Ok(outcome)
}

/// Control characters go, except tab and newline; so do spaces around.
fn title_of(text: &str) -> String {
    let kept: String = text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\t' | '\n')).collect();
    let short: String = kept.trim().chars().take(TITLE_MAX).collect();
    short.trim_end().to_owned()
}

fn id_of(ask: &Ask<'_>) -> Result<i64, Refusal> {
    let id = ask.payload.get("id").and_then(|raw| payload::positive(raw.get())).and_then(|id| i64::try_from(id).ok());
    id.ok_or_else(|| refuse("Invalid id: must be a positive integer"))
}

pub(super) fn complete(db: &Connection, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let id = id_of(ask)?;
    let changes = rows::change(db, ask, &rows::table(db, "tasks")?, "id = :id", &id, "status", &"completed")?;
    Ok(Outcome { changes: changes.map(|changed| changed.changes).unwrap_or_default(), ..done() })
}

pub(super) fn delete(db: &Connection, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let id = id_of(ask)?;
    let sight = sight(ask);
    let table = rows::table(db, "tasks")?;
    let condition = sight.writable(PER_USER);
    let mut delete = db.prepare_cached(&format!("DELETE FROM tasks WHERE id = :id AND {condition} RETURNING *"))?;
    let mut found = delete.query(named_params! { ":id": id, ":user": &*ask.call.caller.user })?;
    let mut outcome = done();
    if let Some(row) = found.next()? {
        let readers = sight.readers(&rows::owner(&table, row)?);
        outcome.changes.push(sight::told(&table.name, Action::Deleted, rows::object(&table, row)?, readers));
    }
    // The statement has its effect when it has been stepped to its end.
    while found.next()?.is_some() {}
    Ok(outcome)
}

fn done() -> Outcome {
    Outcome::of(Answer::Done { data: None, message: None })
}

/// The first row of a statement, which is run to its end.
fn one(
    statement: &mut rusqlite::Statement<'_>,
    table: &Table,
    values: &[(&str, &dyn rusqlite::ToSql)],
) -> Result<Bytes, Refusal> {
    let mut found = statement.query(values)?;
    let row = match found.next()? {
        Some(row) => rows::object(table, row)?,
        None => return Err(refuse("The database has not returned the new row")),
    };
    while found.next()?.is_some() {}
    Ok(row)
}

pub(super) fn list(db: &Connection, ask: &Ask<'_>) -> rusqlite::Result<Outcome> {
    let limit = ask.payload.whole("limit").filter(|limit| (1..=PAGE_MAX).contains(limit)).unwrap_or(PAGE_DEFAULT);
    let offset = ask.payload.whole("offset").filter(|offset| i64::try_from(*offset).is_ok()).unwrap_or(0);
    let condition = sight(ask).readable(PER_USER);
    let user: &str = &ask.call.caller.user;
    let mut count = db.prepare_cached(&format!("SELECT count(*) FROM tasks WHERE {condition}"))?;
    let total: u64 = count.query_row(named_params! { ":user": user }, |row| row.get(0))?;
    let mut page =
        db.prepare_cached(&format!("SELECT * FROM tasks WHERE {condition} ORDER BY id LIMIT :limit OFFSET :offset"))?;
    let columns = page.column_names().map(str::to_owned).collect::<Vec<_>>();
    let names = Names::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    let values = named_params! { ":user": user, ":limit": limit as i64, ":offset": offset as i64 };
    let most = ask.settings.answer_bytes_max;
    let Some(data) = array(page.query(values)?, |out, row| names.push_row(out, row, most))? else {
        return Ok(Outcome::failed(format!("Result too large: maximum {most} bytes; ask for a lower limit")));
    };
    let original_sql = json::string("listTasks").into();
    let answer = Answer::Rows { data, original_sql, total: Some(total), page: Some((limit, offset)), info: None };
    Ok(Outcome { is_personal: true, tables: vec!["tasks".to_owned()], ..Outcome::of(answer) })
}

fn array(
    mut rows: rusqlite::Rows<'_>,
    mut push: impl FnMut(&mut Vec<u8>, &Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Option<Bytes>> {
    let mut out = vec![b'['];
    while let Some(row) = rows.next()? {
        if out.len() > 1 {
            out.push(b',');
        }
        if !push(&mut out, row)? {
            return Ok(None);
        }
    }
    out.push(b']');
    Ok(Some(out.into()))
}

#[cfg(test)]
mod tests {
    use super::title_of;

    #[test]
    fn titles_are_cleaned() {
        let long = "x".repeat(600);
        for (given, kept) in [
            ("Buy milk", "Buy milk"),
            ("  a\u{0}b\u{7f}\u{85}\tc\nd\r ", "ab\tc\nd"),
            (" \n ", ""),
            (&long, &long[..500]),
        ] {
            assert_eq!(title_of(given), kept);
        }
    }
}
