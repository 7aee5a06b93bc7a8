//! What floods do to people who work: a writer and a reader in one room, and how long updates take between them, before and while others attack.
//!
//! `cargo run --release -p bench --bin floods -- target/release/concord [FLOOD,...]` starts that server anew for each flood, on loopback, with an empty
//! folder, and ends it by its own process id. Server on core 0; pair and attackers share core 1, the attackers with the lowest priority, which does not
//! cover what the kernel does for them: with `pair-beside-server` the pair is on core 0, and waits for the server alone. An attacker is this program again (`attack NAME ADDRESS`). Linux only: it reads /proc.

use load::Process;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use testkit::client::{binary, client_frame, upgrade_request};

type Failure = Box<dyn std::error::Error>;
/// What attackers were told, and how often.
type Told = BTreeMap<String, u64>;

/// Between two updates of the writer.
const UPDATE_EVERY: Duration = Duration::from_millis(10);
/// Of each flood.
const RUNS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(2);
const BEFORE: Duration = Duration::from_secs(8);
const FLOOD: Duration = Duration::from_secs(10);
/// Sockets of a flood that is not about their number.
const SOCKETS: usize = 4;
/// Connections that a flood of them opens in a second.
const CONNECTS_PER_S: u32 = 1_000;
/// In the room beforehand, so that a question about the document has an answer of some size.
const DOCUMENT_BYTES: usize = 100_000;
const ROOM: &str = "/r";

/// One flood.
struct Flood {
    name: &'static str,
    about: &'static str,
    /// The limits per address apply to loopback.
    limited: bool,
    attack: fn(SocketAddr) -> Told,
}

#[rustfmt::skip]
const FLOODS: &[Flood] = &[
    Flood { name: "half-open", about: "5,000 requests that are never finished", limited: true, attack: half_open },
    Flood { name: "half-open-exempt", about: "the same from an exempt address", limited: false, attack: half_open },
    Flood { name: "connects", about: "10,000 connects from one address, to 100 other rooms", limited: true, attack: connects },
    Flood { name: "connects-exempt", about: "the same from an exempt address", limited: false, attack: connects },
    Flood { name: "header", about: "request heads of 10 MB, 4 at a time", limited: true, attack: headers },
    Flood { name: "fragments", about: "messages of 1 MB in fragments of one byte, 4 members", limited: true, attack: fragments },
    Flood { name: "pings", about: "empty pings, 4 members", limited: true, attack: pings },
    Flood { name: "step-1", about: "questions for the whole document, 4 members", limited: true, attack: questions },
    Flood { name: "frames", about: "frames of 100 MB announced, 4 at a time", limited: true, attack: large_frames },
    Flood { name: "presence", about: "one member's presence, as fast as it can", limited: true, attack: presence },
];

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["attack", name, address] => {
            let flood = FLOODS.iter().find(|flood| flood.name == *name).ok_or("no such flood")?;
            for (words, count) in (flood.attack)(address.parse()?) {
                println!("{count} x {words}");
            }
            Ok(())
        }
        [concord] => measure_all(concord, None, 1),
        [concord, names] => measure_all(concord, Some(names), 1),
        [concord, names, "pair-beside-server"] => measure_all(concord, Some(names), 0),
        _ => Err("usage: floods PATH-OF-CONCORD [FLOOD,... [pair-beside-server]]".into()),
    }
}

/// `pair_core`: 1, where the attackers are, or 0, where the server is.
fn measure_all(concord: &str, names: Option<&str>, pair_core: u32) -> Result<(), Failure> {
    let pinned = pin_to(pair_core)
        && Command::new("taskset").args(["-c", "0,1", "true"]).status().is_ok_and(|status| status.success());
    if !pinned {
        eprintln!("taskset -c 0 and -c 1 do not work here: server, pair and attackers share what there is");
    }
    let files: usize = std::fs::read_to_string("/proc/self/limits")?
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(usize::MAX);
    if files < 10_100 {
        eprintln!("{files} files may be open (ulimit -n): floods of 10,000 connections end there");
    }
    println!(
        "| flood | p50 before, during (ratio) | p99 before, during (ratio) | server's CPU before, during | memory before, growth | attackers were told |"
    );
    println!("|---|---|---|---|---|---|");
    for flood in FLOODS.iter().filter(|flood| names.is_none_or(|names| names.split(',').any(|name| name == flood.name)))
    {
        let runs: Result<Vec<Run>, Failure> = (0..RUNS).map(|_| measure(concord, pinned, flood)).collect();
        println!("{}", row(flood, &runs?));
    }
    Ok(())
}

