//! TLS: the same server behind it, certificates that change, and clients that do not speak it well.

use crate::process::Concord;
use crate::provider::{Provider, QUERY_AWARENESS, Said, Writer, update};
use crate::transport::socket_path;
use crate::world::{Running, config, folder, memory};
use server::config::Config;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::client::{Client, Heard, PATIENCE, binary, client_frame, request, request_on, upgrade_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// The files of one server.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn new(name: &str) -> (Self, Identity) {
        let folder = folder(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let files = Self { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
        let identity = Identity::new();
        files.have(&identity.certificate_pem, &identity.key_pem);
        (files, identity)
    }

    fn have(&self, certificate: &str, key: &str) {
        put(&self.certificate, certificate);
        put(&self.key, key);
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = config();
        config.tls.certificate = Some(self.certificate.clone());
        config.tls.key = Some(self.key.clone());
        config
    }
}

/// As tools that renew certificates do it: a whole file takes the place of the one before.
fn put(path: &Path, content: &str) {
    let aside = path.with_extension("aside");
    std::fs::write(&aside, content).expect("a file");
    std::fs::rename(&aside, path).expect("the same folder");
}

/// A certificate for `localhost`, and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        Self {
            certificate: made.cert.der().clone(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }
}

async fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// Shakes hands as a client that knows these certificates only.
async fn shake<T: testkit::client::Duplex>(
    stream: T,
    known: &[&Identity],
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<T>> {
    let mut roots = RootCertStore::empty();
    for identity in known {
        roots.add(identity.certificate.clone()).expect("a certificate");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let shaken = TlsConnector::from(Arc::new(config)).connect("localhost".try_into().expect("a name"), stream);
    tokio::time::timeout(PATIENCE, shaken).await.expect("an answer")
}

pub(crate) async fn secure<T: testkit::client::Duplex>(stream: T, identity: &Identity) -> TlsStream<T> {
    shake(stream, &[identity], &[&TLS13, &TLS12]).await.expect("the server has this certificate")
}

async fn enter(server: &Running, identity: &Identity, id: u64) -> Provider {
    let stream = secure(connected(server.address).await, identity).await;
    Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), id).await
}

/// Its system keeps few bytes for it.
async fn enter_narrow(server: &Running, identity: &Identity, id: u64) -> Provider {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let stream = secure(socket.connect(server.address).await.expect("the server listens"), identity).await;
    Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), id).await
}

