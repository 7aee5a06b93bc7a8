//! What a stranger's statement may touch, as SQLite's compiler asks for each table, column and function. `src/methods/query.rs` puts this
//! in front of a connection; it looks at no text of SQL.
//!
//! A statement is compiled twice. The first time ([`Pass::Look`]) it is not run; what it would read is written down. Then the rows of
//! protected tables that the caller may see are copied into temporary tables of the same names, and the second time ([`Pass::Run`]) every
//! read of a protected table itself is refused. So whatever the planner moves where, there is no foreign row that an expression could meet.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::table;

/// Functions that compute from their arguments, the time or chance, and nothing else. Sorted, for a search by halves.
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "max",
    "median",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "percentile",
    "percentile_cont",
    "percentile_disc",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "random",
    "randomblob",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "soundex",
    "sqlite_version",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unicode",
    "unistr",
    "unistr_quote",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// Table-valued functions of the same kind.
const TABLE_FUNCTIONS: &[&str] = &["json_each", "json_tree", "jsonb_each", "jsonb_tree"];

/// Names of a database, in lower case.
#[derive(Default)]
pub(crate) struct Names {
    /// Tables for users, with their names as they were made.
    real: BTreeMap<String, String>,
    /// Those of them of which the caller may not see all rows.
    restricted: BTreeSet<String>,
    /// Virtual tables that come with SQLite.
    modules: HashSet<String>,
}

impl Names {
    pub(crate) fn read(db: &Connection, is_restricted: impl Fn(&str) -> bool) -> rusqlite::Result<Names> {
        let real: BTreeMap<_, _> =
            table::names(db)?.into_iter().map(|name| (name.to_ascii_lowercase(), name)).collect();
        let restricted = real.keys().filter(|name| is_restricted(name)).cloned().collect();
        let mut list = db.prepare("SELECT lower(name) FROM pragma_module_list")?;
        let modules = list.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Names { real, restricted, modules })
    }

    /// The names as they were made.
    pub(crate) fn as_made(&self, tables: &BTreeSet<String>) -> Vec<String> {
        tables.iter().filter_map(|table| self.real.get(table)).cloned().collect()
    }
}

/// What a statement has wanted.
#[derive(Default)]
pub(crate) struct Seen {
    /// Tables for users that it reads, in lower case.
    pub(crate) tables: BTreeSet<String>,
    /// It is more than a reading statement.
    pub(crate) is_more: bool,
}

/// Which of the two compilations this is.
#[derive(Clone)]
pub(crate) enum Pass {
    /// The statement will not run.
    Look,
    /// The statement will run; these tables, in lower case, have temporary copies.
    Run(Arc<BTreeSet<String>>),
}

/// The answer to everything that the compiler asks. What is not known is refused.
pub(crate) fn guard(
    names: Arc<Names>,
    pass: Pass,
    seen: Arc<Mutex<Seen>>,
) -> impl for<'r> FnMut(AuthContext<'r>) -> Authorization + Send + 'static {
    move |context: AuthContext<'_>| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_allowed = match context.action {
            AuthAction::Select | AuthAction::Recursive => true,
            AuthAction::Function { function_name } => {
                FUNCTIONS.binary_search(&function_name.to_ascii_lowercase().as_str()).is_ok()
            }
            AuthAction::Read { table_name, .. } => {
                may_read(&names, &pass, &mut seen, context.database_name, table_name.to_ascii_lowercase())
            }
            _ => {
                seen.is_more = true;
                false
            }
        };
        if is_allowed { Authorization::Allow } else { Authorization::Deny }
    }
}

fn may_read(names: &Names, pass: &Pass, seen: &mut Seen, database: Option<&str>, table: String) -> bool {
    let has_copy = matches!(pass, Pass::Run(copies) if copies.contains(&table));
    match database {
        Some("temp") => has_copy,
        Some("main") if names.real.contains_key(&table) => {
            let is_allowed = matches!(pass, Pass::Look) || !names.restricted.contains(&table);
            seen.tables.insert(table);
            is_allowed
        }
        Some("main") => TABLE_FUNCTIONS.contains(&table.as_str()),
        // Of what is counted but not read, the compiler says the name as it stands in the statement: a copy is found before the table.
        None if has_copy => true,
        None if names.real.contains_key(&table) => may_read(names, pass, seen, Some("main"), table),
        // A name that the statement itself has made, with WITH.
        None => {
            TABLE_FUNCTIONS.contains(&table.as_str())
                || !table::is_system(&table) && !table.starts_with("pragma_") && !names.modules.contains(&table)
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_sorted() {
        assert!(FUNCTIONS.is_sorted());
    }
}
