//! API keys: made, used, replaced, taken back, written down and read again.

use crate::issuer::NOW_S;
use identity::{
    Credential, Permission, RoomPattern, Scopes,
    api_key::{KeyError, KeyForm, KeySpec, KeyTable, NewKey, Pepper, is_console_key},
    looks_like_api_key,
};

fn table() -> KeyTable {
    KeyTable::new(Pepper::new([7; 32]))
}

fn spec() -> KeySpec {
    KeySpec {
        name: "backup job".to_owned(),
        owner: "u1".to_owned(),
        scopes: Scopes { read: true, ..Scopes::default() },
        rooms: Vec::new(),
        expires_at_s: None,
    }
}

/// `expected` is `ok USER` or the code of the reason.
fn check(name: &str, table: &KeyTable, text: &str, now_s: u64, expected: &str) {
    let found = match table.authenticate(text, now_s) {
        Ok(identity) => format!("ok {}", identity.user),
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(text.len() < 22 || !shown.contains(&text[21..]), "{name}: {shown}");
            error.code().to_owned()
        }
    };
    assert_eq!(found, expected, "{name}");
}

#[test]
fn a_key_is_its_whole_text() {
    let mut table = table();
    let (NewKey { text, record }, other) = (table.create(spec(), NOW_S).unwrap(), table.create(spec(), NOW_S).unwrap());
    assert_eq!((text.len(), &text[..8], &text[8..20], &text[20..21]), (64, "concord_", &*record.id, "_"));
    assert!(looks_like_api_key(&text) && !looks_like_api_key("eyJhbGciOiJIUzI1NiJ9.e30.AAAA"));
    let replaced = |at: usize, with: &str| format!("{}{with}{}", &text[..at], &text[at + with.len()..]);
    let wrong_letter = |at: usize| replaced(at, if &text[at..=at] == "x" { "y" } else { "x" });
    let cases = [
        ("as it is", text.clone(), "ok u1"),
        ("another key's secret", replaced(21, &other.text[21..]), "wrong-api-key-secret"),
        ("first letter of the secret", wrong_letter(21), "wrong-api-key-secret"),
        ("last letter of the secret", wrong_letter(63), "wrong-api-key-secret"),
        ("an id that is not there", replaced(8, "aaaaaaaaaaaa"), "unknown-api-key"),
        ("in capitals", text.to_uppercase(), "malformed-api-key"),
        (
            "id in capitals",
            replaced(8, &record.id.to_uppercase().replace(['2', '3', '4', '5', '6', '7'], "A")),
            "malformed-api-key",
        ),
        ("a letter more", format!("{text}A"), "malformed-api-key"),
        ("a letter less", text[..63].to_owned(), "malformed-api-key"),
        ("padded", format!("{text}="), "malformed-api-key"),
        ("a space after it", format!("{text} "), "malformed-api-key"),
        ("a line break in it", replaced(30, "\n"), "malformed-api-key"),
        ("NUL in it", replaced(30, "\0"), "malformed-api-key"),
        ("only the beginning", "concord_".to_owned(), "malformed-api-key"),
        ("without secret", text[..21].to_owned(), "malformed-api-key"),
        ("not ASCII across a border", "concord_abcdefghijkä".to_owned() + &text[20..], "malformed-api-key"),
        ("nothing", String::new(), "malformed-api-key"),
        ("another prefix", text.replace("concord_", "konkord_"), "malformed-api-key"),
        ("endless", text.repeat(10_000), "malformed-api-key"),
    ];
    for (name, text, expected) in cases {
        check(name, &table, &text, NOW_S, expected);
    }
    for at in 8..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        assert!(table.authenticate(&String::from_utf8(bytes).unwrap(), NOW_S).is_err(), "letter {at}");
    }
    check("another pepper", &KeyTable::new(Pepper::new([8; 32])), &text, NOW_S, "unknown-api-key");
    assert_ne!(text, other.text);
}

