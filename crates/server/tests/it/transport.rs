//! Unix sockets, proxies in front, and the addresses that clients count as.

use crate::process::Concord;
use crate::provider::Provider;
use crate::tls::{Files, secure};
use crate::world::{Running, config, folder, memory};
use server::Server;
use server::address::Trusted;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use testkit::client::{Client, PATIENCE, Response, request_on};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Short, as the path of a socket has to be.
pub(crate) fn socket_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("concord-{}-{name}", std::process::id()));
    let _none_left_behind = std::fs::remove_file(&path);
    path
}

async fn enter_unix(path: &Path, id: u64) -> Provider {
    let stream = UnixStream::connect(path).await.expect("the server listens");
    Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_served_beside_the_port_and_goes_with_the_server() {
    let path = socket_path("both");
    let mut config = config();
    config.unix_socket = Some(path.clone());
    let server = Running::start(config, memory()).await;
    let metadata = std::fs::symlink_metadata(&path).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let mut near = enter_unix(&path, 1).await;
    let mut far = Provider::enter(server.address, "/r", 2).await;
    near.write_and_save(&"x".repeat(3 << 20)).await;
    far.write_and_save(&"y".repeat(3 << 20)).await;
    near.until_shown(2, far.writer.clock).await;
    far.until_shown(1, near.writer.clock).await;
    assert_eq!(near.content(), far.content());
    let stream = UnixStream::connect(&path).await.expect("the server listens");
    assert_eq!(request_on(stream, "GET /ready HTTP/1.1\r\n\r\n").await.status, 200);
    assert!(server.stop((near, far)).await);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_a_dead_server_is_replaced_and_that_of_a_live_one_is_not() {
    let path = socket_path("stale");
    let mut config = config();
    (config.unix_socket, config.unix_socket_mode) = (Some(path.clone()), 0o660);
    // Dropped without removing its file, as by a crash.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a path"));
    assert!(path.exists());
    let server = Running::start(config.clone(), memory()).await;
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o660);
    let mut provider = enter_unix(&path, 1).await;
    let refused = |config| Server::bind(config, memory()).err().expect("refused").to_string();
    let words = refused(config.clone());
    assert!(words.contains(&format!("{}: another server listens there", path.display())), "{words}");
    provider.write_and_save("undisturbed").await;
    assert!(server.stop(provider).await);

    std::fs::write(&path, "precious").expect("a file");
    let words = refused(config.clone());
    assert!(words.contains("not a socket"), "{words}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
    std::fs::remove_file(&path).expect("the test's own");

    config.unix_socket = Some("/nonexistent/concord.sock".into());
    let words = refused(config);
    assert!(words.contains("/nonexistent/concord.sock: No such file"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_of_a_server_with_a_certificate_speaks_both() {
    let path = socket_path("tls");
    let (files, identity) = Files::new("unix-tls");
    let mut config = files.config();
    config.unix_socket = Some(path.clone());
    let server = Running::start(config, memory()).await;
    let mut plain = enter_unix(&path, 1).await;
    let stream = secure(UnixStream::connect(&path).await.expect("the server listens"), &identity).await;
    let mut encrypted = Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), 2).await;
    plain.write_and_save("plain").await;
    encrypted.write_and_save(&"x".repeat(2 << 20)).await;
    plain.until_shown(2, 2 << 20).await;
    encrypted.until_shown(1, 5).await;
    assert!(server.stop((plain, encrypted)).await);
}

/// A header of the PROXY protocol.
fn proxy(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = (addresses.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, addresses].concat()
}

const V4: [u8; 12] = [203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x34, 0, 80];

fn v6() -> Vec<u8> {
    [&[0x20, 1, 0xd, 0xb8], [0; 31].as_slice(), &[1]].concat()
}

async fn connected(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// Opens a WebSocket behind a header of the PROXY protocol.
async fn enter_behind(concord: &Concord, header: &[u8], lines: &str) -> Result<Client, Response> {
    let mut stream = connected(concord.address).await;
    stream.write_all(header).await.expect("sent");
    Client::connect_on(stream, "/r", lines).await
}

fn concord(name: &str, environment: &[(&str, &str)]) -> Concord {
    Concord::start(&folder(name), &[environment, &[("CONCORD_DURABILITY", "memory")]].concat())
}

fn assert_address(line: &str, address: &str) {
    assert!(line.contains(&format!("\"address\":\"{address}\"")), "{address}: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol_says_where_a_connection_comes_from() {
    let environment = [("CONCORD_PROXY_PROTOCOL", "true"), ("CONCORD_PROXY_TRUSTED", "127.0.0.1,10.0.0.0/8")];
    let mut concord = concord("proxy-protocol", &environment);
    let forwarded = "X-Forwarded-For: 198.51.100.7\r\n";
    let internal = [[10, 0, 0, 9].as_slice(), &V4[4..]].concat();
    let with_remarks = [V4.as_slice(), &[4, 0, 2, 7, 7]].concat();
    let cases: &[(Vec<u8>, &str, &str)] = &[
        (proxy(0x21, 0x11, &V4), "", "203.0.113.9"),
        (proxy(0x21, 0x11, &with_remarks), "", "203.0.113.9"),
        (proxy(0x21, 0x21, &v6()), "", "2001:db8::"),
        (proxy(0x20, 0, &[]), "", "127.0.0.1"),
        (proxy(0x21, 0, &[]), "", "127.0.0.1"),
        // What a proxy vouches for need not be a proxy itself.
        (proxy(0x21, 0x11, &V4), forwarded, "203.0.113.9"),
        (proxy(0x21, 0x11, &internal), forwarded, "198.51.100.7"),
    ];
    for (header, lines, address) in cases {
        enter_behind(&concord, header, lines).await.expect("let in").vanish();
        assert_address(&concord.line("ws.connect"), address);
    }

    // Byte by byte.
    let mut stream = connected(concord.address).await;
    for byte in proxy(0x21, 0x11, &V4) {
        stream.write_all(&[byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    Client::connect_on(stream, "/r", "").await.expect("let in").vanish();
    assert_address(&concord.line("ws.connect"), "203.0.113.9");

    // Missing, garbage, and too long: no answer at all.
    let refused: &[(Vec<u8>, &str)] = &[
        (b"GET /health HTTP/1.1\r\n\r\n".to_vec(), "no PROXY protocol v2 header"),
        (vec![7; 64], "no PROXY protocol v2 header"),
        (proxy(0x21, 0x11, &[1; 2_000]), "at most 536"),
        (proxy(0x21, 0x11, &V4[..4]), "family 0x11 and 4 bytes"),
        (proxy(0x2f, 0x11, &V4), "0x2f"),
    ];
    for (bytes, words) in refused {
        let response = request_on(connected(concord.address).await, bytes).await;
        assert_eq!((response.status, response.head.as_str()), (0, ""), "{words}");
        let line = concord.line("http.refused");
        assert!(line.contains(words), "{line}");
        assert_address(&line, "127.0.0.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_proxy_protocol_only_proxies_are_served() {
    let environment = [("CONCORD_PROXY_PROTOCOL", "true"), ("CONCORD_PROXY_TRUSTED", "10.0.0.0/8")];
    let mut concord = concord("proxy-untrusted", &environment);
    let response = request_on(connected(concord.address).await, proxy(0x21, 0x11, &V4)).await;
    assert_eq!(response.status, 0);
    let line = concord.line("http.refused");
    assert!(line.contains("not a trusted proxy"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol_comes_before_tls() {
    let (files, identity) = Files::new("proxy-tls");
    let mut config = files.config();
    config.proxy.protocol = true;
    config.proxy.trusted = Trusted::parse(&["127.0.0.1".to_owned()]).expect("an address");
    let server = Running::start(config, memory()).await;
    let mut stream = connected(server.address).await;
    stream.write_all(&proxy(0x21, 0x21, &v6())).await.expect("sent");
    let stream = secure(stream, &identity).await;
    let mut provider = Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), 1).await;
    provider.write_and_save("x").await;
    // TLS without the header is no header.
    let mut bare = connected(server.address).await;
    bare.write_all(&[0x16; 64]).await.expect("sent");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, bare.read_to_end(&mut rest)).await.expect("closed");
    assert!(ended.is_err() || rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_trusted_proxies_say_for_whom_they_speak() {
    let both = "X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\nForwarded: for=2.2.2.2, for=\"[2001:db8::1]:4711\"\r\n";
    let path = socket_path("forwarded");
    let path_text = path.to_string_lossy().into_owned();
    let cases = [
        ("proxy-xff", "127.0.0.1", "x-forwarded-for", "203.0.113.9", "unix"),
        ("proxy-forwarded", "127.0.0.1,unix", "forwarded", "2001:db8::1", "2001:db8::1"),
        ("proxy-nobody", "", "forwarded", "127.0.0.1", "unix"),
    ];
    for (name, trusted, header, by_port, by_socket) in cases {
        let environment = [
            ("CONCORD_PROXY_TRUSTED", trusted),
            ("CONCORD_PROXY_HEADER", header),
            ("CONCORD_UNIX_SOCKET", &*path_text),
        ];
        let mut concord = concord(name, &environment);
        enter_behind(&concord, b"", both).await.expect("let in").vanish();
        assert_address(&concord.line("ws.connect"), by_port);
        let stream = UnixStream::connect(&path).await.expect("the server listens");
        Client::connect_on(stream, "/r", both).await.expect("let in").vanish();
        assert_address(&concord.line("ws.connect"), by_socket);
        // A refusal says it too.
        Client::connect_with(concord.address, "/ws/other", both).await.expect_err("nothing is there");
        assert_address(&concord.line("http.refused"), by_port);
    }
}
