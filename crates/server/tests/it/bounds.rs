//! Every bound that clients can reach, reached.

use crate::provider::{Provider, Said, Writer, update};
use crate::world::{Running, config, limited, memory};
use std::time::{Duration, Instant};
use testkit::client::{Heard, PATIENCE, request};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Sends a message beyond a bound, and expects to be told which, in a last message and in the reason of the close.
async fn assert_beyond(provider: &mut Provider, message: &[u8], words: &str) {
    provider.client.send(message).await;
    let (heard, code, reason) = provider.until_closed().await;
    assert_eq!(heard, [Said::Denied(words.to_owned())]);
    assert_eq!((code, reason.as_str()), (4413, words));
}

#[tokio::test(flavor = "multi_thread")]
async fn frame_bytes_max() {
    let server = Running::start(limited(|limits| limits.frame_bytes_max = 1_000), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let mut client = Provider::enter(server.address, "/r", 2).await;
    // From the header alone.
    client.client.send_raw(&testkit::client::binary(&[0; 1_001])[..8]).await;
    let (heard, code, reason) = client.until_closed().await;
    let words = "message larger than 1000 bytes";
    assert_eq!((heard, code, reason.as_str()), (vec![Said::Denied(words.to_owned())], 4413, words));
    // In fragments it is the sum that counts.
    let mut client = Provider::enter(server.address, "/r", 3).await;
    client.client.send_fragments(&[0; 1_001], 400).await;
    let (messages, end) = client.client.hear_out().await;
    assert_eq!(messages.last().map(|last| &last[..2]), Some(&[2, 0][..]));
    assert_eq!(end, Heard::Close(4413, words.to_owned()));
    bystander.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn update_bytes_max() {
    let server = Running::start(limited(|limits| limits.update_bytes_max = 1_000), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let mut client = Provider::enter(server.address, "/r", 2).await;
    let message = update(&Writer::new(2).write(&"x".repeat(1_000)));
    assert_beyond(&mut client, &message, "update larger than 1000 bytes").await;
    bystander.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn room_bytes_max() {
    let server = Running::start(limited(|limits| limits.room_bytes_max = 2_000), memory()).await;
    let mut client = Provider::enter(server.address, "/r", 2).await;
    client.write_and_save(&"x".repeat(1_500)).await;
    let message = update(&client.writer.write(&"x".repeat(1_500)));
    assert_beyond(&mut client, &message, "document larger than 2000 bytes").await;
    // It can still be read.
    assert_eq!(Provider::enter(server.address, "/r", 3).await.shown(2), 1_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_bytes_max() {
    let server = Running::start(limited(|limits| limits.parked_bytes_max = 1_000), memory()).await;
    let mut client = Provider::enter(server.address, "/r", 2).await;
    client.writer.write("never sent");
    client.write(&"x".repeat(500)).await;
    assert!(matches!(client.hear().await, Said::StateVector(_)), "asked for what is missing");
    let message = update(&client.writer.write(&"x".repeat(600)));
    assert_beyond(&mut client, &message, "more than 1000 bytes wait for missing updates").await;
    Provider::enter(server.address, "/r", 3).await.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_ms_is_not_extended_by_traffic() {
    let mut config = config();
    config.handshake_ms = 300;
    let server = Running::start(config, memory()).await;
    let began = Instant::now();
    let silent = request(server.address, "").await;
    assert_eq!(silent.status, 408);
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let (mut read, mut write) = stream.split();
    let drip = async {
        use tokio::io::AsyncWriteExt;
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let _ = write.write_all(b"GET / HTTP/1.1\r\nCookie: ").await;
        while write.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
    };
    let mut answer = Vec::new();
    let answered = async { while matches!(read.read_buf(&mut answer).await, Ok(1..)) {} };
    tokio::select! {
        () = drip => {}
        () = answered => {}
        () = tokio::time::sleep(PATIENCE) => panic!("still open"),
    }
    assert!(answer.starts_with(b"HTTP/1.1 408 ") || answer.is_empty(), "{:?}", String::from_utf8_lossy(&answer));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_per_s_slows_a_client_and_loses_nothing() {
    let server = Running::start(limited(|limits| limits.bytes_per_s = 20_000), memory()).await;
    // Its first second begins when it comes in.
    let began = Instant::now();
    let mut fast = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    for _ in 0..50 {
        fast.write(&"x".repeat(1_000)).await;
    }
    // Meanwhile others are as quick as ever.
    other.write_and_save("quick").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    fast.until_saved().await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    other.until_shown(1, 50_000).await;
    fast.until_shown(2, 5).await;
    assert_eq!(fast.content(), other.content());
}
