//! Keys that people make for themselves: the same that the command line makes, lists and revokes.

use super::{Console, LOG_IN, text};
use crate::credentials::now_s;
use crate::world::{config, memory};
use identity::Scopes;
use identity::api_key::{KeyForm, KeySpec, is_console_key};
use serde_json::{Value, json};
use server::auth::KeyFile;
use server::cli::KeyCommand;
use server::credentials;
use testkit::client::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_deleted_and_are_those_of_the_command_line() {
    let console = Console::start("accounts-keys").await;
    let (body, _) = console.sign_up("ann").await;
    let (token, user) = (text(&body["token"]), text(&body["user"]["id"]));
    let bob = console.token("bob").await;
    let (status, made) = console.post("/api/keys/generate", &token, json!({})).await;
    assert_eq!(status, 200, "{made}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let key = text(&made["id"]);
    assert!(is_console_key(&key), "{made}");
    assert_eq!((&made["name"], &made["expires_in_days"]), (&json!("Unnamed Key"), &json!(90)));
    assert_eq!(made["scopes"], json!(["read", "write"]));
    let life_ms = made["expires_at"].as_u64().zip(made["created_at"].as_u64()).map(|(end, begin)| end - begin);
    assert_eq!(life_ms, Some(90 * 86_400_000));

    // One more from the command line, one of the other form, and one that has run out.
    let command = |name: &str, form| KeyCommand::Create {
        form,
        name: name.to_owned(),
        owner: user.clone(),
        scopes: Scopes { read: true, write: false, admin: false },
        rooms: vec![],
        ttl_s: None,
    };
    for (name, form) in [("by hand", KeyForm::Console), ("standard", KeyForm::Standard)] {
        credentials::keys(&console.config, command(name, form)).expect("made");
    }
    let file = KeyFile::open(&console.config.data).expect("opens");
    let past = KeySpec {
        name: "past".to_owned(),
        owner: user.clone(),
        scopes: Scopes { read: true, write: true, admin: true },
        rooms: vec![],
        expires_at_s: Some(now_s() - 5),
    };
    file.change(|table| table.create_as(KeyForm::Console, past, now_s() - 10)).expect("made");
    let listed = async {
        loop {
            let listed = console.get("/api/keys/list?includeExpired=true", &token).await;
            if listed["pagination"]["total"] == 4 {
                return listed;
            }
            tokio::task::yield_now().await;
        }
    };
    let listed = tokio::time::timeout(PATIENCE, listed).await.expect("the file is read again");
    let by_name = |name: &str| {
        let keys = listed["keys"].as_array().expect("a list");
        keys.iter().find(|key| key["name"] == name).cloned().unwrap_or_else(|| panic!("{name} in {listed}"))
    };
    let first = by_name("Unnamed Key");
    assert_eq!(first["id"], format!("{}…", &key[..12]), "its secret is not kept");
    assert_eq!((&first["key_id"], &first["is_expired"]), (&made["key_id"], &json!(false)));
    assert_eq!((&first["last_used_at"], &first["expires_at"]), (&Value::Null, &made["expires_at"]));
    assert_eq!(by_name("past")["is_expired"], true);
    assert!(text(&by_name("standard")["id"]).starts_with("concord_"));
    assert_eq!(listed["pagination"], json!({ "limit": 50, "offset": 0, "total": 4 }));
    let page = console.get("/api/keys/list?limit=1&offset=1", &token).await;
    assert_eq!(page["pagination"], json!({ "limit": 1, "offset": 1, "total": 3 }));
    assert_eq!(page["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(console.get("/api/keys/list", &bob).await["pagination"]["total"], 0);

    // The command line sees all of them, and can end them; what it shows is no secret.
    let printed = credentials::keys(&console.config, KeyCommand::List).expect("listed");
    assert_eq!(printed.lines().filter(|line| line.contains("\"form\":\"console\"")).count(), 3, "{printed}");
    assert!(printed.contains("\"form\":\"standard\"") && !printed.contains(&key), "{printed}");

    // A key makes no keys, whatever it may do elsewhere.
    for path in ["/api/keys/list", "/api/rooms/list", "/api/auth/list-sessions"] {
        for headers in [format!("X-Nano-Key: {key}\r\n"), format!("Authorization: Bearer {key}\r\n")] {
            let response = console.ask("GET", path, &headers, "").await;
            assert_eq!((response.status, &*response.body), (401, LOG_IN), "{path}");
        }
    }
    let not_his = console.post("/api/keys/delete", &bob, json!({ "id": key })).await;
    assert_eq!(not_his.0, 404);
    for id in [json!(key), by_name("by hand")["id"].clone(), by_name("standard")["key_id"].clone()] {
        let (status, answer) = console.post("/api/keys/delete", &token, json!({ "id": id })).await;
        let expected = json!({ "success": true, "message": "API key deleted successfully" });
        assert_eq!((status, answer), (200, expected.to_string()));
        assert_eq!(console.post("/api/keys/delete", &token, json!({ "id": id })).await.0, 404);
    }
    let printed = credentials::keys(&console.config, KeyCommand::List).expect("listed");
    assert_eq!(printed.lines().count(), 2, "an operator's key is revoked, and stays in sight: {printed}");
    // And the other way round.
    let revoke = KeyCommand::Revoke { id: text(&by_name("past")["key_id"]) };
    credentials::keys(&console.config, revoke).expect("revoked");
    let gone = async {
        while console.get("/api/keys/list?includeExpired=true", &token).await["pagination"]["total"] != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the file is read again");
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_one_user_have_a_bound() {
    let mut config = config();
    config.accounts.requests_per_minute = 1_000;
    let console = Console::with("accounts-many-keys", config, memory()).await;
    let (body, _) = console.sign_up("ann").await;
    let (token, user) = (text(&body["token"]), text(&body["user"]["id"]));
    let file = KeyFile::open(&console.config.data).expect("opens");
    let made = file.change(|table| {
        for number in 0..99 {
            let spec = KeySpec {
                name: format!("{number}"),
                owner: user.clone(),
                scopes: Scopes { read: true, write: true, admin: false },
                rooms: vec![],
                expires_at_s: None,
            };
            table.create_as(KeyForm::Console, spec, now_s())?;
        }
        Ok(())
    });
    made.expect("written");
    assert_eq!(console.post("/api/keys/generate", &token, json!({})).await.0, 200);
    let (status, answer) = console.post("/api/keys/generate", &token, json!({})).await;
    assert!(status == 400 && answer.contains("100 API keys already"), "{status} {answer}");
    console.server.stop(()).await;
}
