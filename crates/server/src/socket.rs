//! One connection's task: reads frames, lets its session say what they mean, and puts that into the room's mailbox.
//!
//! Started after the 101. Reads into a buffer that belongs to the thread, so an idle connection holds none. Waits for the room when its mailbox is
//! full, and reads nothing meanwhile: that is the back-pressure. Writes only when its outbox was stalled.

use crate::auth::Admission;
use crate::connections::Connection;
use crate::outbox::Outbox;
use crate::rooms::{Gone, ToRoom, Visit, input_bytes};
use crate::websocket::{DecodeError, Decoder, Message, pong_frame};
use dialect::{Frame, Session};
use room::{Closing, Input, MemberId};
use socket2::SockRef;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of one read. One buffer a thread.
const READ_BYTES: usize = 64 << 10;
/// How long the last frames may take, and then the client's own close.
const ENDING: Duration = Duration::from_secs(5);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// One connection in one room.
pub(crate) struct Socket {
    pub(crate) connection: Arc<Connection>,
    pub(crate) visit: Visit,
    pub(crate) member: MemberId,
    pub(crate) session: Box<dyn Session>,
    pub(crate) decoder: Decoder,
    pub(crate) clock: crate::clock::Clock,
    pub(crate) allowance: Allowance,
    /// The room has been told that the member is gone.
    pub(crate) left: bool,
}

/// What one read brought.
enum Read {
    Nothing,
    Bytes(usize),
    Ended(String),
}

impl Socket {
    /// Runs until the connection has ended; returns why, in words. `early`: bytes that came with the request.
    pub(crate) async fn run(mut self, admission: Admission, early: Vec<u8>) -> String {
        let Admission { author, access, trusts_all } = admission;
        let (connection, member) = (self.connection.clone(), self.member);
        let mut opening = Vec::new();
        self.session.open(&mut opening);
        connection.unanswered.store(opening.iter().filter_map(Input::asker).count(), Ordering::Release);
        let join = ToRoom::Join { connection: connection.clone(), member, author, access, trusts_all, opening };
        let served = match self.visit.deliver(join).await {
            Ok(()) => self.serve(early).await,
            Err(Gone) => Err(Gone),
        };
        let reason = served.unwrap_or_else(|Gone| {
            connection.close(&self.visit.end());
            "the room ended".to_owned()
        });
        // Before the last frames: others need not see somebody who only waits for the kernel. When the room's task is gone there is nothing to leave.
        let _ = self.visit.send(Input::Leave(member)).await;
        self.left = true;
        if connection.outbox.condition().ending {
            finish(&connection.outbox).await;
        }
        connection.end_reason().unwrap_or(reason)
    }

    async fn serve(&mut self, early: Vec<u8>) -> Result<String, Gone> {
        let mut inputs = Vec::new();
        let mut ended = self.decode(&early, &mut inputs);
        loop {
            self.deliver(&mut inputs).await?;
            if let Some(reason) = ended {
                return Ok(reason);
            }
            let condition = self.connection.outbox.condition();
            if condition.lost {
                self.visit.send(Input::CatchUp(self.member)).await?;
                continue;
            }
            if condition.ending || condition.finished {
                return Ok("connection lost".to_owned());
            }
            let (stream, outbox) = (self.connection.outbox.stream(), &self.connection.outbox);
            tokio::select! {
                () = outbox.attention.notified() => {}
                () = self.visit.closed() => return Err(Gone),
                _ = stream.writable(), if condition.stalled => outbox.flush(),
                readable = self.allowance.readable(&self.connection), if !condition.paused => {
                    ended = match readable.map_err(|error| error.to_string()).map(|()| self.read(&mut inputs)) {
                        Ok(Read::Nothing) => None,
                        Ok(Read::Bytes(bytes)) => { self.allowance.spend(bytes); None }
                        Ok(Read::Ended(reason)) | Err(reason) => Some(reason),
                    };
                }
            }
        }
    }

    /// Puts each input into the mailbox; a silent client is not judged meanwhile.
    async fn deliver(&mut self, inputs: &mut Vec<Input>) -> Result<(), Gone> {
        if inputs.is_empty() {
            return Ok(());
        }
        self.connection.paused.store(true, Ordering::Release);
        let mut delivered = Ok(());
        for input in inputs.drain(..) {
            delivered = deliver_one(&self.connection, &self.visit, input).await;
            if delivered.is_err() {
                break;
            }
        }
        self.connection.paused.store(false, Ordering::Release);
        delivered
    }

    fn read(&mut self, inputs: &mut Vec<Input>) -> Read {
        let most = self.allowance.most_bytes();
        READ_BUFFER.with_borrow_mut(|buffer| match self.connection.outbox.stream().try_read(&mut buffer[..most]) {
            Ok(0) => Read::Ended("connection closed without a close frame".to_owned()),
            Ok(count) => self.decode(&buffer[..count], inputs).map_or(Read::Bytes(count), Read::Ended),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Read::Nothing,
            Err(error) => Read::Ended(error.to_string()),
        })
    }

