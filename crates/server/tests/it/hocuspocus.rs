//! Sockets with several documents: that these are independent, what ends one of them and what all, and what the server holds for such a socket.

use crate::admin::Administered;
use crate::credentials::{now_s, token, with_secret};
use crate::page::{GOODBYE, Page, Told, auth, stateless, to};
use crate::provider::{Provider, Said, awareness, content_of, step_1, update};
use crate::spy::Spy;
use crate::tls::{Files, secure};
use crate::transport::socket_path;
use crate::world::{ByQuery, HeldSyncs, Running, config, limited, memory, on_disk, store_on};
use serde_json::{Value, json};
use server::config::{Config, Durability};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::client::{Client, Heard, PATIENCE, binary, client_frame, request, upgrade_request};
use testkit::disk::FaultyDisk;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// So many that not all of them are one thread's.
const MANY: usize = 24;

fn two_workers() -> Config {
    Config { workers: 2, ..config() }
}

fn names() -> Vec<String> {
    (0..MANY).map(|number| format!("doc{number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_several_threads_share_a_socket() {
    let server = Running::start(two_workers(), memory()).await;
    let names = names();
    let documents: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut one = Page::with(server.address, 1, &documents).await;
    let mut other = Page::with(server.address, 2, &documents).await;
    for round in 0..20 {
        for (number, document) in documents.iter().enumerate() {
            let page = if (round + number) % 2 == 0 { &mut one } else { &mut other };
            page.write(document, &format!("{document} ")).await;
        }
    }
    for document in &documents {
        for page in [&mut one, &mut other] {
            page.until_saved(document, 10).await;
        }
        let (by_one, by_other) = (one.written(document), other.written(document));
        one.until_shown(document, 2, by_other).await;
        other.until_shown(document, 1, by_one).await;
        assert_eq!(one.content(document), other.content(document), "{document}");
        assert_eq!(one.saved(document), 10);
    }
    // One room for all dialects, and no document in another.
    let mut provider = Provider::enter(server.address, "/doc7", 3).await;
    assert_eq!(provider.content(), one.content("doc7"));
    provider.write_and_save("from elsewhere").await;
    one.until_shown("doc7", 3, 14).await;
    assert_eq!(one.shown("doc8", 3), 0);
    assert!(server.stop((one, other, provider)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_spoken_at_the_root_and_at_its_mount() {
    let server = Running::start(config(), memory()).await;
    for target in ["/", "/hocuspocus", "/?x=y", "/hocuspocus?token=unused"] {
        let mut page = Page::on(Client::connect(server.address, target).await, 1);
        assert_eq!(page.enter("doc", "").await, "read-write", "{target}");
    }
    assert_eq!(request(server.address, "GET / HTTP/1.1\r\n\r\n").await.status, 200);
    let mut config = config();
    (config.mounts.root_hocuspocus, config.mounts.hocuspocus) = (false, None);
    let without = Running::start(config, memory()).await;
    let refusal = Client::connect_with(without.address, "/", "").await.expect_err("refused");
    assert_eq!(refusal.status, 400, "{}", refusal.body);
    // The path is a room's then.
    let _room = Provider::enter(without.address, "/hocuspocus", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_request_counts_for_who_shows_none() {
    let server = Running::start(with_secret(config()), memory()).await;
    let target = format!("/?token={}", token("ann", json!({})));
    let mut page = Page::on(Client::connect(server.address, &target).await, 1);
    assert_eq!(page.enter("doc", "").await, "read-write");
    assert_eq!(page.try_enter("other", "nonsense").await, Told::Refused("unauthorized".to_owned()));
    let mut stranger = Page::open(server.address, 2).await;
    assert_eq!(stranger.try_enter("doc", "").await, Told::Refused("unauthorized".to_owned()));
    page.write_and_save("doc", "hi").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_refused_and_another_one_works() {
    let server = Running::start(with_secret(config()), memory()).await;
    let rooms =
        json!({ "rooms": [{ "name": "mine/*", "permission": "write" }, { "name": "ours", "permission": "read" }] });
    let (good, old) = (token("ann", rooms), token("ann", json!({ "exp": now_s() - 600 })));
    let mut page = Page::open(server.address, 1).await;
    assert_eq!(page.enter("mine/1", &good).await, "read-write");
    assert_eq!(page.enter("ours", &good).await, "readonly");
    for (document, shown, reason) in [
        ("theirs", &*good, "permission-denied"),
        ("mine/2", &*old, "token-expired"),
        ("mine/2", "x", "unauthorized"),
        ("mine/2", "", "unauthorized"),
        ("", &*good, "permission-denied"),
    ] {
        page.say(document, &update(&[0, 0])).await;
        assert_eq!(page.try_enter(document, shown).await, Told::Refused(reason.to_owned()), "{document}");
    }
    page.write("ours", "x").await;
    assert!(!page.status("ours").await);
    page.write_and_save("mine/1", "works").await;
    assert_eq!(page.enter("mine/2", &good).await, "read-write");
    page.write_and_save("mine/2", "now too").await;
    let reader = Provider::enter(server.address, &format!("/ours?token={}", token("bob", json!({}))), 2).await;
    assert_eq!(reader.shown(1), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_failure_of_one_room_ends_the_socket_and_what_was_acknowledged_is_there() {
    let disk = FaultyDisk::new();
    let server = Running::start(two_workers(), store_on(&disk)).await;
    let mut page = Page::with(server.address, 1, &["a", "b"]).await;
    let mut bystander = Page::with(server.address, 2, &["b"]).await;
    page.write_and_save("a", "kept").await;
    disk.fail_writes("log/", std::io::ErrorKind::StorageFull);
    page.write("a", "lost").await;
    let (heard, code, reason) = page.until_closed().await;
    assert_eq!((code, &*reason), (1011, "storage failed; unsaved edits stay in your editor"));
    assert!(!heard.iter().any(|(_, told)| matches!(told, Told::Status(true))), "{heard:?}");
    // A room that is paused is worth another try, so the socket says that; on a slow machine it may be back already.
    let mut early = Page::open(server.address, 3).await;
    early.say("a", &auth("")).await;
    match early.hear().await {
        (_, Told::Closed(1013, reason)) => assert_eq!(reason, "try again later"),
        (_, Told::Accepted(_)) => {}
        other => panic!("{other:?}"),
    }
    disk.heal();
    bystander.write_and_save("b", "undisturbed").await;
    let mut back = loop {
        let mut page = Page::open(server.address, 4).await;
        page.say("a", &auth("")).await;
        if let (_, Told::Accepted(_)) = page.hear().await {
            page.say("a", GOODBYE).await;
            page.until_ended("a").await;
            break page;
        }
    };
    back.enter("a", "").await;
    assert_eq!(back.shown("a", 1), 4);
    back.write_and_save("a", "works").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_acknowledged_when_it_is_synced_and_not_before() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut page = Page::with(server.address, 1, &["a", "b"]).await;
    let mut other = Page::with(server.address, 2, &["a"]).await;
    page.write_and_save("a", "before").await;
    let held = HeldSyncs::of(&disk);
    page.write("a", "held").await;
    other.until_shown("a", 1, 10).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    assert_eq!(page.heard_by_now("a").await, [], "told before the sync");
    page.write("b", "later").await;
    drop(held);
    page.until_saved("a", 2).await;
    page.until_saved("b", 1).await;
    let content = other.content("a");
    // What was acknowledged survives a power cut, whatever the disk makes of the rest.
    let held = HeldSyncs::of(&disk);
    page.write("a", "perhaps").await;
    other.until_shown("a", 1, 17).await;
    let after = store_on(&disk.cut_power(&mut fastrand::Rng::with_seed(7)));
    let found = content_of(&server::export(&*after, "a").expect("the room is there"));
    assert!(found == content || found == other.content("a"), "neither what was saved nor what was seen");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn kicked_from_a_document_or_from_the_socket() {
    let world = Administered::start("hp-kick").await;
    let (ann, bob) = (token("ann", json!({})), token("bob", json!({})));
    let mut page = Page::open(world.server.address, 1).await;
    let mut witness = Page::open(world.server.address, 2).await;
    for document in ["r", "other"] {
        page.enter(document, &ann).await;
        witness.enter(document, &bob).await;
    }
    let (_, answer) = world.ask("POST", "/api/admin/rooms/r/kick", json!({ "user": "ann" })).await;
    assert_eq!(answer["connections"], 1);
    assert_eq!(page.until_ended("r").await, "disconnected by an administrator");
    page.write_and_save("other", "the socket stays").await;
    assert_eq!(page.enter("r", &ann).await, "read-write");
    page.write_and_save("r", "back").await;
    world.ask("POST", "/api/admin/rooms/r/kick", json!({ "user": "ann", "come_back": true })).await;
    let (_, code, reason) = page.until_closed().await;
    assert_eq!((code, &*reason), (4500, "disconnected by an administrator, reconnect"));
    witness.until_shown("r", 1, 4).await;
    witness.write_and_save("r", "stays").await;
    world.server.stop((page, witness)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_taken_back_in_part_and_as_a_whole() {
    let world = Administered::start("hp-revoke").await;
    let earlier = |user: &str| token(user, json!({ "iat": now_s() - 300 }));
    let (ann, bob) = (earlier("ann"), earlier("bob"));
    let mut page = Page::open(world.server.address, 1).await;
    let mut witness = Page::open(world.server.address, 2).await;
    for document in ["team/1", "other"] {
        page.enter(document, &ann).await;
        witness.enter(document, &bob).await;
    }
    page.write_and_save("team/1", "a").await;
    let meant = json!({ "user": "ann", "room": "team/*", "permission": "read" });
    assert_eq!(world.ask("POST", "/api/admin/revoke", meant).await.1["connections"], 1);
    page.write("team/1", "b").await;
    assert!(!page.status("team/1").await);
    page.write_and_save("other", "still writes").await;
    witness.write_and_save("team/1", "c").await;
    page.until_shown("team/1", 2, 1).await;
    assert_eq!(page.try_enter("team/2", &ann).await, Told::Accepted("readonly".to_owned()));
    assert_eq!(world.ask("POST", "/api/admin/revoke", json!({ "user": "ann" })).await.1["connections"], 3);
    let mut ended = Vec::new();
    while ended.len() < 3 {
        if let (address, Told::Ended(reason)) = page.hear().await {
            assert_eq!(reason, "permission-denied", "{address}");
            ended.push(address);
        }
    }
    ended.sort();
    assert_eq!(ended, ["other", "team/1", "team/2"]);
    assert_eq!(page.try_enter("other", &ann).await, Told::Refused("permission-denied".to_owned()));
    // The socket is still good for who has another token.
    assert_eq!(page.enter("other", &token("cid", json!({}))).await, "read-write");
    assert_eq!(witness.shown("team/1", 1), 1);
    world.server.stop((page, witness)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_document_is_read_only_for_all_and_a_deleted_one_is_gone() {
    let world = Administered::start("hp-lock").await;
    let ann = token("ann", json!({}));
    let mut page = Page::open(world.server.address, 1).await;
    for document in ["r", "other"] {
        page.enter(document, &ann).await;
    }
    page.write_and_save("r", "before").await;
    assert_eq!(world.ask("POST", "/api/admin/rooms/r/lock", json!({})).await.0, 200);
    page.write("r", "x").await;
    assert!(!page.status("r").await);
    let mut late = Page::open(world.server.address, 2).await;
    assert_eq!(late.enter("r", &ann).await, "readonly");
    assert_eq!(late.shown("r", 1), 6);
    assert_eq!(world.ask("POST", "/api/admin/rooms/r/unlock", json!({})).await.0, 200);
    late.write_and_save("r", "after").await;

    let (status, answer) = world.ask("DELETE", "/api/admin/rooms/r", json!({})).await;
    assert_eq!((status, &answer), (200, &json!({ "existed": true, "connections": 2 })));
    for page in [&mut page, &mut late] {
        assert_eq!(page.until_ended("r").await, "document-not-found");
        assert_eq!(page.try_enter("r", &ann).await, Told::Refused("document-not-found".to_owned()));
    }
    assert_eq!(page.try_enter("r", "x").await, Told::Refused("unauthorized".to_owned()), "strangers are not told");
    page.write_and_save("other", "undisturbed").await;
    assert_eq!(world.ask("POST", "/api/admin/rooms/r/reopen", json!({})).await.0, 200);
    page.enter("r", &ann).await;
    assert_eq!(page.shown("r", 1), 0);
    page.write_and_save("r", "a new life").await;
    world.server.stop((page, late)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn application_messages_stay_within_their_document() {
    let world = Administered::start("hp-stateless").await;
    let ann = token("ann", json!({}));
    let mut page = Page::open(world.server.address, 1).await;
    page.enter("r", &ann).await;
    page.enter("other", &ann).await;
    page.say("r", &stateless("nobody else is here")).await;
    page.enter("r\0second", &ann).await;
    page.say("r", &stateless("hello")).await;
    let (address, told) = page.hear().await;
    assert_eq!((&*address, told), ("r\0second", Told::Stateless("hello".to_owned())));
    assert_eq!(page.heard_by_now("other").await, []);
    world.server.stop(page).await;
}

fn with_short_tokens(ask_ms: u64, grace_ms: u64) -> Config {
    let mut config = with_secret(config());
    config.auth.leeway_s = 0;
    (config.hocuspocus.token_ask_ms, config.hocuspocus.token_grace_ms) = (ask_ms, grace_ms);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_is_asked_for_and_who_has_none_loses_the_document_only() {
    let server = Running::start(with_short_tokens(2_000, 300), memory()).await;
    let short = |user: &str| token(user, json!({ "exp": now_s() + 3 }));
    let mut page = Page::open(server.address, 1).await;
    page.enter("renewed", &short("ann")).await;
    page.enter("ignored", &short("ann")).await;
    page.enter("long", &token("ann", json!({}))).await;
    let (mut asked, ends_s) = (Vec::new(), now_s() + 3);
    while asked.len() < 2 {
        let (address, told) = page.hear().await;
        assert_eq!(told, Told::Asked, "{address}");
        asked.push(address);
    }
    asked.sort();
    assert_eq!(asked, ["ignored", "renewed"]);
    assert!(now_s() <= ends_s, "asked after its end");
    page.say("renewed", &auth(&token("ann", json!({})))).await;
    // Until its end, and a little longer, the old one is good enough.
    page.write_and_save("ignored", "in time").await;
    let (address, told) = page.hear().await;
    assert_eq!((&*address, told), ("ignored", Told::Ended("Unauthorized".to_owned())));
    assert!(now_s() + 1 >= ends_s, "ended before its end");
    for document in ["renewed", "long"] {
        page.write_and_save(document, "goes on").await;
    }
    assert_eq!(page.try_enter("ignored", &token("ann", json!({}))).await, Told::Accepted("read-write".to_owned()));
    assert_eq!(page.shown("ignored", 1), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_replaces_the_rights_and_a_bad_one_ends_the_document() {
    let server = Running::start(with_short_tokens(0, 0), memory()).await;
    let reading = token("ann", json!({ "rooms": [{ "name": "*", "permission": "read" }] }));
    let writing = token("ann", json!({}));
    let mut page = Page::open(server.address, 1).await;
    page.enter("r", &reading).await;
    page.enter("other", &writing).await;
    // That is not told, but it counts for all that follows, however soon.
    for (number, (shown, saved)) in [(&writing, true), (&reading, false), (&writing, true)].iter().enumerate() {
        let change = update(&crate::provider::Writer::new(5 + number as u64).write("x"));
        let at_once = [binary(&to("r", &auth(shown))), binary(&to("r", &change))].concat();
        page.client.send_raw(&at_once).await;
        assert_eq!(page.status("r").await, *saved, "{number}");
    }
    for bad in [token("bob", json!({})), "x".to_owned(), String::new()] {
        page.say("r", &auth(&bad)).await;
        assert_eq!(page.until_ended("r").await, "Unauthorized", "{bad}");
        page.write_and_save("other", "undisturbed").await;
        page.enter("r", &writing).await;
    }
    assert_eq!([5, 6, 7].map(|id| page.shown("r", id)), [1, 0, 1]);
}

/// One edit; enough of them to fill every buffer of the system between two sockets several times.
const EDIT_BYTES: usize = 40 << 10;
const EDITS: usize = 400;

async fn narrow(server: &Running, id: u64) -> Page {
    Page::on(Client::connect_narrow(server.address, "/").await, id)
}

/// What the server says that it holds.
async fn memory_bytes(world: &Administered) -> u64 {
    let (_, page) = world.ask("GET", "/metrics", Value::Null).await;
    let value = page.as_str().and_then(|page| page.lines().find_map(|line| line.strip_prefix("concord_memory_bytes ")));
    value.expect("a gauge").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_loses_its_place_and_is_caught_up_later() {
    let mut config = two_workers();
    config.limits.ring_bytes_max = 64 << 10;
    let server = Running::start(config, memory()).await;
    let mut slow = narrow(&server, 1).await;
    slow.enter("r", "").await;
    slow.enter("other", "").await;
    let mut writer = Page::with(server.address, 2, &["r", "other"]).await;
    let mut reader = Page::with(server.address, 3, &["r"]).await;
    let text = "x".repeat(EDIT_BYTES);
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            slow.write("r", "still here").await;
        }
        writer.write_and_save("r", &text).await;
        reader.until_shown("r", 2, writer.written("r")).await;
    }
    writer.write_and_save("other", "small").await;
    reader.until_shown("r", 1, 10).await;
    let (mut single, mut catch_ups) = (0, 0);
    while slow.shown("r", 2) < writer.written("r") {
        match slow.hear().await {
            (_, Told::Room(Said::Update(bytes))) if bytes.len() > 2 * EDIT_BYTES => catch_ups += 1,
            (_, Told::Room(Said::Update(_))) => single += 1,
            (_, Told::Status(true)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(catch_ups >= 1 && single < EDITS, "{catch_ups} catch-ups, {single} single edits");
    slow.until_saved("r", 1).await;
    slow.until_shown("other", 2, 5).await;
    writer.until_shown("r", 1, 10).await;
    assert_eq!(slow.content("r"), writer.content("r"));
    writer.write_and_save("r", "and on it goes").await;
    slow.until_shown("r", 2, writer.written("r")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_socket_is_counted_and_stays_small() {
    let mut hurry = two_workers();
    hurry.keep_alive_ms = 100;
    let world = Administered::with("hp-memory", memory(), hurry).await;
    let ann = token("ann", json!({}));
    let mut slow = narrow(&world.server, 1).await;
    let mut writer = Page::open(world.server.address, 2).await;
    for page in [&mut slow, &mut writer] {
        for document in ["r", "other"] {
            page.enter(document, &ann).await;
        }
    }
    let text = "x".repeat(EDIT_BYTES);
    for edit in 0..EDITS {
        writer.write_and_save(if edit % 2 == 0 { "r" } else { "other" }, &text).await;
    }
    // Two documents of 8 MB and their rings; what the socket does not take is no third and fourth of them.
    let (held, content) = (memory_bytes(&world).await, (EDITS * EDIT_BYTES) as u64);
    assert!(held < content + (6 << 20), "{held} bytes are held for {content} of content");
    for document in ["r", "other"] {
        slow.until_shown(document, 2, writer.written(document)).await;
        assert_eq!(slow.content(document), writer.content(document));
    }
    world.server.stop((slow, writer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_socket_is_bounded_also_where_addresses_are_longer_than_messages() {
    /// What may wait for the socket, and memory for that, for the channel and for the statuses behind it, all of which may double when they grow.
    const FULL: u64 = 256 << 10;
    const BOUND: u64 = 2 << 20;
    /// Of messages of four bytes, which have more than a thousand each with their address: several times what the system keeps for a socket.
    const STATUSES: usize = 20_000;
    let mut hurry = two_workers();
    hurry.keep_alive_ms = 100;
    let world = Administered::with("hp-wire", memory(), hurry).await;
    let (ann, address) = (token("ann", json!({})), "r".repeat(1_024));
    let mut slow = narrow(&world.server, 1).await;
    let mut witness = Page::open(world.server.address, 2).await;
    for page in [&mut slow, &mut witness] {
        page.enter(&address, &ann).await;
    }
    let before = memory_bytes(&world).await;
    // Known already, so that there is nothing to tell of them but that they are saved.
    let nothing_new = binary(&to(&address, &update(&[0, 0])));
    for _ in 0..STATUSES / 100 {
        slow.client.send_raw(&nothing_new.repeat(100)).await;
    }
    slow.write(&address, "behind them").await;
    witness.until_shown(&address, 1, 11).await;
    let counted = async { while memory_bytes(&world).await < before + FULL {} };
    tokio::time::timeout(PATIENCE, counted).await.expect("counted when it is full");
    // It is looked at all the time while the socket takes one part after the other.
    let mut most = 0;
    for saved in (0..=STATUSES).step_by(200) {
        slow.until_saved(&address, saved).await;
        most = most.max(memory_bytes(&world).await);
    }
    slow.until_shown(&address, 1, 11).await;
    slow.until_saved(&address, STATUSES + 1).await;
    assert!(most < before + BOUND, "{} bytes are held for one socket", most - before);
    world.server.stop((slow, witness)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_acceptance_is_counted_and_given_back() {
    let mut hurry = config();
    // Then it is counted more often.
    hurry.keep_alive_ms = 100;
    let world = Administered::with("hp-lobby", memory(), hurry).await;
    let before = memory_bytes(&world).await;
    let counted = |wanted: std::ops::Range<u64>| {
        let world = &world;
        async move {
            let wait = async { while !wanted.contains(&memory_bytes(world).await) {} };
            tokio::time::timeout(PATIENCE, wait).await.expect("counted");
        }
    };
    let mut lurkers = Vec::new();
    for id in 0..4 {
        let mut page = Page::open(world.server.address, id).await;
        for number in 0..4 {
            page.say(&format!("doc{number}"), &vec![5; 1 << 20]).await;
        }
        lurkers.push(page);
    }
    counted(before + (16 << 20)..before + (17 << 20)).await;
    // One goes beyond the bound, one is accepted nowhere and goes.
    lurkers[0].say("doc", &vec![5; 2 << 20]).await;
    assert_eq!(lurkers[0].until_closed().await, (vec![], 4205, "Reset Connection".to_owned()));
    lurkers.truncate(2);
    counted(before + (4 << 20)..before + (5 << 20)).await;
    drop(lurkers);
    counted(0..before + (1 << 20)).await;
    world.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_document_on_its_way_stops_no_other_and_no_message_is_cut_by_another() {
    let server = Running::start(two_workers(), memory()).await;
    let mut author = Page::with(server.address, 1, &["huge", "chat"]).await;
    for _ in 0..3 {
        author.write_and_save("huge", &"x".repeat(1 << 20)).await;
    }
    let mut page = narrow(&server, 2).await;
    page.enter("chat", "").await;
    page.say("huge", &auth("")).await;
    page.say("huge", &step_1(&[0])).await;
    // While 3 MB are on their way to a page that does not read, it is heard, and its presence is seen.
    for _ in 0..50 {
        page.write("chat", "!").await;
        author.until_shown("chat", 2, page.written("chat")).await;
        author.write_and_save("chat", "?").await;
    }
    page.say("chat", &awareness(2, 1, "{}")).await;
    author.hear_from("chat", |told| matches!(told, Told::Room(Said::Awareness(_)))).await;
    // Whatever came in between, each message is whole: the client reads frames one behind the other.
    let huge = page.hear_from("huge", |told| matches!(told, Told::Room(Said::Missing(_)))).await;
    assert!(matches!(huge, Told::Room(Said::Missing(bytes)) if bytes.len() > 3 << 20));
    page.until_shown("chat", 1, 50).await;
    page.until_saved("chat", 50).await;
    assert_eq!(page.content("chat"), author.content("chat"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pings_without_reading_is_not_read() {
    let server = Running::start(config(), memory()).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let mut stream = socket.connect(server.address).await.expect("the server listens");
    stream.write_all(upgrade_request("/", "").as_bytes()).await.expect("sent");
    // The system's buffers in both directions take some 10 MB; what does not end is kept in the server.
    let pings = client_frame(0x89, &[b'x'; 125]).repeat(8 << 10);
    let all = async {
        for _ in 0..64 {
            stream.write_all(&pings).await.expect("sent");
        }
    };
    let (mut bystander, mut other) =
        (Page::with(server.address, 1, &["r"]).await, Page::with(server.address, 2, &["r"]).await);
    let others = async {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            bystander.write_and_save("r", "undisturbed").await;
            other.until_shown("r", 1, bystander.written("r")).await;
        }
    };
    tokio::select! {
        () = all => panic!("64 MB of pings were read although their answers were not"),
        () = others => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_are_not_read_do_not_pile_up() {
    let server = Running::start(with_secret(config()), memory()).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let mut stream = socket.connect(server.address).await.expect("the server listens");
    stream.write_all(upgrade_request("/", "").as_bytes()).await.expect("sent");
    let long = format!("{}\n", "x".repeat(1_000));
    let asks = binary(&to(&long, &auth(""))).repeat(1 << 10);
    let all = async {
        for _ in 0..64 {
            stream.write_all(&asks).await.expect("sent");
        }
    };
    let token = token("ann", json!({}));
    let others = async {
        let mut page = Page::open(server.address, 1).await;
        page.enter("r", &token).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            page.write_and_save("r", "undisturbed").await;
        }
    };
    tokio::select! {
        () = all => panic!("64 MB of requests were read although their refusals were not"),
        () = others => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_server_stops_every_socket_is_told() {
    let disk = FaultyDisk::new();
    let mut server = Running::start(two_workers(), store_on(&disk)).await;
    let mut page = Page::with(server.address, 1, &["a", "b", "c"]).await;
    let mut other = Page::with(server.address, 2, &["a"]).await;
    let mut without = Page::open(server.address, 3).await;
    let mut left = Page::with(server.address, 4, &["a"]).await;
    left.say("a", GOODBYE).await;
    assert_eq!(left.until_ended("a").await, "provider_initiated");
    let mut waiting = Page::open(server.address, 5).await;
    waiting.say("a", &step_1(&[0])).await;
    let held = HeldSyncs::of(&disk);
    page.write("a", "held").await;
    other.until_shown("a", 1, 4).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    server.begin_stop();
    for page in [&mut without, &mut left, &mut waiting] {
        let (_, code, reason) = page.until_closed().await;
        assert_eq!((code, &*reason), (1001, "server shutting down"));
    }
    drop(held);
    let (heard, code, reason) = page.until_closed().await;
    assert_eq!((code, &*reason), (1001, "server shutting down"));
    let saved = heard.iter().filter(|(_, told)| *told == Told::Status(true)).count();
    assert_eq!(saved, 1, "saved before it is told to go: {heard:?}");
    assert_eq!(other.until_closed().await.1, 1001);
    drop((page, other, without, left, waiting));
    assert!(server.stopped().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_refuses_at_the_end_sockets_are_told_that() {
    let disk = FaultyDisk::new();
    let server = Running::start(two_workers(), store_on(&disk)).await;
    let mut page = Page::with(server.address, 1, &["a", "b", "c"]).await;
    let held = HeldSyncs::of(&disk);
    page.write("a", "held").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    disk.fail_syncs("log/", std::io::ErrorKind::Other);
    let stopping = tokio::spawn(server.stop(()));
    drop(held);
    let (heard, code, _) = page.until_closed().await;
    assert_eq!((heard, code), (vec![], 1011));
    drop(page);
    stopping.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_has_been_begun_is_finished_before_the_close_frame() {
    let server = Running::start(two_workers(), memory()).await;
    let mut author = Page::with(server.address, 1, &["huge"]).await;
    for _ in 0..8 {
        author.write_and_save("huge", &"x".repeat(1 << 20)).await;
    }
    let mut page = narrow(&server, 2).await;
    page.say("huge", &auth("")).await;
    page.say("huge", &step_1(&[0])).await;
    page.hear_from("huge", |told| matches!(told, Told::Room(Said::StateVector(_)))).await;
    let stopped = tokio::spawn(server.stop(author));
    let (heard, code, _) = page.until_closed().await;
    assert_eq!(code, 1001);
    // As one message or, where there is a snapshot by now, as two.
    let bytes = heard.iter().map(|(_, told)| match told {
        Told::Room(Said::Missing(bytes) | Said::Update(bytes)) => bytes.len(),
        _ => 0,
    });
    assert!(bytes.sum::<usize>() > 8 << 20);
    drop(page);
    stopped.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_byte_for_too_long_is_closed() {
    let mut config = config();
    (config.slow_consumer_ms, config.limits.ring_bytes_max) = (300, 64 << 10);
    let server = Running::start(config, memory()).await;
    let mut slow = narrow(&server, 1).await;
    slow.enter("r", "").await;
    slow.say("r", &awareness(1, 1, "{}")).await;
    slow.hear_from("r", |told| matches!(told, Told::Room(Said::Awareness(_)))).await;
    let mut writer = Page::with(server.address, 2, &["r"]).await;
    let mut witness = Provider::enter(server.address, "/r", 3).await;
    let gone = Said::Awareness(vec![(1, 1, "null".to_owned())]);
    let mut is_gone = false;
    let text = "x".repeat(EDIT_BYTES);
    while !is_gone {
        writer.write_and_save("r", &text).await;
        while witness.shown(2) < writer.written("r") {
            is_gone |= witness.hear().await == gone;
        }
    }
    let (_, code, reason) = slow.until_closed().await;
    assert_eq!((code, &*reason), (1013, "try again later"));
    writer.write_and_save("r", "undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_a_document_is_closed_in_time_whatever_it_sends() {
    let mut config = config();
    config.hocuspocus.lobby_ms = 500;
    let server = Running::start(config, memory()).await;
    let mut stays = Page::with(server.address, 1, &["r"]).await;
    let mut left = Page::with(server.address, 2, &["r"]).await;
    left.say("r", GOODBYE).await;
    assert_eq!(left.until_ended("r").await, "provider_initiated");
    for what in [vec![], to("doc", &step_1(&[0])), vec![10], to("", &auth(""))] {
        let began = Instant::now();
        let mut page = Page::open(server.address, 3).await;
        let ended = loop {
            if !what.is_empty() && began.elapsed() < Duration::from_millis(450) {
                page.client.send(&what).await;
                // Slowly enough not to reach the other limits.
                tokio::task::yield_now().await;
                let pong = client_frame(0x89, b"?");
                page.client.send_raw(&pong).await;
                while !matches!(page.client.hear().await, Heard::Pong(_)) {}
                if began.elapsed() < Duration::from_millis(20) {
                    continue;
                }
            }
            match page.client.hear().await {
                Heard::Close(code, reason) => break (code, reason),
                Heard::Message(refusal) => assert!(refusal.starts_with(&[0, 2, 1]), "{refusal:02x?}"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ended, (4408, "Connection Timeout".to_owned()), "{what:02x?}");
        assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    }
    stays.write_and_save("r", "still here").await;
    assert_eq!(left.enter("r", "").await, "read-write");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_ended_by_presence_of_nobody_and_never_in_the_lobby() {
    let mut config = config();
    config.keep_alive_ms = 100;
    let server = Running::start(config, memory()).await;
    let mut lobby = Page::open(server.address, 1).await;
    lobby.say("doc", &step_1(&[0])).await;
    let mut page = Page::with(server.address, 2, &["a", "b"]).await;
    for _ in 0..3 {
        let (address, told) = page.hear().await;
        assert!(["a", "b"].contains(&&*address), "{address}");
        assert_eq!(told, Told::Room(Said::Awareness(vec![])));
    }
    lobby.client.send_raw(&client_frame(0x89, b"?")).await;
    assert_eq!(lobby.client.hear().await, Heard::Pong(b"?"[..].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_pings_is_closed() {
    let mut config = config();
    config.ping_ms = 200;
    let server = Running::start(config, memory()).await;
    let mut dead = Page::with(server.address, 1, &["r"]).await;
    let mut page = Page::with(server.address, 2, &["r"]).await;
    dead.say("r", &awareness(1, 1, "{}")).await;
    page.hear_from("r", |told| matches!(told, Told::Room(Said::Awareness(_)))).await;
    dead.client.mute();
    // By answering while it waits, this one stays.
    let gone = |told: &Told| *told == Told::Room(Said::Awareness(vec![(1, 1, "null".to_owned())]));
    page.hear_from("r", gone).await;
    let end = loop {
        match dead.client.hear().await {
            Heard::Close(code, reason) => break (code, reason),
            Heard::Ping | Heard::Message(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, (4408, "Connection Timeout".to_owned()));
    page.write_and_save("r", "still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_of_the_protocol_close_the_socket() {
    let server = Running::start(limited(|limits| limits.frame_bytes_max = 1 << 20), memory()).await;
    let mut bystander = Page::with(server.address, 1, &["r"]).await;
    let cases: [(Vec<u8>, u16, &str); 5] = [
        (client_frame(0x81, b"hello"), 1003, "text frames are not part of this protocol"),
        (client_frame(0x82, &vec![0; (1 << 20) + 1]), 1009, "Message Too Big"),
        (client_frame(0x82, b""), 4401, "Unauthorized"),
        (client_frame(0x82, &[5, b'a']), 4401, "Unauthorized"),
        (client_frame(0x88, &1000_u16.to_be_bytes()), 1000, ""),
    ];
    for (id, (frame, code, reason)) in (10..).zip(cases) {
        let mut page = Page::with(server.address, id, &["r", "other"]).await;
        page.say("r", &awareness(id, 1, "{}")).await;
        bystander.hear_from("r", |told| matches!(told, Told::Room(Said::Awareness(_)))).await;
        page.client.send_raw(&frame).await;
        let (_, ended, why) = page.until_closed().await;
        assert_eq!((ended, &*why), (code, reason));
        // All that it had in its documents goes with it.
        let gone = |told: &Told| matches!(told, Told::Room(Said::Awareness(entries)) if entries[0].2 == "null");
        bystander.hear_from("r", gone).await;
        bystander.write_and_save("r", "undisturbed").await;
    }
    // The close frame of a page that is told nothing else is answered too.
    let mut page = Page::open(server.address, 3).await;
    page.client.send_close(1001).await;
    assert_eq!(page.until_closed().await.1, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_the_lobby_close_the_socket() {
    let server = Running::start(config(), memory()).await;
    let mut bystander = Page::with(server.address, 1, &["r"]).await;
    let floods: [Vec<Vec<u8>>; 3] = [
        vec![to("doc", &step_1(&[0])); 1_001],
        (0..101).map(|number| to(&format!("doc{number}"), &step_1(&[0]))).collect(),
        vec![to("doc", &vec![5; 1 << 20]); 6],
    ];
    for flood in floods {
        let mut page = Page::with(server.address, 2, &["r"]).await;
        let all: Vec<u8> = flood.iter().flat_map(|message| binary(message)).collect();
        page.client.send_raw(&all).await;
        assert_eq!(page.until_closed().await, (vec![], 4205, "Reset Connection".to_owned()));
        bystander.write_and_save("r", "undisturbed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_room_stops_no_room_of_another_thread() {
    let store = Arc::new(Spy::on(memory()));
    let server = Running::start(two_workers(), store.clone()).await;
    let names = names();
    let documents: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut page = Page::with(server.address, 1, &documents).await;
    let mut other = Page::with(server.address, 2, &documents).await;
    store.hold_append("doc/doc0");
    page.write("doc0", "held").await;
    store.until(|counts| counts.appends("doc/doc0") > 0).await;
    for document in &documents[1..] {
        page.write(document, "x").await;
    }
    // One of them is of the thread that does not wait for the disk.
    let free = loop {
        if let (address, Told::Status(true)) = page.hear().await {
            break address;
        }
    };
    for _ in 0..100 {
        page.write("doc0", "waits").await;
        page.write_and_save(&free, "goes on").await;
        other.until_shown(&free, 1, page.written(&free)).await;
    }
    assert_eq!(page.saved("doc0"), 0);
    store.release();
    page.until_saved("doc0", 101).await;
    for document in &documents[1..] {
        page.until_saved(document, if **document == free { 101 } else { 1 }).await;
        other.until_shown(document, 1, page.written(document)).await;
    }
    other.until_shown("doc0", 1, page.written("doc0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_a_stalled_room_waits_at_the_client_and_nothing_is_lost() {
    let store = Arc::new(Spy::on(memory()));
    let server = Running::start(two_workers(), store.clone()).await;
    let mut page = Page::with(server.address, 1, &["r"]).await;
    store.hold_append("doc/r");
    page.write("r", "held").await;
    store.until(|counts| counts.appends("doc/r") > 0).await;
    let words = stateless(&"x".repeat(1 << 20));
    let mut sending = tokio::spawn(async move {
        // More than the buffers of the system take.
        for _ in 0..40 {
            page.say("r", &words).await;
        }
        page
    });
    let early = tokio::time::timeout(Duration::from_secs(2), &mut sending).await;
    assert!(early.is_err(), "40 MB were read for a room that takes nothing");
    store.release();
    let mut page = sending.await.expect("no panic");
    page.until_saved("r", 1).await;
    page.write_and_save("r", "and all behind it").await;
    let witness = Provider::enter(server.address, "/r", 2).await;
    assert_eq!(witness.shown(1), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_connections_count_documents() {
    let mut config = limited(|limits| limits.user_connections_max = 3);
    config = with_secret(config);
    let server = Running::start(config, memory()).await;
    let (ann, bob) = (token("ann", json!({})), token("bob", json!({})));
    let mut page = Page::open(server.address, 1).await;
    for document in ["a", "b", "c"] {
        page.enter(document, &ann).await;
    }
    let mut other = Page::open(server.address, 2).await;
    for page in [&mut page, &mut other] {
        assert_eq!(page.try_enter("d", &ann).await, Told::Refused("permission-denied".to_owned()));
    }
    assert_eq!(other.enter("d", &bob).await, "read-write");
    page.write_and_save("a", "undisturbed").await;
    page.say("b", GOODBYE).await;
    assert_eq!(page.until_ended("b").await, "provider_initiated");
    let tried = async { while matches!(other.try_enter("b", &ann).await, Told::Refused(_)) {} };
    tokio::time::timeout(PATIENCE, tried).await.expect("a place is free");
    drop(page);
    let tried = async { while matches!(other.try_enter("c", &ann).await, Told::Refused(_)) {} };
    tokio::time::timeout(PATIENCE, tried).await.expect("places are free");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_tls_and_at_a_unix_socket_it_is_the_same() {
    let path = socket_path("hocuspocus");
    let (files, identity) = Files::new("hp-tls");
    let mut config = files.config();
    (config.unix_socket, config.workers) = (Some(path.clone()), 2);
    let server = Running::start(config, memory()).await;
    let tcp = TcpStream::connect(server.address).await.expect("the server listens");
    let far = Client::connect_on(secure(tcp, &identity).await, "/", "").await.expect("let in");
    let unix = UnixStream::connect(&path).await.expect("the server listens");
    let near = Client::connect_on(unix, "/hocuspocus", "").await.expect("let in");
    let (mut far, mut near) = (Page::on(far, 1), Page::on(near, 2));
    for page in [&mut far, &mut near] {
        for document in ["a", "b"] {
            page.enter(document, "").await;
        }
    }
    far.write_and_save("a", &"x".repeat(3 << 20)).await;
    near.write_and_save("b", &"y".repeat(3 << 20)).await;
    near.write_and_save("a", "small").await;
    far.until_shown("b", 2, 3 << 20).await;
    far.until_shown("a", 2, 5).await;
    near.until_shown("a", 1, 3 << 20).await;
    for document in ["a", "b"] {
        assert_eq!(far.content(document), near.content(document));
    }
    assert!(server.stop((far, near)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_of_one_page_that_come_and_go_leave_nothing() {
    let server = Running::start(two_workers(), memory()).await;
    let mut witness = Page::with(server.address, 9, &["doc"]).await;
    let mut page = Page::open(server.address, 1).await;
    for round in 0..100_u64 {
        let address = format!("doc\0{}", round % 3);
        page.enter(&address, "").await;
        page.say(&address, &awareness(round + 10, 1, "{}")).await;
        page.say(&address, GOODBYE).await;
        // Before its goodbye is answered: for its next life.
        page.say(&address, &auth("")).await;
        page.say(&address, &stateless("I am back")).await;
        assert_eq!(page.until_ended(&address).await, "provider_initiated");
        witness.hear_from("doc", |told| *told == Told::Stateless("I am back".to_owned())).await;
        page.say(&address, GOODBYE).await;
        assert_eq!(page.until_ended(&address).await, "provider_initiated");
    }
    witness.say("doc", &[3]).await;
    let present = witness.hear_from("doc", |told| matches!(told, Told::Room(Said::Awareness(_)))).await;
    assert!(
        matches!(&present, Told::Room(Said::Awareness(all)) if all.iter().all(|entry| entry.2 == "null")),
        "{present:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_knows_the_request_only_is_asked_for_who_shows_no_token() {
    let server = Running::start_with(config(), memory(), Arc::new(ByQuery)).await;
    let mut reader = Page::on(Client::connect(server.address, "/?user=ann&access=read").await, 1);
    assert_eq!(reader.enter("r", "").await, "readonly");
    let mut refused = Page::on(Client::connect(server.address, "/?refuse=404").await, 2);
    assert_eq!(refused.try_enter("r", "").await, Told::Refused("document-not-found".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_strict_nobody_sees_what_is_not_synced() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.durability = Durability::Strict;
    let server = Running::start(config, store_on(&disk)).await;
    let mut page = Page::with(server.address, 1, &["r"]).await;
    let mut other = Page::with(server.address, 2, &["r"]).await;
    page.write_and_save("r", "before").await;
    other.until_shown("r", 1, 6).await;
    let held = HeldSyncs::of(&disk);
    page.write("r", "held").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    for page in [&mut page, &mut other] {
        assert_eq!(page.heard_by_now("r").await, [], "seen before the sync");
    }
    drop(held);
    page.until_saved("r", 2).await;
    other.until_shown("r", 1, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_before_a_goodbye_in_order_counts() {
    let server = Running::start(two_workers(), memory()).await;
    let mut readers = Vec::new();
    for id in 1_000..1_020 {
        readers.push(Page::with(server.address, id, &["r"]).await);
    }
    for id in 1..=50 {
        let mut page = Page::with(server.address, id, &["r"]).await;
        let change = update(&crate::provider::Writer::new(id).write("x"));
        let last = [binary(&to("r", &change)), client_frame(0x88, &1000_u16.to_be_bytes())].concat();
        page.client.send_raw(&last).await;
        // It takes nothing any more.
        page.client.vanish();
    }
    let mut late = Page::open(server.address, 2_000).await;
    late.enter("r", "").await;
    for id in 1..=50 {
        late.until_shown("r", id, 1).await;
    }
    assert!(server.stop((readers, late)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_a_bounded_number_of_documents() {
    let server = Running::start(two_workers(), memory()).await;
    let mut page = Page::open(server.address, 1).await;
    for number in 0..256 {
        assert_eq!(page.enter(&format!("r{number}"), "").await, "read-write");
    }
    assert_eq!(page.try_enter("one more", "").await, Told::Refused("permission-denied".to_owned()));
    page.say("r7", &[7]).await;
    page.until_ended("r7").await;
    assert_eq!(page.enter("one more", "").await, "read-write", "a place has become free");
    page.write_and_save("r8", "works").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_a_socket_count_for_its_address() {
    let mut config = limited(|limits| limits.address_connections_max = 3);
    config.exempt = server::address::Trusted::default();
    let server = Running::start(config, memory()).await;
    let mut page = Page::with(server.address, 1, &["a", "b"]).await;
    assert_eq!(page.try_enter("c", "").await, Told::Refused("permission-denied".to_owned()));
    page.say("a", &[7]).await;
    page.until_ended("a").await;
    // Its place is free a moment after it was told.
    while page.try_enter("c", "").await == Told::Refused("permission-denied".to_owned()) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_full_refuses_its_document_only() {
    let server = Running::start(limited(|limits| limits.room_connections_max = 1), memory()).await;
    let _first = Page::with(server.address, 1, &["full"]).await;
    let mut page = Page::with(server.address, 2, &["mine"]).await;
    assert_eq!(page.try_enter("full", "").await, Told::Refused("permission-denied".to_owned()));
    page.write_and_save("mine", "works").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_no_gate_takes_is_not_kept() {
    let server = Running::start(with_secret(config()), memory()).await;
    let mut page = Page::open(server.address, 1).await;
    let long = "x".repeat((16 << 10) + 1);
    assert_eq!(page.try_enter("r", &long).await, Told::Refused("unauthorized".to_owned()));
    page.say("r", &update(&[0, 0])).await;
    assert_eq!(page.try_enter("r", &long).await, Told::Refused("unauthorized".to_owned()));
    assert_eq!(page.enter("r", &token("ann", json!({}))).await, "read-write");
}
