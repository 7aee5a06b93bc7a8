//! Stateless messages that do not come from another client: the application takes them and answers, administrators send them.

use crate::admin::Administered;
use crate::application::Application;
use crate::credentials::{token, with_secret};
use crate::page::{Page, Told, auth, stateless, to};
use crate::provider::Provider;
use crate::world::{Running, config, memory};
use serde_json::{Value, json};
use server::config::{Config, Secret};
use testkit::client::binary;

fn handing_over(application: &Application) -> Config {
    let mut config = with_secret(config());
    config.hocuspocus.stateless_url = Some(application.url("/stateless"));
    config.auth.webhook_secret = Secret::new("a secret for webhooks, 32 bytes long");
    config
}

/// The body of a request.
fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_answers_the_sender_or_all_or_nobody() {
    let application = Application::start(|request: &str| {
        let payload = body(request)["payload"].as_str().expect("text").to_owned();
        match payload.split_once(' ') {
            Some(("sender", words)) => (200, json!({ "to": "sender", "payload": format!("re:{words}") }).to_string()),
            Some(("all", words)) => (200, json!({ "to": "all", "payload": format!("to-all:{words}") }).to_string()),
            Some(("broken", _)) => (200, "{".to_owned()),
            Some(("down", _)) => (503, String::new()),
            _ => (204, String::new()),
        }
    })
    .await;
    let server = Running::start(handing_over(&application), memory()).await;
    let mut page = Page::open(server.address, 1).await;
    let mut other = Page::open(server.address, 2).await;
    for document in ["r", "else"] {
        page.enter(document, &token("ann", json!({ "name": "Ann" }))).await;
        other.enter(document, &token("ben", json!({}))).await;
    }
    let told = |words: &str| Told::Stateless(words.to_owned());
    page.say("r", &stateless("sender x")).await;
    assert_eq!(page.hear().await, ("r".to_owned(), told("re:x")));
    page.say("r", &stateless("all y")).await;
    assert_eq!(page.hear().await, ("r".to_owned(), told("to-all:y")));
    assert_eq!(other.hear().await, ("r".to_owned(), told("to-all:y")), "and nothing of what ann has said before");
    // Also what was said before the document was accepted is not for the other clients.
    let mut hasty = Page::open(server.address, 3).await;
    let both = [binary(&to("r", &auth(&token("cid", json!({}))))), binary(&to("r", &stateless("sender early")))];
    hasty.client.send_raw(&both.concat()).await;
    let answer = hasty.hear_from("r", |heard| matches!(heard, Told::Stateless(_))).await;
    assert_eq!(answer, told("re:early"));
    // Without an answer nobody is told, and the document works on.
    for (count, words) in ["nobody z", "broken z", "down z"].into_iter().enumerate() {
        page.say("r", &stateless(words)).await;
        application.until_asked_more_than(3 + count).await;
    }
    page.write_and_save("r", "works").await;
    page.say("r", &stateless("sender last")).await;
    assert_eq!(page.hear().await, ("r".to_owned(), told("re:last")));
    assert_eq!(other.heard_by_now("else").await, []);
    let asked = &application.asked()[0];
    assert!(asked.starts_with("POST /stateless ") && asked.contains("concord-signature: sha256="), "{asked}");
    let asked = body(asked);
    let identity = (&asked["identity"]["userId"], &asked["identity"]["name"]);
    assert_eq!(identity, (&json!("ann"), &json!("Ann")));
    let (document, permission) = (&asked["document"], &asked["permission"]);
    assert_eq!((document, permission), (&json!("r"), &json!("write")));
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_tell_everybody_in_a_document() {
    let world = Administered::start("announce").await;
    let mut page = Page::open(world.server.address, 1).await;
    page.enter("r", &token("ann", json!({}))).await;
    page.enter("else", &token("ann", json!({}))).await;
    let mut stock = Provider::enter(world.server.address, &format!("/r?token={}", token("ben", json!({}))), 2).await;
    let path = "/api/admin/rooms/r/announce";
    let (status, answer) = world.ask("POST", path, json!({ "payload": "published" })).await;
    assert_eq!((status, &answer["connections"]), (200, &json!(1)), "who knows such messages");
    assert_eq!(page.hear().await, ("r".to_owned(), Told::Stateless("published".to_owned())));
    assert_eq!(page.heard_by_now("else").await, []);
    assert_eq!(stock.heard_by_now().await, [], "and nobody else");
    let (status, answer) = world.ask("POST", "/api/admin/rooms/nobody/announce", json!({ "payload": "x" })).await;
    assert_eq!((status, &answer["connections"]), (200, &json!(0)));
    assert_eq!(world.ask("POST", path, json!({})).await.0, 400);
    assert_eq!(world.ask("GET", path, json!({})).await.0, 405);
}