    /// Turns bytes into inputs. Returns why the connection ends, when it does.
    fn decode(&mut self, mut bytes: &[u8], inputs: &mut Vec<Input>) -> Option<String> {
        let count = bytes.len() as u64;
        let mut completed = false;
        loop {
            let decoded = self.decoder.decode(&mut bytes);
            completed |= matches!(decoded, Ok(Some(_)));
            match decoded {
                Ok(None) => break,
                Ok(Some(Message::Binary(payload))) => self.session.receive(Frame::Binary(payload), inputs),
                Ok(Some(Message::Text(payload))) => self.session.receive(Frame::Text(payload), inputs),
                Ok(Some(Message::Ping(payload))) => {
                    self.connection.outbox.control(pong_frame(&payload));
                    self.connection.outbox.flush();
                }
                Ok(Some(Message::Pong(_))) => self.connection.answered.store(true, Ordering::Release),
                Ok(Some(Message::Close { code, reason })) => return Some(self.closed_by_client(code, &reason)),
                Err(error) => return Some(self.broken(&error)),
            }
        }
        let now_ms = self.clock.now_ms();
        let incomplete = !self.decoder.is_idle();
        let since = &self.connection.incomplete_since_ms;
        if completed {
            since.store(0, Ordering::Release);
        }
        match (incomplete, since.load(Ordering::Acquire)) {
            (true, 0) => {
                self.connection.incomplete_bytes.store(count, Ordering::Release);
                since.store(now_ms, Ordering::Release);
            }
            (true, _) => drop(self.connection.incomplete_bytes.fetch_add(count, Ordering::AcqRel)),
            (false, _) => since.store(0, Ordering::Release),
        }
        None
    }

    fn closed_by_client(&self, code: Option<u16>, reason: &str) -> String {
        // Answered with the same code; 1005 stands for none and is never sent.
        self.connection.outbox.end([crate::websocket::close_frame(code.unwrap_or(1000), "")]);
        self.connection.outbox.flush();
        let code = code.unwrap_or(1005);
        if reason.is_empty() {
            format!("closed by client: {code}")
        } else {
            format!("closed by client: {code} {reason}")
        }
    }

    fn broken(&self, error: &DecodeError) -> String {
        let closing = match error {
            DecodeError::TooBig { limit, .. } => Closing::Beyond(format!("message larger than {limit} bytes")),
            other => Closing::Protocol(other.close_code(), other.to_string()),
        };
        self.connection.close(&closing);
        error.to_string()
    }
}

impl Drop for Socket {
    /// Also when a bug ends the task: the room must not keep a member that nobody speaks for.
    fn drop(&mut self) {
        if !self.left {
            self.visit.leave_at_once(self.member);
        }
    }
}

/// Puts one input into the mailbox, and lets the outbox drain while that has to wait. One question is answered before the next is asked: a small frame
/// of questions would otherwise make any number of large answers.
async fn deliver_one(connection: &Connection, visit: &Visit, input: Input) -> Result<(), Gone> {
    if input.asker().is_some() {
        loop {
            let condition = connection.outbox.condition();
            if condition.ending || !condition.paused && connection.unanswered.load(Ordering::Acquire) == 0 {
                break;
            }
            tokio::select! {
                () = connection.outbox.attention.notified() => {}
                () = visit.closed() => return Err(Gone),
                _ = connection.outbox.stream().writable(), if condition.stalled => connection.outbox.flush(),
            }
        }
        connection.unanswered.fetch_add(1, Ordering::AcqRel);
    }
    let reserved = visit.reserve(input_bytes(&input));
    tokio::pin!(reserved);
    loop {
        tokio::select! {
            place = &mut reserved => {
                place?.put(input);
                return Ok(());
            }
            () = connection.outbox.attention.notified() => {}
            _ = connection.outbox.stream().writable(), if connection.outbox.is_stalled() => connection.outbox.flush(),
        }
    }
}

/// Sends what is left and waits for the client to go, but not for long.
async fn finish(outbox: &Outbox) {
    let until = Instant::now() + ENDING;
    let said = tokio::time::timeout_at(until, async {
        loop {
            let condition = outbox.condition();
            if condition.finished {
                return;
            }
            tokio::select! {
                () = outbox.attention.notified() => {}
                _ = outbox.stream().writable(), if condition.stalled => outbox.flush(),
            }
        }
    });
    if said.await.is_ok() {
        // The server ends the connection; the client sees that at once.
        let _ = SockRef::from(outbox.stream()).shutdown(std::net::Shutdown::Write);
        // Unread bytes would turn our close into a reset, and the client might never see the reason.
        let _ = tokio::time::timeout_at(until, drain(outbox.stream())).await;
    }
}

/// Reads and drops until the client has closed.
async fn drain(stream: &tokio::net::TcpStream) {
    while stream.readable().await.is_ok() {
        let read = READ_BUFFER.with_borrow_mut(|buffer| stream.try_read(buffer));
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// How much may be read from one socket within a second. A faster one is read later, and TCP tells it.
#[derive(Debug)]
pub(crate) struct Allowance {
    bytes_per_s: u64,
    left: u64,
    renewed: Instant,
}

impl Allowance {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, left: bytes_per_s, renewed: Instant::now() }
    }

    /// Bytes that one read may bring.
    fn most_bytes(&self) -> usize {
        self.left.clamp(1, READ_BYTES as u64) as usize
    }

    fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }

    /// Waits until there is something to read and it may be read.
    async fn readable(&mut self, connection: &Connection) -> std::io::Result<()> {
        if self.left == 0 {
            connection.paused.store(true, Ordering::Release);
            tokio::time::sleep_until(self.renewed + Duration::from_secs(1)).await;
            connection.paused.store(false, Ordering::Release);
        }
        connection.outbox.stream().readable().await?;
        if self.left < self.bytes_per_s && self.renewed.elapsed() >= Duration::from_secs(1) {
            (self.left, self.renewed) = (self.bytes_per_s, Instant::now());
        }
        Ok(())
    }
}
