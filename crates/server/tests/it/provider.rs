//! A Yjs provider as the tests need it: says the messages of the y-websocket dialect and keeps what it is told as a document.
//!
//! Its edits are not in its document before the server has sent them back, so its document is what the server has shown it.

use document::lib0::{Reader, write_var_bytes, write_var_uint};
use document::{Document, MessageLimits, RoomLimits, StateVector, Update};
use std::net::SocketAddr;
use testkit::client::{Client, Heard};

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    StateVector(StateVector),
    /// Step 2.
    Missing(Vec<u8>),
    Update(Vec<u8>),
    /// Id, clock, JSON.
    Awareness(Vec<(u64, u64, String)>),
    Denied(String),
    Closed(u16, String),
    Gone,
}

/// One client id and how far it has written.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) id: u64,
    pub(crate) clock: u64,
}

impl Writer {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, clock: 0 }
    }

    /// The update that puts ASCII text behind everything this writer has written into the text `t`.
    pub(crate) fn write(&mut self, text: &str) -> Vec<u8> {
        let mut update = vec![1, 1];
        write_var_uint(&mut update, self.id);
        write_var_uint(&mut update, self.clock);
        match self.clock.checked_sub(1) {
            None => update.extend([4, 1, 1, b't']),
            Some(last) => {
                update.push(0x84);
                write_var_uint(&mut update, self.id);
                write_var_uint(&mut update, last);
            }
        }
        write_var_bytes(&mut update, text.as_bytes());
        update.push(0);
        self.clock += text.len() as u64;
        update
    }
}

/// The update that deletes elements of one client.
pub(crate) fn delete(client: u64, clock: u64, length: u64) -> Vec<u8> {
    let mut update = vec![0, 1];
    for value in [client, 1, clock, length] {
        write_var_uint(&mut update, value);
    }
    update
}

fn message(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut message = head.to_vec();
    write_var_bytes(&mut message, payload);
    message
}

pub(crate) fn step_1(state_vector: &[u8]) -> Vec<u8> {
    message(&[0, 0], state_vector)
}

pub(crate) fn step_2(update: &[u8]) -> Vec<u8> {
    message(&[0, 1], update)
}

pub(crate) fn update(update: &[u8]) -> Vec<u8> {
    message(&[0, 2], update)
}

pub(crate) fn awareness(id: u64, clock: u64, json: &str) -> Vec<u8> {
    let mut entry = vec![1];
    write_var_uint(&mut entry, id);
    write_var_uint(&mut entry, clock);
    write_var_bytes(&mut entry, json.as_bytes());
    message(&[1], &entry)
}

/// Asks who is present; always answered.
pub(crate) const QUERY_AWARENESS: &[u8] = &[3];

/// One provider, connected.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) client: Client,
    pub(crate) document: Document,
    pub(crate) writer: Writer,
    open: bool,
}

impl Provider {
    /// Connects and syncs: afterwards it has what the room shows to a newcomer.
    pub(crate) async fn enter(address: SocketAddr, target: &str, id: u64) -> Self {
        Self::on(Client::connect(address, target).await, id).await
    }

    pub(crate) async fn on(client: Client, id: u64) -> Self {
        let mut provider = Self::unsynced(client, id);
        provider.client.send(&step_1(&[0])).await;
        provider.hear_until(|said| matches!(said, Said::Missing(_))).await;
        provider.writer.clock = provider.shown(id);
        provider
    }

    /// As `enter`, where the server may refuse, or close at any moment: then it has what came until then.
    pub(crate) async fn try_enter(address: SocketAddr, target: &str, id: u64) -> Option<Self> {
        let mut provider = Self::unsynced(Client::connect_with(address, target, "").await.ok()?, id);
        provider.client.send(&step_1(&[0])).await;
        while provider.open && !matches!(provider.hear().await, Said::Missing(_)) {}
        provider.writer.clock = provider.shown(id);
        Some(provider)
    }

    pub(crate) fn unsynced(client: Client, id: u64) -> Self {
        Self { client, document: Document::new(RoomLimits::STORED), writer: Writer::new(id), open: true }
    }

    /// The next message, taken into the document.
    pub(crate) async fn hear(&mut self) -> Said {
        let said = match self.client.hear().await {
            Heard::Message(bytes) => read(&bytes),
            Heard::Close(code, reason) => Said::Closed(code, reason),
            Heard::End => Said::Gone,
            other => panic!("{other:?} from the server"),
        };
        self.open &= !matches!(said, Said::Closed(..) | Said::Gone);
        if let Said::Missing(bytes) | Said::Update(bytes) = &said {
            let update = Update::validate(&bytes[..], &MessageLimits::STORED).expect("the server sends valid updates");
            self.document.add(&update, 0);
        }
        said
    }

