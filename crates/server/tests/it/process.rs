//! The binary itself: what it logs, how signals end it, what it survives, and how much memory a client can make it take.

use crate::provider::{Provider, Said, step_1};
use crate::world::folder;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use testkit::client::{Client, Heard};

pub(crate) struct Concord {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    /// The lines that were read so far.
    pub(crate) read: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Concord {
    pub(crate) fn start(data: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug", "--data"]).arg(data);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut concord = Self { child, log, read: Vec::new(), address: SocketAddr::from(([0; 4], 0)) };
        let started = concord.line("server.start");
        let listen = started.split("\"listen\":\"").nth(1).and_then(|rest| rest.split('"').next());
        concord.address = listen.and_then(|listen| listen.parse().ok()).expect("the address is in the log");
        concord
    }

    /// Reads the log up to the first line about `action`.
    pub(crate) fn line(&mut self, action: &str) -> String {
        let wanted = format!("\"action\":\"{action}\"");
        loop {
            let line = self.log.next().unwrap_or_else(|| panic!("the log ends before {action}")).expect("UTF-8");
            self.read.push(line.clone());
            if line.contains(&wanted) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill exists").success());
    }

    /// Waits for the end and reads the rest of the log.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("it was started here");
        let rest: Vec<String> = self.log.by_ref().map_while(Result::ok).collect();
        self.read.extend(rest);
        status
    }

    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        peak.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Concord {
    fn drop(&mut self) {
        let _already_over = self.child.kill();
        let _status = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn comings_and_goings_are_logged_and_tokens_are_not() {
    let mut concord = Concord::start(&folder("process-log"), &[]);
    let headers = "Authorization: Bearer S3CRET\r\nCookie: session=S3CRET\r\nSec-WebSocket-Protocol: token-S3CRET\r\n";
    let target = "/team%2Fnotes?token=S3CRET&auth=S3CRET&access_token=S3CRET";
    let client = Client::connect_with(concord.address, target, headers).await.expect("let in");
    let mut provider = Provider::on(client, 1).await;
    provider.write_and_save("x").await;
    provider.client.send_close(1000).await;
    let connect = concord.line("ws.connect");
    let id = connect.split("\"connectionId\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
    assert!(id.starts_with("ws_"), "{connect}");
    for part in ["\"userId\":\"anonymous\"", "\"room\":\"team/notes\"", "\"dialect\":\"y-websocket\""] {
        assert!(connect.contains(part), "{connect}");
    }
    let id = format!("\"connectionId\":\"{id}\"");
    let disconnect = concord.line("ws.disconnect");
    assert!(disconnect.contains(&id) && disconnect.contains("\"reason\":\"closed by client: 1000\""), "{disconnect}");

    // A line cannot be forged by a name, and refusals show no token either.
    Client::connect(concord.address, "/a%22%2C%22forged%22%3A%22?token=S3CRET").await.vanish();
    assert!(concord.line("ws.connect").contains(r#""room":"a\",\"forged\":\"""#));
    for target in ["/ws/other?token=S3CRET", "/%00?token=S3CRET", "/d/x/ws/y?session_token=S3CRET"] {
        Client::connect_with(concord.address, target, headers).await.expect_err("refused");
        let line = concord.line("http.refused");
        assert!(line.contains("token=***"), "{line}");
    }
    concord.signal("-TERM");
    assert!(concord.ended().success());
    assert!(concord.read.iter().any(|line| line.contains("\"action\":\"yjs.update\"")));
    for line in &concord.read {
        assert!(line.starts_with("{\"timestamp\":\"") && line.ends_with('}'), "{line}");
        assert!(!line.contains("S3CRET"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_end_it_in_order() {
    let data = folder("process-signals");
    for (signal, words) in [("-TERM", "one "), ("-INT", "two ")] {
        let mut concord = Concord::start(&data, &[]);
        let mut provider = Provider::enter(concord.address, "/r", 1).await;
        provider.write_and_save(words).await;
        provider.write("and what was not saved yet").await;
        provider.heard_by_now().await;
        concord.signal(signal);
        let (_, code, reason) = provider.until_closed().await;
        assert_eq!((code, reason.as_str()), (1001, "server shutting down"));
        assert_eq!(provider.shown(1), provider.writer.clock, "everything accepted is acknowledged first");
        drop(provider);
        assert!(concord.ended().success(), "{signal}");
    }
    let concord = Concord::start(&data, &[]);
    let provider = Provider::enter(concord.address, "/r", 1).await;
    assert_eq!(provider.shown(1), 2 * (4 + 26));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_anybody_has_seen() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let data = folder("process-kill");
    let mut seen = 0;
    for round in 0..5 {
        let concord = Concord::start(&data, &[]);
        let mut writer = Provider::enter(concord.address, "/r", 1).await;
        assert!(writer.shown(1) >= seen, "round {round}: {seen} were seen, {} are there", writer.shown(1));
        let mut watcher = Provider::enter(concord.address, "/r", 2).await;
        let until = writer.shown(1) + rng.u64(1..300);
        let typing = tokio::spawn(async move {
            while writer.is_open() {
                writer.write("x").await;
                writer.hear().await;
            }
            writer
        });
        watcher.until_shown(1, until).await;
        concord.signal("-KILL");
        while watcher.is_open() {
            watcher.hear().await;
        }
        seen = typing.await.expect("no panic").shown(1).max(watcher.shown(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_without_end_do_not_fill_the_memory() {
    let environment = [("CONCORD_LIMITS_PRIVATE_BYTES_MAX", "64 KiB"), ("CONCORD_DURABILITY", "memory")];
    let concord = Concord::start(&folder("process-questions"), &environment);
    let mut writer = Provider::enter(concord.address, "/r", 2).await;
    writer.write_and_save(&"x".repeat(1 << 20)).await;
    let mut asker = Client::connect(concord.address, "/r").await;
    // Each is answered with another almost whole document.
    let questions: Vec<u8> = (1..=120).flat_map(|known| testkit::client::binary(&step_1(&[1, 2, known]))).collect();
    for _ in 0..10 {
        asker.send_raw(&questions).await;
    }
    writer.write_and_save("nobody else notices").await;
    let mut answers = 0;
    while answers < 1_200 {
        let Heard::Message(message) = asker.hear().await else { panic!("after {answers} answers") };
        answers += usize::from(message.starts_with(&[0, 1]));
    }
    let peak = concord.peak_memory_kib();
    assert!(peak < 100 << 10, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_does_not_fill_the_memory() {
    let environment = [("CONCORD_LIMITS_RING_BYTES_MAX", "256 KiB"), ("CONCORD_DURABILITY", "memory")];
    let concord = Concord::start(&folder("process-ring"), &environment);
    let mut writer = Provider::enter(concord.address, "/r", 2).await;
    writer.write_and_save(&"x".repeat(4 << 20)).await;
    let mut deaf = Vec::new();
    for id in 10..14 {
        deaf.push(Provider::on(Client::connect_narrow(concord.address, "/r").await, id).await);
    }
    let text = "y".repeat(64 << 10);
    for edit in 0..200 {
        writer.write(&text).await;
        writer.until_saved().await;
        // Only the newest counts, so the document stays small and the traffic does not.
        if edit % 2 == 1 {
            let gone = crate::provider::delete(2, writer.writer.clock - (128 << 10), 128 << 10);
            writer.client.send(&crate::provider::update(&gone)).await;
            writer.hear_until(|said| *said == Said::Update(gone.clone())).await;
        }
    }
    let peak = concord.peak_memory_kib();
    assert!(peak < 150 << 10, "{peak} KiB");
    for provider in &mut deaf {
        provider.until_shown(2, writer.writer.clock).await;
    }
}

#[test]
fn commands_on_the_folder_of_a_running_server_name_its_process() {
    let data = folder("process-commands");
    let concord = Concord::start(&data, &[]);
    let output = Command::new(env!("CARGO_BIN_EXE_concord")).args(["rooms", "--data"]).arg(&data).output();
    let output = output.expect("the binary starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(words.contains(&format!("locked by process {}", concord.child.id())), "{words}");
}
