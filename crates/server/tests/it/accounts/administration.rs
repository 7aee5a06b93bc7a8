//! What administrators do about accounts, and that the keys which people make for themselves give no part in that.

use super::{JSON, PASSWORD, ask_at, text};
use crate::admin::{Administered, ask};
use crate::provider::Provider;
use crate::world::{config, memory};
use identity::api_key::is_console_key;
use serde_json::{Value, json};
use server::config::SignUp;
use testkit::client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn administrators_look_after_accounts() {
    let mut config = config();
    config.accounts.sign_up = SignUp::Closed;
    let world = Administered::with("accounts-admin", memory(), config).await;
    let new = |name: &str| json!({ "name": name, "email": format!("{name}@example.com"), "password": PASSWORD });
    let (status, ann) = world.ask("POST", "/api/admin/users", new("ann")).await;
    assert_eq!((status, &ann["email"], &ann["sessions"]), (200, &json!("ann@example.com"), &json!(0)), "{ann}");
    let (_, bob) = world.ask("POST", "/api/admin/users", new("bob")).await;
    let (ann, bob) = (text(&ann["id"]), text(&bob["id"]));
    let user = format!("/api/admin/users/{ann}");
    let sign_in = |password: &'static str| {
        let body = json!({ "email": "ann@example.com", "password": password }).to_string();
        async move {
            let response = ask_at(world.server.address, "POST", "/api/auth/sign-in/email", JSON, &body).await;
            let token = serde_json::from_str::<Value>(&response.body).expect("JSON")["token"].clone();
            (response.status, token.as_str().unwrap_or_default().to_owned())
        }
    };
    let (status, token) = sign_in(PASSWORD).await;
    assert_eq!(status, 200);
    let bearer = format!("{JSON}Authorization: Bearer {token}\r\n");
    let made = ask_at(world.server.address, "POST", "/api/keys/generate", &bearer, "{}").await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(
        ask_at(world.server.address, "POST", "/api/rooms/create", &bearer, "{\"roomId\":\"crm\"}").await.status,
        200
    );

    let (_, listed) = world.ask("GET", "/api/admin/users?limit=1", Value::Null).await;
    assert_eq!((&listed["total"], listed["users"].as_array().map(Vec::len)), (&json!(2), Some(1)), "{listed}");
    let (_, listed) = world.ask("GET", "/api/admin/users?email=Ann%40example.com", Value::Null).await;
    assert_eq!((&listed["users"][0]["sessions"], &listed["users"][0]["rooms"]), (&json!(1), &json!(1)), "{listed}");
    let (_, sessions) = world.ask("GET", &format!("{user}/sessions"), Value::Null).await;
    let session = text(&sessions["sessions"][0]["id"]);
    assert!(!sessions.to_string().contains(&token), "{sessions}");

    // Rooms: whose they are, and who may do what in them.
    let (_, rooms) = world.ask("GET", "/api/admin/databases", Value::Null).await;
    assert_eq!((&rooms["total"], &rooms["databases"][0]["owner"]), (&json!(1), &json!(ann)), "{rooms}");
    let permission = format!("/api/admin/databases/crm/permissions/{bob}/tasks");
    let (_, right) = world.ask("PUT", &permission, json!({ "can_read": true, "can_write": false })).await;
    assert_eq!(right, json!({ "can_read": true, "can_write": false }));
    world.ask("PUT", "/api/admin/databases/crm/protected/People", json!({})).await;
    let (_, room) = world.ask("GET", "/api/admin/databases/crm", Value::Null).await;
    assert_eq!(room["protected"], json!(["people"]));
    assert_eq!(room["permissions"], json!([{ "user": bob, "table": "tasks", "can_read": true, "can_write": false }]));
    assert_eq!(world.ask("DELETE", &permission, json!({})).await.0, 200);
    assert_eq!(world.ask("DELETE", "/api/admin/databases/crm/protected/people", json!({})).await.0, 200);
    let (_, room) = world.ask("PUT", "/api/admin/databases/crm/owner", json!({ "owner": bob, "name": "CRM" })).await;
    assert_eq!((&room["owner"], &room["name"], &room["permissions"]), (&json!(bob), &json!("CRM"), &json!([])));
    assert_eq!(world.ask("DELETE", "/api/admin/databases/crm/owner", json!({})).await.0, 200);
    assert_eq!(
        world.ask("GET", "/api/admin/databases/crm", Value::Null).await.0,
        404,
        "nothing is known of it any more"
    );

    // Sessions, the password, and the end of the account with its keys.
    let one = format!("{user}/sessions/{session}");
    assert_eq!(world.ask("DELETE", &one, json!({})).await, (200, json!({ "sessions": 1 })));
    assert_eq!(world.ask("DELETE", &one, json!({})).await.0, 404);
    assert_eq!(sign_in(PASSWORD).await.0, 200);
    let reset = world.ask("PUT", &format!("{user}/password"), json!({ "password": "another password" })).await;
    assert_eq!(reset, (200, json!({ "sessions": 1 })));
    assert_eq!((sign_in(PASSWORD).await.0, sign_in("another password").await.0), (401, 200));
    assert_eq!(world.ask("DELETE", &format!("{user}/sessions"), json!({})).await, (200, json!({ "sessions": 1 })));
    assert_eq!(world.ask("DELETE", &user, json!({})).await, (200, json!({ "sessions": 0, "keys": 1 })));
    let (_, keys) = world.ask("GET", "/api/admin/keys", Value::Null).await;
    assert!(keys["keys"].as_array().is_some_and(|keys| keys.iter().all(|key| key["owner"] != *ann)), "{keys}");
    assert_eq!(sign_in("another password").await.0, 401);

    let cases = [
        ("GET", "/api/admin/users/nobody".to_owned(), Value::Null, 404, "no user of this id"),
        ("DELETE", user, Value::Null, 404, "no user of this id"),
        ("POST", "/api/admin/users".to_owned(), new("bob"), 409, "already"),
        ("POST", "/api/admin/users".to_owned(), json!({ "email": "x@y.z" }), 400, "missing field"),
        ("PUT", format!("/api/admin/users/{bob}/password"), json!({ "password": "short" }), 400, "at least 8"),
        ("GET", "/api/admin/users?limit=x".to_owned(), Value::Null, 400, "whole number"),
        ("PATCH", format!("/api/admin/users/{bob}"), Value::Null, 405, "methods"),
        ("GET", format!("/api/admin/users/{bob}/keys"), Value::Null, 404, "docs/admin.md"),
        ("PUT", permission.clone(), json!({}), 400, "can_read"),
        ("PUT", permission.replace("tasks", "a%20b"), json!({ "can_read": true, "can_write": true }), 400, "table"),
        ("PUT", "/api/admin/databases/%0a/owner".to_owned(), json!({ "owner": bob }), 400, "room's id"),
        ("PUT", "/api/admin/databases/%ff/owner".to_owned(), json!({ "owner": bob }), 400, "UTF-8"),
        ("DELETE", "/api/admin/databases/crm/owner".to_owned(), Value::Null, 404, "no such room"),
        ("DELETE", "/api/admin/databases/crm/protected/tasks".to_owned(), Value::Null, 400, "always protected"),
        ("POST", "/api/admin/databases/crm".to_owned(), Value::Null, 405, "methods"),
    ];
    for (method, path, body, status, words) in cases {
        let body = if body.is_null() { json!({}) } else { body };
        let (found, answer) = world.ask(method, &path, body).await;
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(words)), "{method} {path}: {answer}");
    }
    world.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_key_administers_nothing() {
    let world = Administered::with("accounts-no-admin", memory(), config()).await;
    let all = json!({ "name": "x", "owner": "ann", "scopes": ["read", "write", "admin"], "form": "console" });
    let (status, made) = world.ask("POST", "/api/admin/keys", all).await;
    let key = text(&made["key"]);
    assert!(status == 200 && is_console_key(&key));
    let admin = world.server.admin.expect("it listens");
    let refused = ask(admin, "GET", "/api/admin/keys", &format!("Authorization: Bearer {key}\r\n"), "").await;
    assert_eq!(refused.0, 401, "{}", refused.1);
    // Nor does it open documents.
    let (_, code, _) = Provider::unsynced(Client::connect(world.server.address, &format!("/r?token={key}")).await, 1)
        .until_closed()
        .await;
    assert_eq!(code, 4401);
    world.server.stop(()).await;
}
