//! One connection's task: reads frames, lets its session say what they mean, and puts that into the room's mailbox.
//!
//! Started after the 101. Reads into a buffer that belongs to the thread, so an idle connection holds none. Waits for the room when its mailbox is
//! full, and reads nothing meanwhile: that is the back-pressure. Writes only when its outbox was stalled.

use crate::auth::Admission;
use crate::connections::Connection;
use crate::outbox::Outbox;
use crate::rooms::{Gone, ToRoom, Visit};
use crate::websocket::{DecodeError, Decoder, Message, pong_frame};
use dialect::{Frame, Session};
use room::{Closing, Input, MemberId};
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
        let join =
            ToRoom::Join { connection: self.connection.clone(), member: self.member, author, access, trusts_all };
        let mut inputs = Vec::new();
        self.session.open(&mut inputs);
        let served = match self.visit.deliver(join).await {
            Ok(()) => self.serve(inputs, early).await,
            Err(Gone) => Err(Gone),
        };
        let reason = served.unwrap_or_else(|Gone| {
            self.connection.close(&Closing::Internal);
            "the room ended".to_owned()
        });
        // Before the last frames: others need not see somebody who only waits for the kernel. When the room's task is gone there is nothing to leave.
        let _ = self.visit.send(Input::Leave(self.member)).await;
        if self.connection.outbox.condition().ending {
            finish(&self.connection.outbox).await;
        }
        self.connection.end_reason().unwrap_or(reason)
    }

    async fn serve(&mut self, mut inputs: Vec<Input>, early: Vec<u8>) -> Result<String, Gone> {
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
            self.connection.paused.store(condition.paused, Ordering::Release);
            let (stream, outbox) = (self.connection.outbox.stream(), &self.connection.outbox);
            tokio::select! {
                () = outbox.attention.notified() => {}
                _ = stream.writable(), if condition.stalled => outbox.flush(),
                readable = self.allowance.readable(stream), if !condition.paused => {
                    ended = match readable.map_err(|error| error.to_string()).map(|()| self.read(&mut inputs)) {
                        Ok(Read::Nothing) => None,
                        Ok(Read::Bytes(bytes)) => { self.allowance.spend(bytes); None }
                        Ok(Read::Ended(reason)) | Err(reason) => Some(reason),
                    };
                }
            }
        }
    }

    /// Waits for a place in the mailbox for each input; a silent client is not judged meanwhile.
    async fn deliver(&mut self, inputs: &mut Vec<Input>) -> Result<(), Gone> {
        for input in inputs.drain(..) {
            self.connection.paused.store(true, Ordering::Release);
            let sent = self.visit.send(input).await;
            self.connection.paused.store(false, Ordering::Release);
            sent?;
        }
        Ok(())
    }

    fn read(&mut self, inputs: &mut Vec<Input>) -> Read {
        READ_BUFFER.with_borrow_mut(|buffer| match self.connection.outbox.stream().try_read(buffer) {
            Ok(0) => Read::Ended("connection closed without a close frame".to_owned()),
            Ok(count) => self.decode(&buffer[..count], inputs).map_or(Read::Bytes(count), Read::Ended),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Read::Nothing,
            Err(error) => Read::Ended(error.to_string()),
        })
    }

    /// Turns bytes into inputs. Returns why the connection ends, when it does.
    fn decode(&mut self, mut bytes: &[u8], inputs: &mut Vec<Input>) -> Option<String> {
        let count = bytes.len() as u64;
        loop {
            match self.decoder.decode(&mut bytes) {
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

    fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }

    /// Waits until there is something to read and it may be read.
    async fn readable(&mut self, stream: &tokio::net::TcpStream) -> std::io::Result<()> {
        if self.left == 0 {
            tokio::time::sleep_until(self.renewed + Duration::from_secs(1)).await;
        }
        stream.readable().await?;
        if self.left < self.bytes_per_s && self.renewed.elapsed() >= Duration::from_secs(1) {
            (self.left, self.renewed) = (self.bytes_per_s, Instant::now());
        }
        Ok(())
    }
}