    /// No close frame and no end has come.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Everything up to the first message that `fits`, with it. Panics when the connection ends before.
    pub(crate) async fn hear_until(&mut self, fits: impl Fn(&Said) -> bool) -> Vec<Said> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear().await);
            if fits(&heard[heard.len() - 1]) {
                return heard;
            }
            assert!(self.open, "ended too early: {heard:?}");
        }
    }

    /// What the server had to say before it answered a question that it answers at once and in its turn.
    pub(crate) async fn heard_by_now(&mut self) -> Vec<Said> {
        self.client.send(QUERY_AWARENESS).await;
        let mut heard = self.hear_until(|said| matches!(said, Said::Awareness(_))).await;
        heard.pop();
        heard
    }

    /// Writes at the end of its own text.
    pub(crate) async fn write(&mut self, text: &str) {
        let bytes = self.writer.write(text);
        self.client.send(&update(&bytes)).await;
    }

    /// Waits until its own last edit has come back: it is saved.
    pub(crate) async fn until_saved(&mut self) {
        self.until_shown(self.writer.id, self.writer.clock).await;
    }

    pub(crate) async fn write_and_save(&mut self, text: &str) {
        self.write(text).await;
        self.until_saved().await;
    }

    /// Waits until the server has shown so much of a client's edits.
    pub(crate) async fn until_shown(&mut self, id: u64, clock: u64) {
        while self.shown(id) < clock {
            let said = self.hear().await;
            assert!(self.open, "{said:?} at {} of {clock}", self.shown(id));
        }
    }

    /// Writes this text again and again until it has heard that the presence of a client has ended.
    pub(crate) async fn write_until_gone(&mut self, text: &str, id: u64) {
        let gone = Said::Awareness(vec![(id, 1, "null".to_owned())]);
        let mut is_gone = false;
        while !is_gone {
            self.write(text).await;
            while self.shown(self.writer.id) < self.writer.clock {
                is_gone |= self.hear().await == gone;
            }
        }
    }

    /// How much of a client's edits the server has shown it.
    pub(crate) fn shown(&self, id: u64) -> u64 {
        u64::from(self.document.state_vector().clock(id))
    }

    /// Everything up to the end, which has to be a close frame.
    pub(crate) async fn until_closed(&mut self) -> (Vec<Said>, u16, String) {
        let mut heard = self.hear_until(|said| matches!(said, Said::Closed(..) | Said::Gone)).await;
        match heard.pop() {
            Some(Said::Closed(code, reason)) => (heard, code, reason),
            _ => panic!("the connection ended without a close frame, after {heard:?}"),
        }
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        self.document.snapshot(false)
    }
}

/// The content of an update as `Provider::content` has it.
pub(crate) fn content_of(update: &[u8]) -> Vec<u8> {
    Document::load(RoomLimits::STORED, [update]).expect("a valid update").snapshot(false)
}

pub(crate) fn read(bytes: &[u8]) -> Said {
    let mut reader = Reader::new(bytes);
    let said = read_one(&mut reader);
    let said = said.unwrap_or_else(|error| panic!("{error} in {bytes:02x?} from the server"));
    assert!(reader.is_empty(), "one message a frame, but: {bytes:02x?}");
    said
}

fn read_one(reader: &mut Reader<'_>) -> Result<Said, document::lib0::ReadError> {
    Ok(match (reader.u8()?, reader.u8()?) {
        (0, 0) => {
            let limits = MessageLimits::STORED;
            Said::StateVector(StateVector::decode(reader.var_bytes()?, &limits).expect("a valid state vector"))
        }
        (0, 1) => Said::Missing(reader.var_bytes()?.to_vec()),
        (0, 2) => Said::Update(reader.var_bytes()?.to_vec()),
        (2, 0) => Said::Denied(reader.var_string()?.to_owned()),
        (1, first) => {
            // The second byte was the first of the length.
            let mut length = u64::from(first & 0x7f);
            if first & 0x80 != 0 {
                length |= reader.var_uint()? << 7;
            }
            let mut entries = Reader::new(reader.take(length as usize)?);
            let count = entries.var_uint()?;
            let mut read = || Ok((entries.var_uint()?, entries.var_uint()?, entries.var_string()?.to_owned()));
            Said::Awareness((0..count).map(|_| read()).collect::<Result<_, _>>()?)
        }
        other => panic!("message type {other:?} from the server"),
    })
}
