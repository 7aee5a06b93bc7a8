//! One run of a workload: where it goes, for how long, and what the server uses meanwhile. Made by the command line, used by every workload. Decides nothing.

use crate::LoadError;
use crate::dialect::Target;
use crate::process::{Process, machine_cpu_s};
use crate::report::{Figure, figure};
use crate::server::Server;
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What all workloads are given.
pub(crate) struct Run {
    pub(crate) target: Target,
    /// The server, when this process has started it.
    pub(crate) server: Option<RefCell<Server>>,
    /// The server, when it runs on this machine and somebody else has started it.
    pub(crate) pid: Option<u32>,
    pub(crate) warm_up_s: f64,
    pub(crate) seconds: f64,
    /// Which of several, from 0.
    pub(crate) number: usize,
}

impl Run {
    /// A name of a room that no other run has used.
    pub(crate) fn room(&self, workload: &str, number: usize) -> String {
        let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        static FIRST: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let first = FIRST.get_or_init(|| since);
        format!("bench-{workload}-{first:x}-{:x}-{}-{number}", std::process::id(), self.number)
    }

    /// The server's process, if it is known.
    pub(crate) fn process(&self) -> Option<Process> {
        match &self.server {
            Some(server) => server.borrow().process(),
            None => self.pid.map(Process),
        }
    }

    /// Begins to measure CPU time.
    pub(crate) fn meter(&self) -> Meter {
        let process = self.process();
        Meter {
            process,
            server_s: process.and_then(Process::cpu_s),
            own_s: Process::own().cpu_s().unwrap_or_default(),
            machine_s: machine_cpu_s(),
            began: Instant::now(),
        }
    }

    pub(crate) fn rss_bytes(&self) -> Option<u64> {
        self.process()?.rss_bytes()
    }

    /// The server that this process has started, for workloads that end it.
    pub(crate) fn own_server(&self) -> Result<&RefCell<Server>, LoadError> {
        self.server.as_ref().ok_or_else(|| {
            LoadError("this workload restarts the server; give its command line with --start \"COMMAND\"".to_owned())
        })
    }
}

/// CPU time since a moment.
pub(crate) struct Meter {
    process: Option<Process>,
    server_s: Option<f64>,
    own_s: f64,
    machine_s: Option<f64>,
    began: Instant,
}

/// What a meter has measured, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// By the clock on the wall.
    pub(crate) seconds: f64,
    pub(crate) server_s: Option<f64>,
    /// This process: near the wall clock, it is the load that is too slow, not the server.
    pub(crate) own_s: f64,
    /// Everything else on this machine; if it is much, throughput and latency are not the server's.
    pub(crate) others_s: Option<f64>,
}

impl Meter {
    pub(crate) fn read(&self) -> Used {
        let own_s = Process::own().cpu_s().unwrap_or_default() - self.own_s;
        let server_s = self.process.and_then(Process::cpu_s).zip(self.server_s).map(|(after, before)| after - before);
        let machine_s = machine_cpu_s().zip(self.machine_s).map(|(after, before)| after - before);
        let others_s = machine_s.zip(server_s).map(|(machine, server)| (machine - server - own_s).max(0.0));
        Used { seconds: self.began.elapsed().as_secs_f64(), server_s, own_s, others_s }
    }
}

impl Used {
    /// Microseconds of the server's CPU for each of so many.
    pub(crate) fn server_us_per(&self, count: f64) -> Option<f64> {
        self.server_s.map(|server| server * 1e6 / count)
    }

    /// Shares of one core.
    pub(crate) fn figures(&self) -> [Figure; 3] {
        let share = |cpu_s: f64| cpu_s * 100.0 / self.seconds;
        [
            figure("server_cpu", "%", self.server_s.map(share)),
            figure("load_cpu", "%", Some(share(self.own_s))),
            figure("others_cpu", "%", self.others_s.map(share)),
        ]
    }
}

/// Says about once a second how far a run is.
pub(crate) struct Progress {
    last: Instant,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    pub(crate) fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.last.elapsed() >= Duration::from_secs(1) {
            self.last = Instant::now();
            self.say(&text());
        }
    }

    fn say(&self, text: &str) {
        // On a terminal, one line that is written over.
        let _ = if self.terminal {
            write!(std::io::stderr(), "\r\x1b[K{text}")
        } else {
            writeln!(std::io::stderr(), "{text}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
