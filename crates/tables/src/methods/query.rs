//! `executeSQL`: a stranger's statement. It runs on a connection of its own that cannot write, behind `src/guard.rs`, on copies of the
//! protected rows that its caller may see (`src/copies.rs`), with a deadline, and with bounds for rows, bytes and memory.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, Statement};

use super::{Ask, Refusal, refuse};
use crate::database::{Database, patiently, words};
use crate::guard::{Names, Pass, Seen, guard};
use crate::{Answer, Failure, Method, Outcome, copies, functions, json};

/// Statements in a minute. The protocol says 50.
const PER_MINUTE: usize = 50;
/// Characters of a statement. The protocol says 10,000.
const LENGTH_MAX: usize = 10_000;
/// Instructions between two looks at the clock: some 10 microseconds.
const LOOK_EVERY: i32 = 1_000;

const ONLY: &str = "Only SELECT and WITH queries allowed in read-only mode";

/// What can be said before the statement's turn has come, so that a refusal does not wait behind statements that run.
pub(crate) fn admit(ask: &Ask<'_>) -> Result<(), Refusal> {
    let sql = ask.payload.text("sql").ok_or_else(|| refuse("executeSQL requires sql parameter"))?;
    if ask.call.method == (Method::ExecuteSql { is_rerun: false }) {
        ask.admit(PER_MINUTE, "Rate limit exceeded for executeSQL")?;
    }
    // For a clear answer only; what a statement may do is decided by the guard.
    if !matches!(first_word(&sql).to_ascii_uppercase().as_str(), "SELECT" | "WITH") {
        return Err(refuse(ONLY));
    }
    if sql.len() > LENGTH_MAX && sql.chars().count() > LENGTH_MAX {
        return Err(refuse("Query too long: maximum 10,000 characters"));
    }
    Ok(())
}

/// The word that a statement begins with, after spaces and comments.
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}', '\u{feff}']);
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
            return &rest[..end];
        };
    }
}

/// Runs the statement for so long at most. None: it was cut off.
pub(crate) fn run(
    database: &Database,
    ask: &Ask<'_>,
    is_closing: &Arc<AtomicBool>,
    allowed: Duration,
) -> Option<Result<Outcome, Refusal>> {
    let Some(sql) = ask.payload.text("sql") else { return Some(Err(refuse("executeSQL requires sql parameter"))) };
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let query = Query { ask, sql: &sql, seen: seen.clone() };
    let why = match query.run(database, is_closing, allowed) {
        Err(Refusal::Sql(why)) => why,
        result => return Some(result),
    };
    let is_cut_off = why.sqlite_error_code() == Some(ErrorCode::OperationInterrupted);
    if is_cut_off && !is_closing.load(Ordering::Relaxed) {
        return None;
    }
    let is_more = seen.lock().unwrap_or_else(PoisonError::into_inner).is_more;
    Some(Err(Refusal::Told(failure(&why, is_more))))
}

/// What a statement is told that was cut off for good.
pub(crate) fn too_long(settings: &crate::Settings) -> Outcome {
    Outcome::failed(format!("Query execution timeout (max {} seconds)", settings.query_ms_max as f64 / 1_000.0))
}

struct Query<'a> {
    ask: &'a Ask<'a>,
    sql: &'a str,
    seen: Arc<Mutex<Seen>>,
}