async fn start(name: &str, change: impl FnOnce(&mut Config)) -> (Running, Files, Identity) {
    let (files, identity) = Files::new(name);
    let mut config = files.config();
    change(&mut config);
    (Running::start(config, memory()).await, files, identity)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_meet_in_one_room_and_requests_are_answered() {
    let (server, _, identity) = start("tls-meet", |_| {}).await;
    let mut providers = Vec::new();
    for (id, version) in [(1, &TLS12), (2, &TLS13)] {
        let stream = connected(server.address).await;
        let stream = shake(stream, &[&identity], &[version]).await.expect("a version that is spoken");
        providers.push(Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), id).await);
    }
    let [one, other] = &mut providers[..] else { panic!("two") };
    for _ in 0..50 {
        one.write_and_save("x").await;
        other.write_and_save("yz").await;
    }
    one.until_shown(2, 100).await;
    other.until_shown(1, 50).await;
    assert_eq!(one.content(), other.content());

    let mut stream = secure(connected(server.address).await, &identity).await;
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    // An end without the session's own would be an error.
    stream.read_to_string(&mut answer).await.expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"rooms\":1"), "{answer}");
    assert!(server.stop(providers).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_go_both_ways_and_wait_for_a_slow_reader() {
    const BYTES: usize = 6 << 20;
    let (server, _, identity) = start("tls-large", |_| {}).await;
    let mut slow = enter_narrow(&server, &identity, 1).await;
    let mut writer = enter(&server, &identity, 2).await;
    writer.write_and_save(&"x".repeat(BYTES)).await;
    // It has not read a byte yet, and speaks at the same time.
    slow.write(&"y".repeat(BYTES)).await;
    writer.until_shown(1, BYTES as u64).await;
    slow.until_shown(2, BYTES as u64).await;
    slow.until_saved().await;
    // A newcomer gets all of it at once.
    let newcomer = enter_narrow(&server, &identity, 3).await;
    assert_eq!(newcomer.content(), slow.content());
    assert_eq!(newcomer.content(), writer.content());
}

/// A Unix socket keeps a fixed number of bytes, so that some of these messages end within what the session holds.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_bytes_come_although_nothing_follows_them() {
    let path = socket_path("last");
    let (server, _, identity) = start("tls-last", |config| config.unix_socket = Some(path.clone())).await;
    let stream = secure(UnixStream::connect(&path).await.expect("the server listens"), &identity).await;
    let mut reader = Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), 1).await;
    let mut writer = enter(&server, &identity, 2).await;
    for step in 1..40 {
        writer.write(&"x".repeat(step * 13_000)).await;
        // The reader was told as much as it takes before the writer.
        writer.until_saved().await;
        writer.heard_by_now().await;
        reader.until_shown(2, writer.writer.clock).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_messages_in_one_record_are_all_answered() {
    let (server, _, identity) = start("tls-small", |_| {}).await;
    let questions = binary(QUERY_AWARENESS);
    // In one record with the request, which is the first thing that is written.
    let mut stream = secure(connected(server.address).await, &identity).await;
    let together = [upgrade_request("/r", "").as_bytes(), &questions.repeat(1_000)].concat();
    stream.write_all(&together).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut heard = Vec::new();
    // The step 1, and an answer for each: a frame of three bytes.
    let answers = |heard: &[u8]| {
        let end = heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(heard.len());
        heard.len().saturating_sub(end + 4 + 6) / 5
    };
    let hear = async {
        while answers(&heard) < 1_000 {
            assert!(stream.read_buf(&mut heard).await.expect("open") > 0);
        }
    };
    let heard_all = tokio::time::timeout(PATIENCE, hear).await;
    assert!(heard_all.is_ok(), "{} answers", answers(&heard));

    // In a session that is open, some records of them at once.
    let mut provider = enter(&server, &identity, 1).await;
    for count in [1, 700, 2_000, 20_000] {
        provider.client.send_raw(&questions.repeat(count)).await;
        for _ in 0..count {
            provider.hear_until(|said| matches!(said, Said::Awareness(_))).await;
        }
    }
}

/// More than one read takes, and the end of the session behind it, while the socket stays open: after it nothing comes for which the poll would call.
#[tokio::test(flavor = "multi_thread")]
async fn small_records_are_all_read_and_the_end_behind_them_is_seen() {
    const RECORDS: usize = 5_000;
    let (server, _, identity) = start("tls-records", |_| {}).await;
    let mut watcher = enter(&server, &identity, 1).await;
    let mut stream = secure(connected(server.address).await, &identity).await;
    stream.write_all(upgrade_request("/r", "").as_bytes()).await.expect("sent");
    let mut heard = Vec::new();
    while !heard.ends_with(&[0x82, 4, 0, 0, 1, 0]) {
        assert!(stream.read_buf(&mut heard).await.expect("open") > 0);
    }
    let mut writer = Writer::new(2);
    let session = stream.get_mut().1;
    session.set_buffer_limit(None);
    let present = binary(&crate::provider::awareness(2, 1, "{}"));
    for message in std::iter::repeat_with(|| binary(&update(&writer.write("x")))).take(RECORDS).chain([present]) {
        session.writer().write_all(&message).expect("no limit");
    }
    session.send_close_notify();
    stream.flush().await.expect("sent");
    let gone = Said::Awareness(vec![(2, 1, "null".to_owned())]);
    watcher.hear_until(|said| *said == gone).await;
    assert_eq!(watcher.shown(2), RECORDS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_end_in_order() {
    let (mut server, _, identity) = start("tls-end", |_| {}).await;
    let open = async |address| {
        let mut stream = secure(connected(address).await, &identity).await;
        stream.write_all(upgrade_request("/r", "").as_bytes()).await.expect("sent");
        stream.write_all(&binary(QUERY_AWARENESS)).await.expect("sent");
        stream.flush().await.expect("sent");
        let mut heard = Vec::new();
        while !heard.ends_with(&[1, 1, 0]) {
            assert!(stream.read_buf(&mut heard).await.expect("open") > 0);
        }
        stream
    };
    let mut stream = open(server.address).await;
    let mut stays = open(server.address).await;
    stream.write_all(&client_frame(0x88, &1000_u16.to_be_bytes())).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut last = Vec::new();
    stream.read_to_end(&mut last).await.expect("the session's own end");
    assert_eq!(last, [0x88, 2, 3, 0xe8]);

    server.begin_stop();
    let mut last = Vec::new();
    stays.read_to_end(&mut last).await.expect("the session's own end");
    assert!(last.ends_with(b"server shutting down"), "{last:?}");
    drop((stream, stays));
    assert!(server.stopped().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_ends_its_session_leaves_the_room() {
    let (server, _, identity) = start("tls-leave", |_| {}).await;
    let mut stays = enter(&server, &identity, 1).await;
    for (id, orderly) in [(2, true), (3, false)] {
        let mut leaves = enter(&server, &identity, id).await;
        leaves.client.send(&crate::provider::awareness(id, 1, "{}")).await;
        stays.hear_until(|said| *said == Said::Awareness(vec![(id, 1, "{}".to_owned())])).await;
        if orderly {
            leaves.client.finish().await;
        } else {
            leaves.client.vanish();
        }
        stays.hear_until(|said| *said == Said::Awareness(vec![(id, 1, "null".to_owned())])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_byte_for_too_long_is_closed_over_tls_too() {
    let (server, _, identity) = start("tls-slow", |config| {
        config.slow_consumer_ms = 300;
        config.limits.ring_bytes_max = 64 << 10;
    })
    .await;
    let mut slow = enter_narrow(&server, &identity, 1).await;
    slow.client.send(&crate::provider::awareness(1, 1, "{}")).await;
    let mut writer = enter(&server, &identity, 2).await;
    writer.write_until_gone(&"x".repeat(40 << 10), 1).await;
    let (_, code, reason) = slow.until_closed().await;
    assert_eq!((code, reason.as_str()), (1013, "slow consumer"));
    writer.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_pinged_and_one_that_does_not_answer_is_closed() {
    let (server, _, identity) = start("tls-ping", |config| config.ping_ms = 200).await;
    let stream = secure(connected(server.address).await, &identity).await;
    let mut idle = Client::connect_on(stream, "/r", "").await.expect("let in");
    idle.mute();
    assert!(matches!(idle.hear().await, Heard::Message(_)), "a step 1");
    for _ in 0..4 {
        assert_eq!(idle.hear().await, Heard::Ping);
        idle.send_raw(&client_frame(0x8a, b"")).await;
    }
    let (_, end) = idle.hear_out().await;
    assert_eq!(end, Heard::Close(1001, "no answer to ping".to_owned()));
}

/// Connects until the server shows this certificate; an open connection with the other one is not disturbed.
async fn until_shown(address: SocketAddr, identity: &Identity, before: &Identity) {
    let shown = async {
        loop {
            let stream = shake(connected(address).await, &[identity, before], &[&TLS13]).await.expect("one of both");
            let seen = stream.get_ref().1.peer_certificates().expect("it has shown some").to_vec();
            if seen == [identity.certificate.clone()] {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("the server reads its files again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_for_connections_that_come_after_it() {
    let (server, files, first) = start("tls-reload", |config| config.tls.reload_ms = 100).await;
    let mut stays = enter(&server, &first, 1).await;
    stays.write_and_save("before ").await;
    let second = Identity::new();
    files.have(&second.certificate_pem, &second.key_pem);
    until_shown(server.address, &second, &first).await;
    stays.write_and_save("and after").await;
    let newcomer = enter(&server, &second, 2).await;
    assert_eq!(newcomer.shown(1), 16);
    let refused = shake(connected(server.address).await, &[&first], &[&TLS13]).await;
    assert!(refused.is_err(), "nobody is shown the old one");
}

fn process(name: &str, reload_ms: &str) -> (Concord, Files, Identity) {
    let (files, identity) = Files::new(name);
    let (certificate, key) = (files.certificate.to_string_lossy(), files.key.to_string_lossy());
    let environment = [
        ("CONCORD_TLS_CERTIFICATE", &*certificate),
        ("CONCORD_TLS_KEY", &*key),
        ("CONCORD_TLS_RELOAD_MS", reload_ms),
        ("CONCORD_DURABILITY", "memory"),
    ];
    (Concord::start(&folder(&format!("{name}-data")), &environment), files, identity)
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_certificate_at_once_and_a_broken_pair_changes_nothing() {
    let (mut concord, files, first) = process("tls-sighup", "86400000");
    let stream = secure(connected(concord.address).await, &first).await;
    let mut stays = Provider::on(Client::connect_on(stream, "/r", "").await.expect("let in"), 1).await;
    let second = Identity::new();
    let broken =
        [(&*second.certificate_pem, &*first.key_pem), ("", &*first.key_pem), (&*first.certificate_pem, "no key")];
    for (certificate, key) in broken {
        files.have(certificate, key);
        concord.signal("-HUP");
        let line = concord.line("tls.error");
        assert!(line.contains("\"level\":\"ERROR\"") && line.contains("certificate.pem") | line.contains("key.pem"));
        drop(secure(connected(concord.address).await, &first).await);
    }
    files.have(&second.certificate_pem, &second.key_pem);
    concord.signal("-HUP");
    concord.line("tls.reload");
    drop(secure(connected(concord.address).await, &second).await);
    stays.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pair_is_reported_once_and_mended_files_are_noticed() {
    let (mut concord, files, first) = process("tls-broken", "100");
    std::fs::remove_file(&files.key).expect("it is there");
    let line = concord.line("tls.error");
    assert!(line.contains("setting tls.key") && line.contains("No such file"), "{line}");
    drop(secure(connected(concord.address).await, &first).await);
    let second = Identity::new();
    put(&files.key, &second.key_pem);
    let line = concord.line("tls.error");
    assert!(line.contains("KeyMismatch"), "not the missing file again: {line}");
    files.have(&second.certificate_pem, &second.key_pem);
    concord.line("tls.reload");
    drop(secure(connected(concord.address).await, &second).await);
}

#[test]
fn the_server_does_not_start_with_half_a_pair_or_a_broken_one() {
    let start = |environment: &[(&str, &Path)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_concord"));
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(folder("tls-start"));
        let output = command.envs(environment.iter().copied()).output().expect("the binary starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (files, _) = Files::new("tls-start-files");
    let words = start(&[("CONCORD_TLS_KEY", &files.key)]);
    assert!(words.contains("tls.certificate and tls.key must both be set"), "{words}");
    let nothing = PathBuf::from("/nonexistent.pem");
    let words = start(&[("CONCORD_TLS_KEY", &files.key), ("CONCORD_TLS_CERTIFICATE", &nothing)]);
    assert!(words.contains("cannot use /nonexistent.pem (setting tls.certificate): No such file"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_the_wrong_one_of_both_is_told() {
    let (server, _, identity) = start("tls-wrong", |_| {}).await;
    for request_bytes in ["GET /health HTTP/1.1\r\n\r\n", "G", "\u{1}"] {
        let response = request(server.address, request_bytes).await;
        assert_eq!((response.status, response.header("content-type")), (400, Some("text/plain; charset=utf-8")));
        assert!(response.body.contains("wss:// or https://"), "{response:?}");
    }
    let plain = Running::start(config(), memory()).await;
    let told = shake(connected(plain.address).await, &[&identity], &[&TLS13]).await;
    assert!(told.is_err());
    let response = request_on(connected(plain.address).await, [0x16, 3, 1, 2, 0, 1]).await;
    assert!(response.status == 400 && response.body.contains("ws:// or http://"), "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_cut_off() {
    let (server, _, identity) = start("tls-cut", |config| config.handshake_ms = 300).await;
    // Nothing; a record that never ends; and a handshake without a request.
    for begun in [&[][..], &[0x16, 3, 1, 2, 0, 1, 0], &[0x16]] {
        let (began, mut stream) = (Instant::now(), connected(server.address).await);
        stream.write_all(begun).await.expect("sent");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("cut off");
        assert!(ended.is_err() || rest.is_empty(), "{rest:?}");
        let took = began.elapsed();
        assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&took), "{took:?}");
    }
    let silent = secure(connected(server.address).await, &identity).await;
    assert_eq!(request_on(silent, "").await.status, 408);
    enter(&server, &identity, 1).await.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_after_the_handshake_ends_one_connection() {
    let (server, _, identity) = start("tls-garbage", |_| {}).await;
    let mut bystander = enter(&server, &identity, 1).await;
    let mut provider = enter(&server, &identity, 2).await;
    provider.client.send(&update(&provider.writer.write("said before"))).await;
    provider.until_saved().await;
    let mut stream = secure(connected(server.address).await, &identity).await;
    stream.write_all(upgrade_request("/r", "").as_bytes()).await.expect("sent");
    let mut heard = Vec::new();
    assert!(stream.read_buf(&mut heard).await.expect("an answer") > 0);
    let (mut wire, _) = stream.into_inner();
    wire.write_all(&[0x17, 3, 3, 0, 20]).await.expect("sent");
    wire.write_all(&[7; 20]).await.expect("sent");
    let ended = tokio::time::timeout(PATIENCE, wire.read_to_end(&mut heard)).await;
    ended.expect("the server ends it").expect("with an alert, not with a reset");
    bystander.until_shown(2, 11).await;
    bystander.write_and_save("undisturbed").await;
}