#[test]
fn an_identity_is_what_the_key_allows() {
    let pattern = |text: &str| RoomPattern::parse(text).unwrap();
    let cases = [
        ("read", vec![], vec![("x", Permission::Read)], false),
        ("read,write", vec![], vec![("x", Permission::Write)], false),
        ("write", vec![pattern("team/*")], vec![("team/1", Permission::Write), ("x", Permission::None)], false),
        ("admin", vec![], vec![("x", Permission::None)], true),
        ("read,admin", vec![], vec![("a", Permission::Read)], true),
    ];
    for (scopes, rooms, permissions, admin) in cases {
        let mut table = table();
        let spec = KeySpec { scopes: Scopes::parse(scopes).unwrap(), rooms, expires_at_s: Some(NOW_S + 60), ..spec() };
        let key = table.create(spec, NOW_S).unwrap();
        let identity = table.authenticate(&key.text, NOW_S).unwrap();
        assert_eq!((&*identity.user, identity.is_admin()), ("u1", admin), "{scopes}");
        assert_eq!(identity.credential, Credential::Key(key.record.id.clone()));
        assert_eq!((identity.issued_at_s, identity.expires_at_s), (Some(NOW_S), Some(NOW_S + 60)));
        for (room, permission) in permissions {
            assert_eq!(identity.permission(room), Some(permission), "{scopes} {room}");
        }
    }
}

