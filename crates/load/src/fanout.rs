//! Rooms of clients of which some write: what it costs to hand a change to everybody else, and how long that takes.
//!
//! Open loop: each write has a time at which it is due, and its latency counts from there, so a server that stalls does not hide the waiting.
//! Saturated: each writer has so many updates under way, and sends the next when one has reached the last member of its room.

use crate::LoadError;
use crate::client::Client;
use crate::histogram::Histogram;
use crate::process::Process;
use crate::update::{Author, read_var_uint};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How writers are paced.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many updates a second in all, evenly spread.
    PerSecond(f64),
    /// So many updates under way per writer.
    InFlight(usize),
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Fanout {
    /// `ws://host:port`.
    pub url: String,
    /// Rooms, all alike.
    pub rooms: usize,
    /// Clients in each room.
    pub clients: usize,
    /// Of which write.
    pub writers: usize,
    /// How fast.
    pub pace: Pace,
    /// Bytes of text in each update; at least 16.
    pub text_bytes: usize,
    /// Seconds before counting begins.
    pub warm_up_s: f64,
    /// Seconds that count.
    pub run_s: f64,
    /// The server, when it runs on this machine.
    pub server: Option<Process>,
}

struct Shared {
    started: Instant,
    counting: Cell<bool>,
    stop: Cell<bool>,
    latencies: RefCell<Histogram>,
    delivered: Cell<u64>,
    delivered_in_all: Cell<u64>,
    sent: Cell<u64>,
    /// Told once everybody is connected.
    begin: Notify,
    begun: Cell<bool>,
    /// Of each writer: updates that have not reached the last member of its room. By client id less one.
    under_way: Vec<Cell<usize>>,
    arrived: Vec<Notify>,
}

impl Fanout {
    /// Runs it, and prints one JSON object.
    pub async fn run(&self) -> Result<String, LoadError> {
        let shared = Rc::new(Shared {
            started: Instant::now(),
            counting: Cell::new(false),
            stop: Cell::new(false),
            latencies: RefCell::default(),
            delivered: Cell::new(0),
            delivered_in_all: Cell::new(0),
            sent: Cell::new(0),
            begin: Notify::new(),
            begun: Cell::new(false),
            under_way: (0..self.rooms * self.clients).map(|_| Cell::new(0)).collect(),
            arrived: (0..self.rooms * self.clients).map(|_| Notify::new()).collect(),
        });
        let run = format!("{:x}", std::process::id());
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let mut tasks = Vec::new();
                let mut number = 1;
                for room in 0..self.rooms {
                    let url = format!("{}/bench-{run}-{room}", self.url.trim_end_matches('/'));
                    for member in 0..self.clients {
                        let client = Client::connect(&url).await?;
                        let writer =
                            (member < self.writers).then(|| Writer::new(number, self, room * self.writers + member));
                        let observes = member + 1 == self.clients;
                        tasks.push(tokio::task::spawn_local(member_task(
                            client,
                            number,
                            writer,
                            observes,
                            shared.clone(),
                        )));
                        number += 1;
                    }
                }
                shared.begun.set(true);
                shared.begin.notify_waiters();
                tokio::time::sleep(Duration::from_secs_f64(self.warm_up_s)).await;
                let cpu_before = self.server.and_then(Process::cpu_s);
                shared.counting.set(true);
                let began = Instant::now();
                tokio::time::sleep(Duration::from_secs_f64(self.run_s)).await;
                shared.counting.set(false);
                let seconds = began.elapsed().as_secs_f64();
                let cpu = self.server.and_then(Process::cpu_s).zip(cpu_before).map(|(after, before)| after - before);
                shared.stop.set(true);
                self.settle(&shared).await;
                let lost =
                    (shared.sent.get() * (self.clients as u64 - 1)).saturating_sub(shared.delivered_in_all.get());
                for task in &tasks {
                    if task.is_finished() {
                        return Err(LoadError("a connection ended during the run".to_owned()));
                    }
                    task.abort();
                }
                Ok(self.report(&shared, seconds, cpu, lost))
            })
            .await
    }

    /// Waits until everything sent has arrived everywhere, within bounds.
    async fn settle(&self, shared: &Shared) {
        let expected = || shared.sent.get() * (self.clients as u64 - 1);
        for _ in 0..200 {
            if shared.delivered_in_all.get() >= expected() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    fn report(&self, shared: &Shared, seconds: f64, cpu_s: Option<f64>, lost: u64) -> String {
        let (delivered, latencies) = (shared.delivered.get(), shared.latencies.borrow());
        let cpu = cpu_s.map_or("null".to_owned(), |cpu| format!("{:.3}", cpu * 1e6 / delivered as f64));
        let rss = self
            .server
            .and_then(Process::rss_bytes)
            .map_or("null".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1e6));
        format!(
            "{{\"rooms\":{},\"clients\":{},\"writers\":{},\"deliveries_per_s\":{:.0},\"cpu_us_per_delivery\":{cpu},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"rss_mb\":{rss},\"samples\":{},\"lost\":{lost}}}",
            self.rooms,
            self.clients,
            self.writers,
            delivered as f64 / seconds,
            latencies.quantile_ms(0.5),
            latencies.quantile_ms(0.99),
            latencies.count(),
        )
    }
}

