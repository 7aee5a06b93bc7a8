//! A document is opened after the server has started anew: by the first client, which makes the server read it, and by many at once. Called by the command
//! line for `open`. The document is written first; the operating system may still have its files in memory.

use crate::LoadError;
use crate::document;
use crate::fleet::Fleet;
use crate::peers::Peers;
use crate::protocol::Clocks;
use crate::report::{Figure, figure};
use crate::run::Run;
use std::time::Instant;

pub(crate) fn run(run: &Run, bytes: u64, clients: usize) -> Result<Vec<Figure>, LoadError> {
    let server = run.own_server()?;
    let room = run.room("open", 0);
    let clocks = document::write(run, std::slice::from_ref(&room), bytes)?;
    server.borrow_mut().stop();
    let restart = server.borrow_mut().start_again()?;
    let meter = run.meter();

    let mut fleet = Fleet::new(&run.target)?;
    fleet.opening_max = clients.max(1);
    let mut peers = Peers::default();
    let began = Instant::now();
    peers.add(&mut fleet, &room, Clocks::default())?;
    let (first_early, _) = peers.have_all(&mut fleet, |_| &clocks[0])?;
    let first_ms = began.elapsed().as_secs_f64() * 1e3;

    let began = Instant::now();
    for _ in 0..clients {
        peers.add(&mut fleet, &room, Clocks::default())?;
    }
    let (early, lost) = peers.have_all(&mut fleet, |_| &clocks[0])?;
    let all_ms = began.elapsed().as_secs_f64() * 1e3;
    let used = meter.read();
    Ok(vec![
        figure("restart", "ms", Some(restart.as_secs_f64() * 1e3)),
        figure("first_open", "ms", Some(first_ms)),
        figure("all_open", "ms", Some(all_ms)),
        figure("cpu", "ms", used.server_s.map(|server| server * 1e3)),
        figure("load_cpu", "ms", Some(used.own_s * 1e3)),
        figure("others_cpu", "ms", used.others_s.map(|others| others * 1e3)),
        figure("rss", "MB", run.rss_bytes().map(|bytes| bytes as f64 / 1e6)),
        figure("document", "bytes", Some(peers.all[0].step_2_bytes as f64)),
        figure("clients", "", Some(clients as f64)),
        figure("synced_too_early", "", Some((first_early + early) as f64)),
        figure("lost", "", Some(lost as f64)),
    ])
}
