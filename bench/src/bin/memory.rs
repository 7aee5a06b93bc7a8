//! What an idle connection and an idle room keep, counted by the allocator: a whole server in this process, whose clients are another one.
//!
//! `cargo run --release -p bench --bin memory [CONNECTIONS]` starts itself anew for each row: so many connections, each in a room of its own, two a room, or
//! all in one. `sites FILE` instead writes down where the memory of two a room was asked for (for the viewer of the crate `dhat`).
//! Loopback only; ends the processes that it has started. A connection is a y-websocket client that has announced itself and says nothing more.

use load::Process;
use server::config::Config;
use server::{Server, open_store};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

type Failure = Box<dyn std::error::Error>;

/// Tables double when they are full: of the next power of two, little is empty.
const CONNECTIONS: usize = 8_000;
/// Of the clients: so long they are idle, after two seconds in which everything comes to rest.
const IDLE: Duration = Duration::from_secs(5);
/// Memory is counted so long before they leave.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

/// What a server has with these connections, more than without.
#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: f64,
    blocks: f64,
    resident: f64,
}

fn main() -> Result<ExitCode, Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["clients", words @ ..] => return Ok(load::main(words.iter().map(ToString::to_string))),
        ["count", connections, rooms] => {
            let kept = count(connections.parse()?, rooms.parse()?, None)?;
            println!("{} {} {}", kept.bytes, kept.blocks, kept.resident);
        }
        ["sites", file] => drop(count(2_000, 1_000, Some(file))?),
        [] => measure(CONNECTIONS)?,
        [connections] => measure(connections.parse()?)?,
        _ => return Err("usage: memory [CONNECTIONS] | memory sites FILE".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(connections: usize) -> Result<(), Failure> {
    println!("{connections} connections, in | bytes each | blocks each | resident bytes each");
    println!("---|---|---|---");
    let mut told = Vec::new();
    for (rooms, about) in [(connections, "a room each"), (connections / 2, "rooms of two"), (1, "one room")] {
        let output = Command::new(std::env::current_exe()?)
            .args(["count", &connections.to_string(), &rooms.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
        let [bytes, blocks, resident] = numbers[..] else { return Err("the server has not counted".into()) };
        let each = |all: f64| all / connections as f64;
        println!("{about} | {:.0} | {:.1} | {:.0}", each(bytes), each(blocks), each(resident));
        told.push(each(bytes));
    }
    // Each in a room of its own: connection and room. Two a room: a connection and half a room.
    let room = 2.0 * (told[0] - told[1]);
    println!("so a connection keeps {:.0} bytes, and a room {room:.0}", told[0] - room);
    Ok(())
}

/// Runs a server and its clients, and counts what it keeps while they are idle.
fn count(connections: usize, rooms: usize, sites: Option<&str>) -> Result<Kept, Failure> {
    let profiler = match sites {
        Some(file) => dhat::Profiler::builder().file_name(file),
        None => dhat::Profiler::builder().testing(),
    };
    let folder = std::env::temp_dir().join(format!("concord-memory-{}", std::process::id()));
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { listen: address, data: folder.clone(), workers: 1, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(8).enable_all().build()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server =
        runtime.block_on(async { Server::bind(config.clone(), open_store(&config)?).map_err(Failure::from) })?;
    let address = server.address()?;
    let running = runtime.spawn(server.run(async { drop(stopped.await) }));
    let profiler = profiler.build();
    let resident = || Process(std::process::id()).rss_bytes().unwrap_or(0) as f64;
    let before = resident();

    let words = ["clients", "idle", "--connections", &connections.to_string(), "--rooms", &rooms.to_string()]
        .map(str::to_owned);
    let mut clients = Command::new(std::env::current_exe()?)
        .args(words)
        .args(["--url", &format!("ws://{address}"), "--seconds", &IDLE.as_secs().to_string(), "--quiet"])
        .spawn()?;
    let mut seen = Vec::new();
    let status = loop {
        let stats = dhat::HeapStats::get();
        let kept =
            Kept { bytes: stats.curr_bytes as f64, blocks: stats.curr_blocks as f64, resident: resident() - before };
        seen.push((Instant::now(), kept));
        if let Some(status) = clients.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let counted = Instant::now() - BEFORE_THE_END;
    // What was asked for where is written down as it is now, with the connections gone: the most that there was tells of them.
    drop(profiler);
    let _ = stop.send(());
    let in_order = runtime.block_on(running)?;
    std::fs::remove_dir_all(&folder)?;
    if !status.success() || !in_order {
        return Err("the clients or the server did not end in order".into());
    }
    let kept = seen.iter().rev().find(|(at, _)| *at <= counted).ok_or("the clients were there for too short a time")?.1;
    Ok(kept)
}