#[test]
fn keys_expire_and_are_taken_back() {
    let mut table = table();
    let short = table.create(KeySpec { expires_at_s: Some(NOW_S + 60), ..spec() }, NOW_S).unwrap();
    check("before its end", &table, &short.text, NOW_S + 59, "ok u1");
    check("at its end", &table, &short.text, NOW_S + 60, "api-key-expired");
    check(
        "expired, without the secret",
        &table,
        &format!("{}{}", &short.text[..21], "A".repeat(43)),
        NOW_S + 60,
        "wrong-api-key-secret",
    );
    table.revoke(&short.record.id, NOW_S + 5).unwrap();
    table.revoke(&short.record.id, NOW_S + 9).unwrap();
    let revoked = KeyError::Revoked { id: short.record.id.clone(), at_s: NOW_S + 5 };
    assert_eq!(revoked.to_string(), format!("the API key {} was revoked at 2027-01-15T08:00:05Z", short.record.id));
    assert_eq!(table.authenticate(&short.text, NOW_S + 5), Err(revoked));
    let error = table.revoke("nobody\n", NOW_S).unwrap_err().to_string();
    assert_eq!(error, r#"no API key has the id "nobody\n"; list them to see which there are"#);
}

#[test]
fn a_key_is_replaced_by_one_that_is_like_it() {
    let mut table = table();
    let spec = KeySpec { expires_at_s: Some(NOW_S + 1_000), rooms: vec![RoomPattern::parse("a*").unwrap()], ..spec() };
    let old = table.create(spec, NOW_S).unwrap();
    let new = table.rotate(&old.record.id, 60, NOW_S + 500).unwrap();
    for (name, text, now_s, expected) in [
        ("both at first", &old.text, NOW_S + 559, "ok u1"),
        ("both at first", &new.text, NOW_S + 559, "ok u1"),
        ("then one", &old.text, NOW_S + 560, "api-key-expired"),
        ("as long as the old one", &new.text, NOW_S + 1_499, "ok u1"),
        ("and no longer", &new.text, NOW_S + 1_500, "api-key-expired"),
    ] {
        check(name, &table, text, now_s, expected);
    }
    let find = |table: &KeyTable, id: &str| table.list().find(|record| &*record.id == id).unwrap().clone();
    let (old_record, new_record) = (find(&table, &old.record.id), find(&table, &new.record.id));
    assert_eq!(new_record, new.record);
    assert_eq!(
        (&new_record.replaces, &old_record.replaced_by),
        (&Some(old.record.id.clone()), &Some(new.record.id.clone()))
    );
    assert_eq!(
        (&new_record.rooms, new_record.scopes, &new_record.name),
        (&old_record.rooms, old_record.scopes, &old_record.name)
    );

    let twice = table.rotate(&old.record.id, 60, NOW_S + 501).unwrap_err().to_string();
    assert_eq!(twice, format!("the API key {} is replaced already; create a new one", old.record.id));
    assert!(table.rotate(&new.record.id, 60, NOW_S + 2_000).unwrap_err().to_string().contains("is expired"));
    table.revoke(&new.record.id, NOW_S).unwrap();
    assert!(table.rotate(&new.record.id, 60, NOW_S).unwrap_err().to_string().contains("is revoked"));
    assert!(table.rotate("nobody", 60, NOW_S).unwrap_err().to_string().contains("no API key has the id"));

    // An overlap never makes a key live longer, and a key without an end stays so.
    let endless = table.create(self::spec(), NOW_S).unwrap();
    assert_eq!(table.rotate(&endless.record.id, 0, NOW_S).unwrap().record.expires_at_s, None);
    check("no overlap", &table, &endless.text, NOW_S, "api-key-expired");
    let short = table.create(KeySpec { expires_at_s: Some(NOW_S + 10), ..self::spec() }, NOW_S).unwrap();
    table.rotate(&short.record.id, u64::MAX, NOW_S).unwrap();
    assert_eq!(find(&table, &short.record.id).expires_at_s, Some(NOW_S + 10));
}

#[test]
fn specifications_have_rules() {
    let cases = [
        (KeySpec { name: String::new(), ..spec() }, "the name \"\" is empty"),
        (KeySpec { owner: "a\nb".to_owned(), ..spec() }, r#"the owner "a\nb" has control characters"#),
        (KeySpec { owner: "x".repeat(257), ..spec() }, "is longer than 256 bytes"),
        (
            KeySpec {
                scopes: Scopes { admin: true, ..Scopes::default() },
                rooms: vec![RoomPattern::parse("a").unwrap()],
                ..spec()
            },
            "the scope admin is for the whole server; leave the rooms out, or make two keys",
        ),
        (KeySpec { scopes: Scopes::default(), ..spec() }, "it has no scope; give read, write or admin"),
        (KeySpec { expires_at_s: Some(NOW_S), ..spec() }, "it would have expired already"),
        (KeySpec { rooms: vec![RoomPattern::all(); 1_001], ..spec() }, "it has more than 1000 rooms"),
    ];
    for (spec, expected) in cases {
        let error = table().create(spec, NOW_S).unwrap_err().to_string();
        assert!(error.starts_with("no such key can be made: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_table_is_full_at_ten_thousand_keys() {
    let mut table = table();
    for _ in 0..10_000 {
        table.create(spec(), NOW_S).unwrap();
    }
    assert!(table.create(spec(), NOW_S).unwrap_err().to_string().contains("there are 10000 API keys"));
    assert_eq!(KeyTable::from_json(&table.to_json()).unwrap().list().count(), 10_000);
    let id = table.list().next().unwrap().id.clone();
    assert_eq!(table.remove(&id).unwrap().id, id);
    assert!(table.remove(&id).is_err() && table.create(spec(), NOW_S).is_ok());
}

#[test]
fn a_table_is_written_and_read() {
    let mut table = KeyTable::new(Pepper::generate().unwrap());
    let spec = KeySpec {
        scopes: Scopes::parse("write,read").unwrap(),
        rooms: vec![RoomPattern::parse("ä/*").unwrap()],
        ..spec()
    };
    let old = table.create(spec, NOW_S).unwrap();
    let new = table.rotate(&old.record.id, 60, NOW_S).unwrap();
    let json = table.to_json();
    assert!(!json.contains(&old.text[21..]) && !json.contains(&new.text[21..]));
    let read = KeyTable::from_json(&json).unwrap();
    assert_eq!(read.list().collect::<Vec<_>>(), table.list().collect::<Vec<_>>());
    assert_eq!(read.to_json(), json);
    check("after reading", &read, &new.text, NOW_S, "ok u1");
    assert!(json.contains(r#""version": 1"#) && json.contains(r#""ä/*""#) && json.contains(r#""write""#), "{json}");
}

#[test]
fn a_file_that_is_not_understood_is_refused() {
    let mut table = table();
    let id = table.create(spec(), NOW_S).unwrap().record.id;
    let json = table.to_json();
    let record =
        json[json.find("    {").unwrap()..json.rfind('}').unwrap()].rsplit_once('}').unwrap().0.to_owned() + "}";
    let hash = json.split("\"hash\": \"").nth(1).unwrap()[..64].to_owned();
    let cases = [
        (json.replace("\"version\": 1", "\"version\": 2"), "it has version 2, this program reads version 1"),
        (json.replace("\"version\": 1,", ""), "missing, unknown or wrong value at line"),
        (json.replace("\"owner\"", "\"ovvner\""), "missing, unknown or wrong value at line"),
        (json.replace("\"name\"", "\"ip_allowed\": [], \"name\""), "missing, unknown or wrong value at line"),
        (json.replace("\"read\"", "\"root\""), "missing, unknown or wrong value at line"),
        (json.replace("\"read\"", ""), "missing, unknown or wrong value at line"),
        (json.replace("\"rooms\": []", "\"rooms\": [\"a*b\"]"), "missing, unknown or wrong value at line"),
        (json.replace(&hash, &hash[..62]), "missing, unknown or wrong value at line"),
        (json.replace(&hash, &"zz".repeat(32)), "missing, unknown or wrong value at line"),
        (json.replace(&hash, &format!("+{}", &hash[1..])), "missing, unknown or wrong value at line"),
        (json.replace("\"revoked_at_s\": null", "\"revoked_at_s\": -1"), "missing, unknown or wrong value at line"),
        (json.replace("\"backup job\"", "\"a\\nb\""), "its name has control characters"),
        (json.replace("\"u1\"", "\"\""), "its owner is empty"),
        (json.replace(&*id, "../../etc/pw"), "is not 12 of the letters a to z and 2 to 7"),
        (json.replacen(&record, &format!("{record},{record}"), 1), "comes twice"),
        (json[..json.len() / 2].to_owned(), "it is not whole JSON at line"),
        (format!("{json}x"), "it is not whole JSON at line"),
        (String::new(), "it is not whole JSON at line 1"),
        ("[]".to_owned(), "missing, unknown or wrong value at line"),
    ];
    for (text, expected) in cases {
        assert_ne!(text, json, "{expected}");
        let error = KeyTable::from_json(&text).expect_err(expected).to_string();
        assert!(
            error.contains(expected) && error.contains("restore it from a backup"),
            "{error:?}, expected {expected:?}"
        );
        assert!(!error.contains(&hash[..60]), "{error}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut table = table();
    let key = table.create(spec(), NOW_S).unwrap();
    let printed = format!("{table:?} {key:?} {:?} {:?}", key.record, Pepper::new([7; 32]));
    let hidden = [&key.text[21..], "7, 7", "0707", "hash: [", "hash: \""];
    for secret in hidden {
        assert!(!printed.contains(secret), "{secret}: {printed}");
    }
    assert!(printed.contains("hash: hidden") && printed.contains("KeyTable { keys: 1, .. }"), "{printed}");
}

#[test]
fn a_key_of_the_console_is_found_by_its_text_alone_and_counts_there_only() {
    let mut table = table();
    let all = KeySpec { scopes: Scopes { read: true, write: true, admin: true }, ..spec() };
    let NewKey { text, record } = table.create_as(KeyForm::Console, all, NOW_S).unwrap();
    assert!(is_console_key(&text) && text.len() == 40 && !looks_like_api_key(&text));
    assert_eq!((record.form(), record.masked()), (KeyForm::Console, format!("{}…", &text[..12])));
    assert!(!text.contains(&*record.id));
    let table = KeyTable::from_json(&table.to_json()).unwrap();
    let identity = table.authenticate_console(&text, NOW_S).unwrap();
    assert_eq!((&*identity.user, &identity.credential), ("u1", &Credential::Key(record.id.clone())));
    assert!(!identity.is_admin() && record.scopes.admin, "it is listed, and gives nothing");
    assert_eq!(table.console_key(&text), Some(&record.id));
    assert_eq!(table.authenticate(&text, NOW_S).unwrap_err().code(), "malformed-api-key");
    assert!(!table.to_json().contains(&text) && !table.to_json().contains(&text[8..]));
    let other = if text.ends_with('0') { "1" } else { "0" };
    for (name, text, code) in [
        ("another digit", format!("{}{other}", &text[..39]), "unknown-api-key"),
        ("capitals", format!("nk_live_{}", "A".repeat(32)), "malformed-api-key"),
        ("a digit more", format!("{text}0"), "malformed-api-key"),
        ("a digit less", text[..39].to_owned(), "malformed-api-key"),
        ("another prefix", text.replace("live", "test"), "malformed-api-key"),
        ("nothing", String::new(), "malformed-api-key"),
    ] {
        let error = table.authenticate_console(&text, NOW_S).unwrap_err();
        assert_eq!(error.code(), code, "{name}");
        assert!(text.len() < 12 || !error.to_string().contains(&text[12..]), "{error}");
    }
}

#[test]
fn keys_of_the_console_run_out_are_revoked_replaced_and_removed_like_others() {
    let mut table = table();
    let limited = KeySpec { expires_at_s: Some(NOW_S + 10), ..spec() };
    let first = table.create_as(KeyForm::Console, limited, NOW_S).unwrap();
    let code = |table: &KeyTable, text: &str, now_s| {
        table.authenticate_console(text, now_s).map_or_else(|error| error.code(), |_| "ok")
    };
    assert_eq!(code(&table, &first.text, NOW_S + 9), "ok");
    assert_eq!(code(&table, &first.text, NOW_S + 10), "api-key-expired");
    let second = table.rotate(&first.record.id, 3, NOW_S).unwrap();
    assert!(is_console_key(&second.text));
    assert_eq!(
        (code(&table, &first.text, NOW_S + 3), code(&table, &second.text, NOW_S + 3)),
        ("api-key-expired", "ok")
    );
    table.revoke(&second.record.id, NOW_S).unwrap();
    assert_eq!(code(&table, &second.text, NOW_S), "api-key-revoked");
    table.remove(&second.record.id).unwrap();
    assert_eq!(code(&table, &second.text, NOW_S), "unknown-api-key");
    let standard = table.create(spec(), NOW_S).unwrap();
    assert_eq!(code(&table, &standard.text, NOW_S), "ok", "those of the other form count too");
    let begins = table.create_as(KeyForm::Console, spec(), NOW_S).unwrap().record.begins.unwrap();
    for (from, to) in [(&*begins, "nk_live_12"), (&*begins, "concord_1234"), (&*begins, "nk_live_12345")] {
        assert!(KeyTable::from_json(&table.to_json().replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn however_many_keys_people_make_operators_find_a_place() {
    let mut table = table();
    for _ in 0..9_000 {
        table.create_as(KeyForm::Console, spec(), NOW_S).unwrap();
    }
    let full = table.create_as(KeyForm::Console, spec(), NOW_S).unwrap_err();
    assert!(full.to_string().contains("delete"), "{full}");
    assert!(table.create(spec(), NOW_S).is_ok());
}
