//! Many connections that do nothing once they are synced: how long connecting takes, and what each keeps of the server's memory. Called by the command line
//! for `idle`.

use crate::LoadError;
use crate::fleet::Fleet;
use crate::peers::Peers;
use crate::protocol::Clocks;
use crate::report::{Figure, figure};
use crate::run::Run;
use std::time::{Duration, Instant};

/// Until memory that connecting took for a moment is given back.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn run(run: &Run, connections: usize, rooms: usize) -> Result<Vec<Figure>, LoadError> {
    let mut fleet = Fleet::new(&run.target)?;
    let mut peers = Peers { announces: true, ..Peers::default() };
    let rss_before = run.rss_bytes();
    let meter = run.meter();
    for number in 0..connections {
        let room = run.room("idle", number % rooms);
        peers.add(&mut fleet, &room, Clocks::default())?;
    }
    let began = Instant::now();
    peers.sync_all(&mut fleet)?;
    let synced_s = began.elapsed().as_secs_f64();
    let connecting = meter.read();
    settle(&mut peers, &mut fleet, SETTLE)?;
    let rss = run.rss_bytes();
    let meter = run.meter();
    settle(&mut peers, &mut fleet, Duration::from_secs_f64(run.seconds))?;
    let idle = meter.read();
    let grown = rss.zip(rss_before).map(|(after, before)| after as f64 - before as f64);
    let synced = peers.all.iter().filter(|peer| peer.synced).count();
    Ok(vec![
        figure("all_synced", "s", Some(synced_s)),
        figure("cpu_per_connect", "us", connecting.server_us_per(connections as f64)),
        figure("rss_per_connection", "KiB", grown.map(|bytes| bytes / 1_024.0 / connections as f64)),
        figure("rss", "MB", rss.map(|bytes| bytes as f64 / 1e6)),
        figure("idle_cpu", "%", idle.server_s.map(|server| server * 100.0 / idle.seconds)),
        figure("connections", "", Some(fleet.open() as f64)),
        figure("lost", "", Some((connections - synced) as f64)),
    ])
}

fn settle(peers: &mut Peers, fleet: &mut Fleet, time: Duration) -> Result<(), LoadError> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        peers.turn(fleet, Duration::from_millis(50))?;
    }
    Ok(())
}