impl Query<'_> {
    fn run(&self, database: &Database, is_closing: &Arc<AtomicBool>, allowed: Duration) -> Result<Outcome, Refusal> {
        let (caller, settings) = (&self.ask.call.caller, self.ask.settings);
        let mut db = patiently(|| database.reader(settings))?;
        let deadline = Instant::now() + allowed;
        let is_closing = is_closing.clone();
        db.progress_handler(
            LOOK_EVERY,
            Some(move || Instant::now() >= deadline || is_closing.load(Ordering::Relaxed)),
        )?;
        // One snapshot from here on: what is looked at is what will run.
        db.execute_batch("BEGIN")?;
        let is_restricted = |name: &str| caller.rules.is_protected(name) && !caller.rules.reads_all(name, &caller.user);
        let names = Arc::new(Names::read(&db, is_restricted)?);

        db.authorizer(Some(guard(names.clone(), Pass::Look, self.seen.clone())))?;
        drop(self.prepared(&db)?);
        db.authorizer(None::<fn(rusqlite::hooks::AuthContext<'_>) -> rusqlite::hooks::Authorization>)?;

        let wanted = self.seen.lock().unwrap_or_else(PoisonError::into_inner).tables.clone();
        let restricted: BTreeSet<String> = wanted.iter().filter(|name| is_restricted(name)).cloned().collect();
        for name in &restricted {
            copies::make(&db, settings, caller, name).map_err(too_much)?;
        }
        functions::replace_slow(&db, settings.value_bytes_max)?;
        db.pragma_update(None, "query_only", true)?;
        db.authorizer(Some(guard(names.clone(), Pass::Run(Arc::new(restricted)), self.seen.clone())))?;
        let data = self.rows(self.prepared(&db)?)?;

        let tables: Vec<String> = names.as_made(&wanted);
        let is_personal = wanted.iter().any(|name| caller.rules.is_protected(name));
        let original_sql =
            self.ask.payload.get("sql").map_or_else(Bytes::new, |raw| Bytes::copy_from_slice(raw.get().as_bytes()));
        let answer = Answer::Rows { data, original_sql, total: None, page: None, info: None };
        Ok(Outcome { is_personal, tables, ..Outcome::of(answer) })
    }

    fn prepared<'db>(&self, db: &'db Connection) -> Result<Statement<'db>, Refusal> {
        let statement = db.prepare(self.sql).map_err(|why| match why {
            rusqlite::Error::MultipleStatement => refuse("Only one statement is allowed"),
            why => why.into(),
        })?;
        if !statement.readonly() || statement.is_explain() != 0 {
            return Err(refuse(ONLY));
        }
        Ok(statement)
    }

    fn rows(&self, mut statement: Statement<'_>) -> Result<Bytes, Refusal> {
        let params = self.ask.payload.array("params").unwrap_or_default();
        if params.len() > statement.parameter_count() {
            let (wanted, given) = (statement.parameter_count(), params.len());
            return Err(refuse(format!("The statement has {wanted} parameters, but params has {given} values")));
        }
        for (at, raw) in params.iter().enumerate() {
            statement.raw_bind_parameter(at + 1, json::to_sql(raw))?;
        }
        let names = json::Names::new(&statement.column_names().collect::<Vec<_>>());
        let (mut out, mut count) = (vec![b'['], 0);
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            count += 1;
            if count > self.ask.settings.rows_max {
                return Err(refuse(format!(
                    "Result too large: maximum {} rows",
                    thousands(self.ask.settings.rows_max)
                )));
            }
            if count > 1 {
                out.push(b',');
            }
            if !names.push_row(&mut out, row, self.ask.settings.answer_bytes_max)? {
                return Err(refuse(format!(
                    "Result too large: maximum {} bytes",
                    thousands(self.ask.settings.answer_bytes_max)
                )));
            }
        }
        out.push(b']');
        Ok(out.into())
    }
}

/// A copy that does not fit.
fn too_much(why: rusqlite::Error) -> Refusal {
    if why.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return refuse("Too many rows of protected tables for one statement; ask listTasks for a page of them");
    }
    why.into()
}

/// What SQLite has refused or broken off, in words.
fn failure(why: &rusqlite::Error, is_more: bool) -> Failure {
    let text = words(why);
    match why.sqlite_error_code() {
        // It was not cut off for its time.
        Some(ErrorCode::OperationInterrupted) => Failure::new("Room databases are closed"),
        Some(ErrorCode::AuthorizationForStatementDenied) if is_more => Failure::new(ONLY),
        Some(ErrorCode::OutOfMemory) => Failure::new("The statement needs more memory than there is for one"),
        _ => match text.strip_prefix("no such table: ") {
            Some(table) => {
                let table = Some(table.trim_start_matches("main.").to_owned());
                Failure { code: Some("TABLE_NOT_FOUND"), table, ..Failure::new(text) }
            }
            None => Failure::new(text),
        },
    }
}

/// A number as people write it.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::{first_word, thousands};

    #[test]
    fn the_first_word_comes_after_comments() {
        for (sql, word) in [
            ("SELECT 1", "SELECT"),
            (" \n\t-- a\n /* b */ select*", "select"),
            ("/* SELECT", ""),
            ("--", ""),
            ("(SELECT 1)", ""),
            ("with x as (select 1) select 1", "with"),
            ("SELECTED", "SELECTED"),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1_000, 16_777_216].map(thousands), ["0", "999", "1,000", "16,777,216"]);
    }
}
