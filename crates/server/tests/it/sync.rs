//! What members of a room see of each other over real sockets.

use crate::provider::{Provider, Said, Writer, awareness, delete, step_1, step_2, update};
use crate::world::{Running, config, memory};
use testkit::client::{Client, Heard, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_is_a_step_1_and_awareness_follows_iff_somebody_is_present() {
    let server = Running::start(config(), memory()).await;
    let mut first = Provider::unsynced(Client::connect(server.address, "/r").await, 1);
    assert_eq!(first.hear().await, Said::StateVector(document::StateVector::default()));
    assert_eq!(first.heard_by_now().await, []);
    first.client.send(&awareness(7, 1, "{}")).await;
    let present = Said::Awareness(vec![(7, 1, "{}".to_owned())]);
    assert_eq!(first.hear().await, present);
    let mut second = Provider::unsynced(Client::connect(server.address, "/r").await, 2);
    assert!(matches!(second.hear().await, Said::StateVector(_)));
    assert_eq!(second.hear().await, present);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_1_gets_exactly_one_step_2() {
    let server = Running::start(config(), memory()).await;
    let mut provider = Provider::enter(server.address, "/r", 1).await;
    provider.write_and_save("hi").await;
    for _ in 0..5 {
        provider.client.send(&step_1(&[0])).await;
    }
    let heard = provider.heard_by_now().await;
    assert_eq!(heard.len(), 5);
    assert!(heard.iter().all(|said| matches!(said, Said::Missing(_))), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_all_others_of_its_room_once_and_its_author_when_saved() {
    let server = Running::start(config(), memory()).await;
    let mut author = Provider::enter(server.address, "/a%20b/%C3%A4", 1).await;
    let mut other = Provider::enter(server.address, "/y/a%20b/%C3%A4", 2).await;
    let mut stranger = Provider::enter(server.address, "/a", 3).await;
    let bytes = author.writer.write("hi");
    author.client.send(&update(&bytes)).await;
    assert_eq!(author.hear().await, Said::Update(bytes.clone()));
    assert_eq!(other.hear().await, Said::Update(bytes.clone()));
    // A duplicate is told to nobody, not even in another form.
    author.client.send(&step_2(&bytes)).await;
    assert_eq!(author.heard_by_now().await, []);
    for nothing_more in [&mut other, &mut stranger] {
        assert_eq!(nothing_more.heard_by_now().await, []);
    }
    let newcomer = Provider::enter(server.address, "/a%20b%2F%C3%A4", 4).await;
    assert_eq!(newcomer.content(), author.content());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_see_the_changes_in_one_order() {
    let server = Running::start(config(), memory()).await;
    let mut watchers = Vec::new();
    for id in 0..3 {
        watchers.push(Provider::enter(server.address, "/r", 100 + id).await);
    }
    let writers = (1..=4).map(|id| async move {
        let mut writer = Provider::enter(server.address, "/r", id).await;
        for _ in 0..100 {
            writer.write("x").await;
        }
        writer.until_saved().await;
    });
    let writers: Vec<_> = writers.map(tokio::spawn).collect();
    let mut orders = Vec::new();
    for watcher in &mut watchers {
        let mut order = Vec::new();
        while (1..=4).any(|id| watcher.shown(id) < 100) {
            order.push(watcher.hear().await);
        }
        orders.push(order);
    }
    assert_eq!(orders[0].len(), 400);
    assert!(orders.iter().all(|order| *order == orders[0]));
    for writer in writers {
        writer.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_frames_may_be_cut_in_any_way() {
    let server = Running::start(config(), memory()).await;
    let mut provider = Provider::enter(server.address, "/r", 1).await;
    let mut watcher = Provider::enter(server.address, "/r", 2).await;

    // Vector M of the protocol: two messages in one frame.
    provider.client.send(b"\x00\x00\x01\x00\x01\x0b\x01\x07\x01\x07{\"a\":1}").await;
    let heard = provider.hear_until(|said| matches!(said, Said::Awareness(_))).await;
    assert!(matches!(heard[..], [Said::Missing(_), Said::Awareness(_)]), "{heard:?}");
    assert_eq!(watcher.hear().await, Said::Awareness(vec![(7, 1, "{\"a\":1}".to_owned())]));

    let bytes = update(&provider.writer.write("in fragments, with pings between"));
    provider.client.send_fragments(&bytes, 5).await;
    watcher.until_shown(1, provider.writer.clock).await;

    let bytes = testkit::client::binary(&update(&provider.writer.write("byte by byte")));
    for byte in bytes {
        provider.client.send_raw(&[byte]).await;
    }
    watcher.until_shown(1, provider.writer.clock).await;
    assert!(server.stop((provider, watcher)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_before_what_it_needs_is_told_when_that_has_come_also_after_a_restart() {
    let store = memory();
    let server = Running::start(config(), store.clone()).await;
    let mut writer = Writer::new(1);
    let (a1, a2) = (writer.write("hi"), writer.write("!"));
    let mut early = Provider::enter(server.address, "/r", 8).await;
    let mut watcher = Provider::enter(server.address, "/r", 9).await;
    early.client.send(&update(&a2)).await;
    assert!(matches!(early.hear().await, Said::StateVector(_)));
    assert_eq!(watcher.heard_by_now().await, []);
    assert!(server.stop((early, watcher)).await);

    let server = Running::start(config(), store).await;
    let mut watcher = Provider::enter(server.address, "/r", 9).await;
    let mut late = Provider::enter(server.address, "/r", 8).await;
    late.client.send(&update(&a1)).await;
    watcher.until_shown(1, 3).await;
    late.client.send(&update(&delete(1, 0, 1))).await;
    watcher.hear_until(|said| *said == Said::Update(delete(1, 0, 1))).await;
    assert!(server.stop((late, watcher)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_short_visits_leave_nothing_behind() {
    let mut config = config();
    config.unload_after_ms = 0;
    let server = Running::start(config, memory()).await;
    for round in 0..10 {
        let visits = (0..100).map(|visit| async move {
            let mut client = Client::connect(server.address, &format!("/room-{}", visit % 7)).await;
            client.send(&awareness(1_000 * round + visit, 1, "{}")).await;
            match visit % 4 {
                0 => client.vanish(),
                1 => client.reset(),
                2 => client.send_close(1001).await,
                _ => {
                    client.send_close(1000).await;
                    while client.hear().await != Heard::End {}
                }
            }
        });
        for visit in visits.map(tokio::spawn).collect::<Vec<_>>() {
            visit.await.expect("no panic");
        }
    }
    loop {
        let health = request(server.address, "GET /health HTTP/1.1\r\n\r\n").await.body;
        if health.contains("\"websocket\":{\"connections\":0,\"rooms\":0}") {
            break;
        }
    }
    let mut newcomer = Provider::enter(server.address, "/room-1", 1).await;
    assert_eq!(newcomer.heard_by_now().await, []);
    newcomer.client.send(crate::provider::QUERY_AWARENESS).await;
    assert_eq!(newcomer.hear().await, Said::Awareness(Vec::new()));
}
