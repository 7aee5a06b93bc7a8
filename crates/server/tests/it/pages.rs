//! The documentation, held to the code: limits that are fixed, and the codes with which connections end.

use room::Closing;
use std::collections::BTreeMap;

fn page(name: &str) -> String {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of each row of the tables of a page.
fn rows(page: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")).map(cells).collect()
}

#[test]
fn fixed_limits_are_those_of_the_code() {
    // Without `..`: a further limit has to be named here, and so on the page.
    let room::Limits {
        message,
        document,
        awareness_state_bytes_max,
        awareness_ids_per_member_max,
        awareness_ids_max,
        awareness_bytes_max,
        awareness_expiry_ms,
        awareness_memory_ms,
        malformed_per_minute_max,
        unacknowledged_bytes_max,
        notebook,
    } = room::Limits::default();
    let room::NotebookLimits { notes_max, marks_max, kept_ms, replay_entries_max, replay_bytes_max } = notebook;
    let document::MessageLimits { update_bytes_max: _configured, structs_max, clients_max, state_vector_bytes_max } =
        message;
    let document::RoomLimits {
        room_bytes_max: _also_configured,
        parked_bytes_max: _configured_too,
        clients_max: document_clients_max,
        delete_ranges_max,
        depth_max,
    } = document;
    let code: BTreeMap<&str, u64> = [
        ("message.structs_max", structs_max as u64),
        ("message.clients_max", clients_max as u64),
        ("message.state_vector_bytes_max", state_vector_bytes_max as u64),
        ("document.clients_max", document_clients_max as u64),
        ("document.delete_ranges_max", delete_ranges_max as u64),
        ("document.depth_max", u64::from(depth_max)),
        ("awareness_state_bytes_max", awareness_state_bytes_max as u64),
        ("awareness_ids_per_member_max", awareness_ids_per_member_max as u64),
        ("awareness_ids_max", awareness_ids_max as u64),
        ("awareness_bytes_max", awareness_bytes_max as u64),
        ("awareness_expiry_ms", awareness_expiry_ms),
        ("awareness_memory_ms", awareness_memory_ms),
        ("malformed_per_minute_max", malformed_per_minute_max as u64),
        ("unacknowledged_bytes_max", unacknowledged_bytes_max as u64),
        ("notebook.notes_max", notes_max as u64),
        ("notebook.marks_max", marks_max as u64),
        ("notebook.kept_ms", kept_ms),
        ("notebook.replay_entries_max", replay_entries_max as u64),
        ("notebook.replay_bytes_max", replay_bytes_max as u64),
        ("head_bytes_max", server::request::HEAD_BYTES_MAX as u64),
        ("headers_max", server::request::HEADERS_MAX as u64),
        ("room_name_bytes_max", server::request::ROOM_NAME_BYTES_MAX as u64),
        ("token_bytes_max", identity::TOKEN_BYTES_MAX as u64),
    ]
    .into();
    let rows = rows(&page("limits.md"));
    let written: BTreeMap<&str, u64> =
        rows.iter().filter_map(|row| Some((row[0].as_str(), row[1].parse().ok()?))).collect();
    assert_eq!(written, code);
}

/// Every way to end, once. The match makes a further one a compile error here.
fn closings() -> Vec<Closing> {
    let all = [
        Closing::Malformed,
        Closing::Beyond("LIMIT".to_owned()),
        Closing::StorageFailed,
        Closing::ShuttingDown,
        Closing::SlowConsumer,
        Closing::Protocol(1002, "REASON".to_owned()),
        Closing::Silent,
        Closing::Unauthorized,
        Closing::Outdated,
        Closing::Forbidden,
        Closing::NotFound,
        Closing::TokenExpired,
        Closing::Revoked,
        Closing::Removed { come_back: false },
        Closing::Removed { come_back: true },
        Closing::Deleted,
        Closing::Unconfirmed,
        Closing::Internal,
    ];
    for closing in &all {
        match closing {
            Closing::Malformed
            | Closing::Beyond(_)
            | Closing::StorageFailed
            | Closing::ShuttingDown
            | Closing::SlowConsumer
            | Closing::Protocol(..)
            | Closing::Silent
            | Closing::Unauthorized
            | Closing::Outdated
            | Closing::Forbidden
            | Closing::NotFound
            | Closing::TokenExpired
            | Closing::Revoked
            | Closing::Removed { .. }
            | Closing::Deleted
            | Closing::Unconfirmed
            | Closing::Internal => {}
            // Of dialects that have words of their own for them.
            Closing::Incomplete(_) | Closing::Abusive(_) | Closing::Inactive | Closing::Left => {}
        }
    }
    all.into()
}

#[test]
fn each_dialect_has_a_page_with_its_farewells() {
    let mut missing = Vec::new();
    for dialect in dialect::ALL {
        let mut text = page(&format!("protocols/{}.md", dialect.name()));
        if text.contains("(../close-codes.md)") {
            text.push_str(&page("close-codes.md"));
        }
        for closing in closings() {
            let farewell = dialect.farewell(&closing);
            let code = farewell.code.map_or_else(String::new, |code| code.to_string());
            if matches!(closing, Closing::Protocol(..)) {
                continue;
            }
            let is_made_for_the_case = matches!(closing, Closing::Beyond(_));
            if !text.contains(&code) || !(is_made_for_the_case || text.contains(&farewell.reason)) {
                missing.push(format!("{}: {closing:?}: {code} {}", dialect.name(), farewell.reason));
            }
        }
    }
    assert!(missing.is_empty(), "not on the pages:\n{}", missing.join("\n"));
}

#[test]
fn close_codes_are_those_of_the_code() {
    let rows = rows(&page("close-codes.md"));
    for closing in closings() {
        let farewell = dialect::Y_WEBSOCKET.farewell(&closing);
        if matches!(closing, Closing::Beyond(_) | Closing::Protocol(..)) {
            // Their reasons are made for the case.
            let code = farewell.code.expect("a code").to_string();
            assert!(rows.iter().any(|row| row[0].contains(&code)), "{closing:?}: no row for {code}");
            continue;
        }
        let code = farewell.code.expect("a code");
        let row = rows.iter().find(|row| row[0] == code.to_string() && row[1] == farewell.reason);
        let row = row.unwrap_or_else(|| panic!("{closing:?}: no row for {code} {:?}", farewell.reason));
        let comes_back = if (4400..4500).contains(&code) { "no" } else { "yes" };
        assert!(row[2].starts_with(comes_back), "{closing:?}: {row:?}");
    }
}