/// Before a flood, or during it.
struct Phase {
    latencies: Latencies,
    cpu_percent: f64,
}

/// One flood on one server.
struct Run {
    before: Phase,
    during: Phase,
    before_bytes: u64,
    peak_bytes: u64,
    told: String,
}

fn measure(concord: &str, pinned: bool, flood: &Flood) -> Result<Run, Failure> {
    let server = Server::start(concord, pinned, flood.limited)?;
    let pair = Pair::start(server.address)?;
    std::thread::sleep(WARM_UP);
    let (began, began_cpu_s, before_bytes) = (Instant::now(), server.cpu_s(), server.resident_bytes());
    std::thread::sleep(BEFORE);
    let (flooded, flooded_cpu_s) = (Instant::now(), server.cpu_s());
    let itself = std::env::current_exe()?;
    let mut attacker = Command::new("nice");
    attacker.args(["-n", "19"]);
    if pinned {
        attacker.args(["taskset", "-c", "1"]);
    }
    attacker.arg(itself).args(["attack", flood.name, &server.address.to_string()]);
    let attacker = attacker.stdout(Stdio::piped()).spawn()?;
    let mut peak_bytes = before_bytes;
    while flooded.elapsed() < FLOOD {
        std::thread::sleep(Duration::from_millis(50));
        peak_bytes = peak_bytes.max(server.resident_bytes());
    }
    let (ended, ended_cpu_s) = (Instant::now(), server.cpu_s());
    let told = String::from_utf8(attacker.wait_with_output()?.stdout)?;
    peak_bytes = peak_bytes.max(server.resident_bytes());
    let journeys = pair.stop();
    let phase = |from: Instant, until: Instant, cpu_s: f64| Phase {
        latencies: Latencies::of(&journeys, from, until),
        cpu_percent: 100.0 * cpu_s / (until - from).as_secs_f64(),
    };
    let before = phase(began, flooded, flooded_cpu_s - began_cpu_s);
    let during = phase(flooded, ended, ended_cpu_s - flooded_cpu_s);
    Ok(Run { before, during, before_bytes, peak_bytes, told })
}

/// Medians of the runs; of memory the largest growth, and what the attackers were told in the last run.
fn row(flood: &Flood, runs: &[Run]) -> String {
    let median = |figure: &dyn Fn(&Run) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let compared = |figure: fn(&Latencies) -> f64| {
        let before = median(&|run| figure(&run.before.latencies));
        let during = median(&|run| figure(&run.during.latencies));
        let ratio = median(&|run| figure(&run.during.latencies) / figure(&run.before.latencies));
        format!("{before:.2}, {during:.2} ms ({ratio:.1})")
    };
    let lost: usize = runs.iter().map(|run| run.before.latencies.lost + run.during.latencies.lost).sum();
    let growth = runs.iter().map(|run| run.peak_bytes - run.before_bytes).max().unwrap_or(0);
    format!(
        "| {} | {} | {} | {:.0}, {:.0} % | {:.1}, +{:.1} MB | {}{} |",
        flood.about,
        compared(|latencies| latencies.p50_ms),
        compared(|latencies| latencies.p99_ms),
        median(&|run| run.before.cpu_percent),
        median(&|run| run.during.cpu_percent),
        median(&|run| run.before_bytes as f64 / 1e6),
        growth as f64 / 1e6,
        runs.last().map_or("", |run| run.told.trim_end()).replace('\n', "; "),
        if lost > 0 { format!("; {lost} updates of the pair did not arrive") } else { String::new() },
    )
}

