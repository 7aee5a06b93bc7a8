//! What is served where: one name is one document in all dialects, unless the operator keeps them apart, moves them, or switches them off.

use crate::provider::{Provider, Writer, content_of};
use crate::sessions_dialect::Page;
use crate::world::{Running, config, memory};
use testkit::client::{Client, Heard};

#[tokio::test(flavor = "multi_thread")]
async fn one_name_is_one_document_unless_dialects_are_kept_apart() {
    for isolate in [false, true] {
        let server = Running::start(server::config::Config { isolate, ..config() }, memory()).await;
        let mut page = Page::enter(server.address, "user_id=ann").await;
        let mut there = Provider::enter(server.address, "/d", 9).await;
        page.client.send(&Writer::new(1).write("hi")).await;
        match isolate {
            false => there.until_shown(1, 2).await,
            true => {
                page.heard_by_now().await;
                assert_eq!(there.heard_by_now().await, [], "another document");
                let mut same = Provider::enter(server.address, "/sessions/d", 8).await;
                assert_eq!(same.shown(1), 0, "and no path leads around it");
                same.heard_by_now().await;
            }
        }
        // Names that clients see are their own.
        assert_eq!(page.start["session"]["document_id"], "d");
        let again = Page::enter(server.address, "user_id=ben").await;
        let mut again = again;
        assert_eq!(content_of(&again.hear_document().await), content_of(&Writer::new(1).write("hi")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dialects_can_be_moved_and_switched_off() {
    let mut moved = config();
    let at = |path: &str| Some(path.to_owned());
    (moved.mounts.sessions, moved.mounts.json_yjs) = (at("/kb"), None);
    (moved.mounts.hocuspocus, moved.mounts.root_hocuspocus) = (at("/live"), false);
    let server = Running::start(moved, memory()).await;
    let cases = [
        ("/kb/d?user_id=ann", None),
        ("/live", None),
        ("/ws/document/d", Some(404)),
        ("/", Some(400)),
        ("/d/one/ws/one", None),
        // A row that is off leaves its paths to those below.
        ("/ws?draftId=x", None),
        ("/hocuspocus", None),
    ];
    for (target, refused) in cases {
        let connected = Client::connect_with(server.address, target, "").await;
        assert_eq!(connected.as_ref().err().map(|refusal| refusal.status), refused, "{target}");
    }
    let mut as_room = Client::connect(server.address, "/ws?draftId=x").await;
    assert!(matches!(as_room.hear().await, Heard::Message(step) if step == [0, 0, 1, 0][..]), "a y-websocket room");
}
