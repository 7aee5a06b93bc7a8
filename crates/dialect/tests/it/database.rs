//! What a scripted database answers, as transcripts write it: one JSON object.
//!
//!   `{"rows":[],"sql":"SELECT 1","total":1,"page":[100,0],"info":"text"}`, `{"done":true,"data":{},"message":"text"}`, `{"schema_is":{}}`,
//!   `{"failed":"text","code":"TABLE_NOT_FOUND","table":"x","data":{}}`: the answer; and with it
//!   `"changes":[["people","added",{"id":1},["ann"]]]` (whom a change is for may be left out), `"schema":{}` (it has changed),
//!   `"personal":true`, `"reads":["people"]`.

use room::hub::{Action, Answer, Outcome, RowChange};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

/// Reads an outcome.
pub(crate) fn outcome(json: &str) -> Result<Outcome, String> {
    let members: Members<'_> = serde_json::from_str(json).map_err(|error| format!("{error}: {json}"))?;
    let raw = |name: &str| members.get(name).map(|value| value.get().to_owned().into());
    let text = |name: &str| members.get(name).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    // Some texts live as long as the program.
    let fixed = |name: &str| text(name).map(|text| &*Box::leak(text.into_boxed_str()));
    let answer = if let Some(data) = raw("rows") {
        let number = |name: &str| members.get(name).and_then(|value| value.get().parse().ok());
        let page = members.get("page").and_then(|value| serde_json::from_str(value.get()).ok());
        let original_sql = raw("sql").ok_or("rows of which statement?")?;
        Answer::Rows { data, original_sql, total: number("total"), page, info: text("info").map(Into::into) }
    } else if members.contains_key("done") {
        Answer::Done { data: raw("data"), message: fixed("message") }
    } else if let Some(schema) = raw("schema_is") {
        Answer::Schema(schema)
    } else if let Some(error) = text("failed") {
        Answer::Failed {
            error: error.into(),
            code: fixed("code"),
            table: text("table").map(Into::into),
            data: raw("data"),
        }
    } else {
        return Err(format!("no answer in {json}"));
    };
    let list = |name: &str| members.get(name).map(|value| serde_json::from_str::<Vec<&RawValue>>(value.get()));
    let mut outcome =
        Outcome { schema: raw("schema"), is_personal: members.contains_key("personal"), ..Outcome::of(answer) };
    for change in list("changes").transpose().map_err(|error| error.to_string())?.unwrap_or_default() {
        outcome.changes.push(row_change(change.get()).ok_or_else(|| format!("cannot read {change}"))?);
    }
    let reads = members.get("reads").map(|value| serde_json::from_str::<Vec<String>>(value.get()));
    let reads = reads.transpose().map_err(|error| error.to_string())?.unwrap_or_default();
    outcome.tables = reads.into_iter().map(Into::into).collect();
    Ok(outcome)
}

fn row_change(json: &str) -> Option<RowChange> {
    let parts: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let table: String = serde_json::from_str(parts.first()?.get()).ok()?;
    let action = match parts.get(1)?.get() {
        "\"added\"" => Action::Added,
        "\"modified\"" => Action::Modified,
        "\"deleted\"" => Action::Deleted,
        _ => return None,
    };
    let readers: Option<Vec<String>> = parts.get(3).and_then(|users| serde_json::from_str(users.get()).ok());
    let readers = readers.map(|users| Arc::new(users.into_iter().map(Into::into).collect::<BTreeSet<_>>()));
    Some(RowChange { readers, ..RowChange::of(table, action, parts.get(2)?.get().to_owned()) })
}