struct Writer {
    author: Author,
    text: Vec<u8>,
    pace: Pace,
    interval: Duration,
    next: Duration,
}

impl Writer {
    fn new(client: u64, fanout: &Fanout, place: usize) -> Self {
        let writers = (fanout.writers * fanout.rooms) as f64;
        let interval = match fanout.pace {
            Pace::PerSecond(rate) => Duration::from_secs_f64(writers / rate),
            Pace::InFlight(_) => Duration::ZERO,
        };
        // Writers take turns within the interval.
        let next = interval.mul_f64(place as f64 / writers);
        Self {
            author: Author::new(client),
            text: vec![b'.'; fanout.text_bytes.max(16)],
            pace: fanout.pace,
            interval,
            next,
        }
    }

    /// Queues one update that carries the time at which it was due.
    fn write(&mut self, client: &mut Client, due: Duration, shared: &Shared) {
        let stamp = format!("{:016x}", due.as_nanos() as u64);
        let end = self.text.len();
        self.text[end - 16..].copy_from_slice(stamp.as_bytes());
        let mut message = Vec::with_capacity(self.text.len() + 32);
        self.author.append(&self.text, &mut message);
        client.queue(&message);
        shared.sent.set(shared.sent.get() + 1);
    }
}

async fn member_task(
    mut client: Client,
    number: u64,
    mut writer: Option<Writer>,
    observes: bool,
    shared: Rc<Shared>,
) -> Result<(), LoadError> {
    let mut buffer = vec![0; 64 << 10];
    client.queue(&[0, 0, 1, 0]);
    client.flush()?;
    if let Some(writer) = &mut writer {
        if !shared.begun.get() {
            shared.begin.notified().await;
        }
        writer.next += shared.started.elapsed() + Duration::from_millis(200);
    }
    let (under_way, arrived) = (&shared.under_way[number as usize - 1], &shared.arrived[number as usize - 1]);
    loop {
        let due = writer
            .as_ref()
            .filter(|writer| writer.interval > Duration::ZERO)
            .map(|writer| shared.started + writer.next);
        let unsent = client.has_unsent();
        tokio::select! {
            readable = client.stream().readable() => {
                readable?;
                client.read(&mut buffer, |message| receive(message, number, observes, &shared))?;
            }
            _ = client.stream().writable(), if unsent => {}
            () = sleep_until(due), if due.is_some() => {}
            () = arrived.notified(), if writer.is_some() => {}
        }
        if let Some(writer) = writer.as_mut().filter(|_| !shared.stop.get()) {
            match writer.pace {
                Pace::PerSecond(_) => {
                    let now = shared.started.elapsed();
                    while writer.next <= now {
                        writer.write(&mut client, writer.next, &shared);
                        writer.next += writer.interval;
                    }
                }
                Pace::InFlight(limit) => {
                    while under_way.get() < limit {
                        writer.write(&mut client, shared.started.elapsed(), &shared);
                        under_way.set(under_way.get() + 1);
                    }
                }
            }
        }
        client.flush()?;
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// Counts an update message of somebody else.
fn receive(message: &[u8], number: u64, observes: bool, shared: &Shared) {
    let Some(author) = author_of(message).filter(|&author| author != number) else { return };
    shared.delivered_in_all.set(shared.delivered_in_all.get() + 1);
    if observes && let Some(under_way) = shared.under_way.get(author as usize - 1) {
        under_way.set(under_way.get().saturating_sub(1));
        shared.arrived[author as usize - 1].notify_one();
    }
    if shared.counting.get() {
        shared.delivered.set(shared.delivered.get() + 1);
        let stamp = &message[message.len() - 17..message.len() - 1];
        let due = std::str::from_utf8(stamp).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if let Some(due) = due {
            let now = shared.started.elapsed().as_nanos() as u64;
            shared.latencies.borrow_mut().add(now.saturating_sub(due) / 1_000);
        }
    }
}

/// The client id in an update message: `0 2, varuint length, 1, 1, varuint client, ...`.
fn author_of(message: &[u8]) -> Option<u64> {
    let mut rest = message.strip_prefix(&[0, 2]).filter(|rest| rest.len() > 20)?;
    read_var_uint(&mut rest)?;
    rest = rest.strip_prefix(&[1, 1])?;
    read_var_uint(&mut rest).filter(|&author| author > 0)
}
