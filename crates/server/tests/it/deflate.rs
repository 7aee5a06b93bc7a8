//! Compression on real sockets: who negotiated it gets large messages compressed, everybody else in the room the same bytes plain.

use crate::provider::{Said, Writer, content_of, step_1, step_2, update};
use crate::world::{Running, config, memory};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use testkit::client::{Client, Heard, client_frame, upgrade_request};

/// What browsers send.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
/// The first byte of a compressed binary message.
const COMPRESSED: u8 = 0xc2;

async fn compressing(server: &Running, target: &str) -> Client {
    Client::connect_with(server.address, target, OFFER).await.expect("the server lets it in")
}

/// As a sender with a whole stream a message writes it: with a final block, and the padding behind it.
fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = compress_to_vec(payload, 6);
    bytes.push(0x00);
    client_frame(COMPRESSED, &bytes)
}

/// The next binary message, and whether it came compressed.
async fn hear(client: &mut Client) -> (Vec<u8>, bool) {
    match client.hear().await {
        Heard::Message(bytes) => (bytes.to_vec(), false),
        Heard::Compressed(bytes) => {
            let stream = [&bytes[..], &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff]].concat();
            (decompress_to_vec_with_limit(&stream, 16 << 20).expect("a whole stream"), true)
        }
        other => panic!("{other:?} from the server"),
    }
}

/// The next message that says something of the document.
async fn hear_update(client: &mut Client) -> (Vec<u8>, bool) {
    loop {
        let (bytes, was_compressed) = hear(client).await;
        if let [0, 1 | 2, ..] = bytes[..] {
            let (Said::Missing(update) | Said::Update(update)) = crate::provider::read(&bytes) else { unreachable!() };
            return (update, was_compressed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_room_speaks_compressed_to_those_who_negotiated_it_and_plain_to_the_others() {
    let server = Running::start(config(), memory()).await;
    let (mut plain, mut other) = (Client::connect(server.address, "/r").await, compressing(&server, "/r").await);
    let mut author = compressing(&server, "/r").await;
    let mut writer = Writer::new(7);
    let small = writer.write("a keystroke");
    let large = writer.write(&"a paragraph that somebody has pasted. ".repeat(100));
    // A client may compress what it likes.
    let mut sent = Vec::new();
    for (bytes, is_large) in [(small, false), (large, true)] {
        author.send_raw(&compressed(&update(&bytes))).await;
        for (client, may_be_compressed) in [(&mut author, true), (&mut other, true), (&mut plain, false)] {
            assert_eq!(hear_update(client).await, (bytes.clone(), is_large && may_be_compressed));
        }
        sent.push(bytes);
    }
    let content = Writer::new(7).write(&format!("a keystroke{}", "a paragraph that somebody has pasted. ".repeat(100)));
    for (offers, expected) in [(true, true), (false, false), (true, true)] {
        let mut newcomer =
            if offers { compressing(&server, "/r").await } else { Client::connect(server.address, "/r").await };
        newcomer.send(&step_1(&[0])).await;
        let (answer, was_compressed) = hear_update(&mut newcomer).await;
        assert_eq!((content_of(&answer), was_compressed), (content_of(&content), expected));
    }
    assert!(server.stop((plain, other, author)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_agreed_on_when_it_is_offered_and_configured() {
    let accepted = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let unmet = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";
    for (configured, headers, expected) in
        [(true, OFFER, Some(accepted)), (true, unmet, None), (true, "", None), (false, OFFER, None)]
    {
        let mut config = config();
        config.websocket.deflate = configured;
        let server = Running::start(config, memory()).await;
        let head = head_of(&server, &upgrade_request("/r", headers)).await;
        let answer = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        assert_eq!(answer, expected, "{configured} {headers}");
        let mut client = Client::connect_with(server.address, "/r", headers).await.expect("it is let in");
        client.send_raw(&compressed(&step_1(&[0]))).await;
        match expected {
            Some(_) => assert_eq!(hear_update(&mut client).await, (vec![0, 0], false)),
            None => {
                let (_, end) = client.hear_out().await;
                assert!(matches!(end, Heard::Close(1002, _)), "{end:?}");
            }
        }
        assert!(server.stop(client).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_broken_streams_end_their_own_connection_only() {
    let mut config = config();
    config.limits.frame_bytes_max = 64 << 10;
    let server = Running::start(config, memory()).await;
    let mut bystander = compressing(&server, "/r").await;
    let bomb = compressed(&vec![0; 32 << 20]);
    assert!(bomb.len() < 64 << 10);
    let fits = compressed(&[&step_2(&[0, 0])[..], &vec![9; (64 << 10) - 5]].concat());
    let cases = [("a bomb", bomb, 4413), ("no deflate", client_frame(COMPRESSED, b"Hello"), 1007)];
    for (name, frame, code) in cases {
        let mut client = compressing(&server, "/r").await;
        client.send_raw(&fits).await;
        client.send_raw(&frame).await;
        let (_, end) = client.hear_out().await;
        assert!(matches!(end, Heard::Close(closed, _) if closed == code), "{name}: {end:?}");
    }
    bystander.send(&step_1(&[0])).await;
    assert_eq!(hear_update(&mut bystander).await, (vec![0, 0], false));
    assert!(server.stop(bystander).await);
}

/// The head of the response to an upgrade.
async fn head_of(server: &Running, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("the server listens");
    stream.write_all(request.as_bytes()).await.expect("it takes a request");
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut bytes).await.expect("an answer"), 0, "the server has closed");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