/// Moves this process to a core; who it starts inherits that.
fn pin_to(core: u32) -> bool {
    let moved = Command::new("taskset")
        .args(["-cp", &core.to_string(), &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status();
    moved.is_ok_and(|status| status.success())
}

/// The server under test.
struct Server {
    child: Child,
    address: SocketAddr,
    folder: std::path::PathBuf,
}

impl Server {
    fn start(concord: &str, pinned: bool, limited: bool) -> Result<Self, Failure> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = std::env::temp_dir().join(format!("concord-floods-{}-{}", std::process::id(), address.port()));
        let mut command = if pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", "0", concord]);
            command
        } else {
            Command::new(concord)
        };
        command.args(["--listen", &address.to_string(), "--data"]).arg(&folder);
        // The pair answers no pings, and what it takes is over before the first keep-alive matters.
        command.env("CONCORD_PING_MS", "600000");
        if limited {
            command.env("CONCORD_LIMITS_EXEMPT", "");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child, address, folder };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{concord} ended with {status}; run it by hand to see why").into());
            }
            if began.elapsed() > Duration::from_secs(10) {
                return Err(format!("{concord} does not listen on {address} after 10 s").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn resident_bytes(&self) -> u64 {
        Process(self.child.id()).rss_bytes().unwrap_or(0)
    }

    /// Of all its threads so far, kernel included.
    fn cpu_s(&self) -> f64 {
        Process(self.child.id()).cpu_s().unwrap_or(0.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_over = self.child.kill();
        let _status = self.child.wait();
        let _left_behind = std::fs::remove_dir_all(&self.folder);
    }
}

/// When an update was due, and when it came, if it did.
type Journey = (Instant, Option<Instant>);

/// Somebody who writes and somebody who reads.
struct Pair {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
    reader: JoinHandle<()>,
    arrived: Arc<Mutex<Vec<Instant>>>,
    began: Instant,
    streams: Vec<TcpStream>,
}

impl Pair {
    fn start(address: SocketAddr) -> Result<Self, Failure> {
        let [mut writing, reading] = [upgrade(address, ROOM)?, upgrade(address, ROOM)?];
        let streams = vec![writing.try_clone()?, reading.try_clone()?];
        // Its own updates come back too.
        let echo = writing.try_clone()?;
        std::thread::spawn(move || hear_out(echo));
        let mut clock = 0;
        writing.write_all(&written(&mut clock, &"x".repeat(DOCUMENT_BYTES)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let (began, stopped, arrivals) = (Instant::now(), stop.clone(), arrived.clone());
        let reader = std::thread::spawn(move || {
            let mut frames = Frames::of(reading);
            while let Some((_, payload)) = frames.next() {
                note_arrival(&payload, &mut arrivals.lock().expect("nobody panics with it"));
            }
        });
        let writer = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = began + UPDATE_EVERY * number as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if writing.write_all(&written(&mut clock, &format!("{number:016}"))).is_err() {
                    break;
                }
                number += 1;
            }
            number
        });
        Ok(Self { stop, writer, reader, arrived, began, streams })
    }

    /// What became of all updates.
    fn stop(self) -> Vec<Journey> {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.writer.join().unwrap_or(0);
        // Time for what is on its way.
        std::thread::sleep(Duration::from_secs(1));
        for stream in &self.streams {
            let _already_over = stream.shutdown(std::net::Shutdown::Both);
        }
        let _no_more = self.reader.join();
        let arrived = self.arrived.lock().expect("nobody panics with it");
        (0..count)
            .map(|number| (self.began + UPDATE_EVERY * number as u32, arrived.get(number as usize).copied()))
            .collect()
    }
}

/// An update that puts a text behind all that its author has written, as a frame.
fn written(clock: &mut u64, text: &str) -> Vec<u8> {
    let mut update = vec![1, 1, 1];
    var_uint(&mut update, *clock);
    match clock.checked_sub(1) {
        None => update.extend([4, 1, 1, b't']),
        Some(last) => {
            update.extend([0x84, 1]);
            var_uint(&mut update, last);
        }
    }
    var_bytes(&mut update, text.as_bytes());
    update.push(0);
    *clock += text.len() as u64;
    binary(&message(&[0, 2], &update))
}

/// Of an update, or of several in one: all up to the number that it ends with have come.
fn note_arrival(payload: &[u8], arrived: &mut Vec<Instant>) {
    let number = payload.strip_prefix(&[0, 2]).and_then(|rest| rest.get(rest.len().checked_sub(17)?..rest.len() - 1));
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    if let Some(number) = number
        && number >= arrived.len()
    {
        arrived.resize(number + 1, Instant::now());
    }
}

/// Of the updates that were due in a time.
struct Latencies {
    p50_ms: f64,
    p99_ms: f64,
    lost: usize,
}

impl Latencies {
    fn of(journeys: &[Journey], from: Instant, until: Instant) -> Self {
        let due = journeys.iter().filter(|(due, _)| (from..until).contains(due));
        let mut ms: Vec<f64> = due
            .clone()
            .filter_map(|(due, arrived)| Some(arrived.as_ref()?.duration_since(*due).as_secs_f64() * 1e3))
            .collect();
        ms.sort_by(f64::total_cmp);
        let quantile = |share: f64| ms.get((ms.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Self { p50_ms: quantile(0.5), p99_ms: quantile(0.99), lost: due.count() - ms.len() }
    }
}

fn half_open(address: SocketAddr) -> Told {
    let mut held = Vec::new();
    paced(5_000, |_| held.extend(begun(address, b"GET /r HTTP/1.1\r\nHost: test\r\n")));
    let mut told = Told::new();
    for stream in held {
        note(&mut told, &refusal(stream, Vec::new()));
    }
    told
}

fn connects(address: SocketAddr) -> Told {
    let mut held = Vec::new();
    paced(10_000, |number| {
        held.extend(begun(address, upgrade_request(&format!("/flood-{}", number % 100), "").as_bytes()));
    });
    let mut told = Told::new();
    for stream in &held {
        let stream = stream.try_clone().map_err(|error| error.to_string());
        note(&mut told, &stream.and_then(switched).map_or_else(|words| words, |_| "101".to_owned()));
    }
    told
}

fn begun(address: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(bytes).ok()?;
    Some(stream)
}

fn headers(address: SocketAddr) -> Told {
    let head = [b"GET /r HTTP/1.1\r\nCookie: ".to_vec(), vec![b'x'; 10_000_000]].concat();
    in_parallel(|until, told| {
        while Instant::now() < until {
            let Ok(mut stream) = TcpStream::connect(address) else { continue };
            let _refused_early = stream.write_all(&head);
            note(told, &refusal(stream, Vec::new()));
        }
    })
}

fn large_frames(address: SocketAddr) -> Told {
    let announced = [&[0x82, 0x80 | 127][..], &100_000_000_u64.to_be_bytes(), &[0; 4], &[0; 1 << 16]].concat();
    in_parallel(|until, told| {
        while Instant::now() < until {
            match upgrade(address, ROOM) {
                Ok(mut stream) => {
                    let _refused_early = stream.write_all(&announced);
                    note(told, &hear_out(stream));
                }
                Err(words) => note(told, &words),
            }
        }
    })
}

fn fragments(address: SocketAddr) -> Told {
    let mut frames = client_frame(0x02, &[99]);
    (2..1_000_000).for_each(|_| frames.extend(client_frame(0x00, &[0])));
    frames.extend(client_frame(0x80, &[0]));
    in_parallel(|until, told| pour(address, until, told, || frames.clone()))
}

fn pings(address: SocketAddr) -> Told {
    let frames = client_frame(0x89, &[]).repeat(10_000);
    in_parallel(|until, told| pour(address, until, told, || frames.clone()))
}

fn questions(address: SocketAddr) -> Told {
    let frames = binary(&message(&[0, 0], &[0])).repeat(5_000);
    in_parallel(|until, told| pour(address, until, told, || frames.clone()))
}

fn presence(address: SocketAddr) -> Told {
    let (mut clock, mut told) = (0, Told::new());
    let state = format!("{{\"user\":{{\"name\":\"{}\"}}}}", "x".repeat(180));
    let renewed = || {
        clock += 1;
        let mut entry = vec![1, 77];
        var_uint(&mut entry, clock);
        var_bytes(&mut entry, state.as_bytes());
        binary(&message(&[1], &entry))
    };
    let mut renewed = renewed;
    pour(address, Instant::now() + FLOOD, &mut told, || (0..300).flat_map(|_| renewed()).collect());
    told
}

/// Does something so often at an even pace.
fn paced(count: u32, mut act: impl FnMut(u32)) {
    let began = Instant::now();
    for number in 0..count {
        std::thread::sleep(
            (began + number * Duration::from_secs(1) / CONNECTS_PER_S).saturating_duration_since(Instant::now()),
        );
        act(number);
    }
}

/// The same attack on several threads, each until the flood is over.
fn in_parallel(attack: impl Fn(Instant, &mut Told) + Sync) -> Told {
    let (until, all) = (Instant::now() + FLOOD, Mutex::new(Told::new()));
    std::thread::scope(|scope| {
        for _ in 0..SOCKETS {
            scope.spawn(|| {
                let mut told = Told::new();
                attack(until, &mut told);
                let mut all = all.lock().expect("nobody panics with it");
                told.into_iter().for_each(|(words, count)| *all.entry(words).or_default() += count);
            });
        }
    });
    all.into_inner().expect("nobody panics with it")
}

/// As one member, sends as fast as the server reads, and takes what it answers.
fn pour(address: SocketAddr, until: Instant, told: &mut Told, mut next: impl FnMut() -> Vec<u8>) {
    let mut stream = match upgrade(address, ROOM) {
        Ok(stream) => stream,
        Err(words) => return note(told, &words),
    };
    let (Ok(listening), Ok(())) = (stream.try_clone(), stream.set_write_timeout(Some(Duration::from_millis(100))))
    else {
        return;
    };
    let listener = std::thread::spawn(move || hear_out(listening));
    let mut sent: u64 = 0;
    let (mut bytes, mut at) = (next(), 0);
    while Instant::now() < until && !listener.is_finished() {
        match stream.write(&bytes[at..]) {
            Ok(count) => (at, sent) = (at + count, sent + count as u64),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        if at == bytes.len() {
            (bytes, at) = (next(), 0);
        }
    }
    *told.entry("MB sent".to_owned()).or_default() += sent / 1_000_000;
    if listener.is_finished() {
        note(told, &listener.join().unwrap_or_default());
    } else {
        note(told, "nothing, and read on");
        let _already_over = stream.shutdown(std::net::Shutdown::Both);
    }
}

fn note(told: &mut Told, words: &str) {
    *told.entry(words.to_owned()).or_default() += 1;
}

/// Opens a WebSocket; Err: what the server says instead.
fn upgrade(address: SocketAddr, target: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    // A failure shows when reading.
    let _ = stream.write_all(upgrade_request(target, "").as_bytes());
    switched(stream)
}

/// Reads the answer to an upgrade, and nothing of what comes behind it.
fn switched(mut stream: TcpStream) -> Result<TcpStream, String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1..) => head.push(byte[0]),
            _ => return Err(refusal(stream, head)),
        }
    }
    if head.starts_with(b"HTTP/1.1 101 ") { Ok(stream) } else { Err(refusal(stream, head)) }
}

/// What a response says: its status, and the limit that its body names.
fn refusal(mut stream: TcpStream, mut bytes: Vec<u8>) -> String {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(12)));
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).unwrap_or(if read.is_err() { "a reset" } else { "an end without an answer" });
    let reason =
        text.split("{\"error\":\"").nth(1).and_then(|rest| rest.split(['"', ':', ';']).next()).unwrap_or_default();
    format!("{status} {reason}").trim_end().to_owned()
}

