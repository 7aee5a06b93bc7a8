//! A client that does not read costs itself its place, and nobody else anything.

use crate::provider::{Provider, Said, awareness, step_1};
use crate::world::{Running, config, memory};
use testkit::client::{Client, Heard};

/// One edit, larger than the ring of these tests by a little less than half.
const EDIT_BYTES: usize = 40 << 10;
/// Enough to fill every buffer of the system between two sockets, several times.
const EDITS: usize = 400;

fn small_ring() -> server::config::Config {
    let mut config = config();
    config.limits.ring_bytes_max = 64 << 10;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_behind_is_caught_up_with_one_update_and_delays_nobody() {
    let server = Running::start(small_ring(), memory()).await;
    let mut slow = Provider::on(Client::connect_narrow(server.address, "/r").await, 1).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    let mut reader = Provider::enter(server.address, "/r", 3).await;
    let text = "x".repeat(EDIT_BYTES);
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            // What it writes itself is accepted all the same.
            slow.write("still here").await;
        }
        writer.write(&text).await;
        // Both are served while `slow` does not read a byte.
        writer.until_saved().await;
        reader.until_shown(2, writer.writer.clock).await;
    }
    reader.until_shown(1, 10).await;

    let (mut single, mut catch_ups) = (0, 0);
    while slow.shown(2) < writer.writer.clock {
        match slow.hear().await {
            Said::Update(bytes) if bytes.len() > 2 * EDIT_BYTES => catch_ups += 1,
            Said::Update(_) => single += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(catch_ups, 1, "after {single} single edits");
    assert!(single < EDITS, "it was never behind: the test writes too little");
    slow.until_saved().await;
    writer.write_and_save("and on it goes").await;
    slow.until_shown(2, writer.writer.clock).await;
    writer.until_shown(1, 10).await;
    reader.until_shown(2, writer.writer.clock).await;
    assert_eq!(slow.content(), writer.content());
    assert_eq!(reader.content(), writer.content());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_from_behind_knows_who_has_left() {
    let server = Running::start(small_ring(), memory()).await;
    let mut leaver = Provider::enter(server.address, "/r", 9).await;
    leaver.client.send(&awareness(9, 1, "{}")).await;
    assert!(matches!(leaver.hear().await, Said::Awareness(_)));
    let mut slow = Provider::on(Client::connect_narrow(server.address, "/r").await, 1).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    let text = "x".repeat(EDIT_BYTES);
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            leaver.client.send(&awareness(9, 2, "null")).await;
            writer.hear_until(|said| matches!(said, Said::Awareness(_))).await;
        }
        writer.write_and_save(&text).await;
    }
    let left = Said::Awareness(vec![(9, 2, "null".to_owned())]);
    slow.hear_until(|said| *said == left).await;
    slow.until_shown(2, writer.writer.clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_byte_for_too_long_is_closed_and_leaves() {
    let mut config = small_ring();
    config.slow_consumer_ms = 300;
    let server = Running::start(config, memory()).await;
    let mut slow = Provider::on(Client::connect_narrow(server.address, "/r").await, 1).await;
    slow.client.send(&awareness(1, 1, "{}")).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    writer.write_until_gone(&"x".repeat(EDIT_BYTES), 1).await;
    let (_, code, reason) = slow.until_closed().await;
    assert_eq!((code, reason.as_str()), (1013, "slow consumer"));
    assert!(slow.shown(2) < writer.writer.clock);
    writer.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_ring_costs_nobody_its_place() {
    let server = Running::start(small_ring(), memory()).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    let mut reader = Provider::enter(server.address, "/r", 3).await;
    let mut batch = Vec::new();
    let texts = [200 << 10, 10, 100 << 10, 10];
    for bytes in texts {
        let edit = writer.writer.write(&"x".repeat(bytes));
        batch.extend(testkit::client::binary(&crate::provider::update(&edit)));
    }
    writer.client.send_raw(&batch).await;
    for bytes in texts {
        match reader.hear().await {
            // A catch-up would be all of them in one.
            Said::Update(update) => assert!((bytes..bytes + 40).contains(&update.len()), "{}", update.len()),
            other => panic!("{other:?}"),
        }
    }
    writer.hear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_a_hundred_thousand_questions_at_once_delays_nobody() {
    let server = Running::start(config(), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 2).await;
    let mut asker = Client::connect(server.address, "/r").await;
    // Each byte is a question; they are answered one after the other.
    let questions = testkit::client::binary(&[3; 1_000]).repeat(100);
    asker.send_raw(&questions).await;
    let mut answers = 0;
    for _ in 0..50 {
        bystander.write_and_save("y").await;
    }
    while answers < 100_000 {
        let Heard::Message(message) = asker.hear().await else { panic!("after {answers} answers") };
        answers += usize::from(message.starts_with(&[1]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_reading_is_not_read_and_gets_every_answer_in_the_end() {
    let mut config = config();
    config.limits.private_bytes_max = 4 << 10;
    let server = Running::start(config, memory()).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    writer.write_and_save(&"x".repeat(100 << 10)).await;
    let mut asker = Client::connect_narrow(server.address, "/r").await;
    let question = testkit::client::binary(&step_1(&[1, 2, 1]));
    let mut questions = question.repeat(500);
    questions.extend(testkit::client::binary(&awareness(7, 1, "{}")));
    asker.send_raw(&questions).await;
    // Nobody else notices.
    for _ in 0..100 {
        writer.write_and_save("y").await;
    }
    let mut answers = 0;
    while answers < 500 {
        let Heard::Message(message) = asker.hear().await else { panic!("after {answers} answers") };
        answers += usize::from(message.starts_with(&[0, 1]));
    }
    let present = Said::Awareness(vec![(7, 1, "{}".to_owned())]);
    writer.hear_until(|said| *said == present).await;
}