/// Reads until the server closes: what it says then.
fn hear_out(stream: TcpStream) -> String {
    let mut frames = Frames::of(stream);
    while let Some((opcode, payload)) = frames.next() {
        if opcode == 8 {
            let (code, reason) = payload.split_at(payload.len().min(2));
            let code = code.try_into().map_or(1005, u16::from_be_bytes);
            return format!("close {code} {}", String::from_utf8_lossy(reason));
        }
    }
    "an end without a close frame".to_owned()
}

/// What a server sends, frame by frame.
struct Frames {
    stream: TcpStream,
    bytes: Vec<u8>,
    at: usize,
    buffer: Vec<u8>,
}

impl Frames {
    fn of(stream: TcpStream) -> Self {
        Self { stream, bytes: Vec::new(), at: 0, buffer: vec![0; 64 << 10] }
    }

    /// Opcode and payload; None: the connection is over.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, head, end)) = frame_of(&self.bytes[self.at..]) {
                let payload = self.bytes[self.at + head..self.at + end].to_vec();
                self.at += end;
                return Some((opcode, payload));
            }
            self.bytes.drain(..std::mem::take(&mut self.at));
            let count = self.stream.read(&mut self.buffer).ok().filter(|count| *count > 0)?;
            self.bytes.extend_from_slice(&self.buffer[..count]);
        }
    }
}

/// Of a whole frame: its opcode, where its payload begins and ends.
fn frame_of(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (head, length) = match second {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let end = head + length as usize;
    (bytes.len() >= end).then_some((first & 0x0f, head, end))
}

fn message(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut message = kind.to_vec();
    var_bytes(&mut message, payload);
    message
}

fn var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
