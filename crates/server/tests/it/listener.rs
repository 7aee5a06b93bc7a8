//! A client of any Yjs dialect, as far as all of them are alike: it comes for the document `r`, says changes, and keeps what it is told of it as a document.
//!
//! One row for each dialect says how its frames carry updates. What is peculiar to a dialect is tested in its own file, with a client of its own there.

use crate::page::{auth, to};
use crate::provider::{self, Said, Writer, read, step_1, step_2};
use dialect::{Dialect, HOCUSPOCUS, JSON_YJS, SESSIONS, Y_SWEET, Y_WEBSOCKET};
use document::lib0::Reader;
use document::{Document, MessageLimits, Part, RoomLimits, Update};
use serde_json::{Value, json};
use std::net::SocketAddr;
use testkit::client::{Client, Heard, binary, client_frame};

/// How the frames of a dialect carry updates.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) dialect: &'static dyn Dialect,
    /// Where the document is.
    target: &'static str,
    /// What a client says first.
    hello: fn() -> Vec<u8>,
    /// With this the start is over. What is missing of the document follows at once.
    begins: fn(&Heard) -> bool,
    /// The update in what the server says, if there is one.
    update_in: fn(&Heard) -> Option<Vec<u8>>,
    /// The frame that says a change.
    change: fn(&[u8]) -> Vec<u8>,
}

/// All that are Yjs.
pub(crate) static WIRES: [Wire; 5] = [
    Wire {
        dialect: Y_WEBSOCKET,
        target: "/r",
        hello: || binary(&step_1(&[0])),
        begins: |heard| matches!(heard, Heard::Message(bytes) if bytes.starts_with(&[0, 1])),
        update_in: |heard| said(payload_of(heard)?),
        change: |update| binary(&provider::update(update)),
    },
    Wire {
        dialect: HOCUSPOCUS,
        target: "/",
        hello: || [to("r", &auth("")), to("r", &step_1(&[0]))].map(|message| binary(&message)).concat(),
        begins: |heard| payload_of(heard).is_some_and(|bytes| behind_address(bytes).starts_with(&[0, 1])),
        update_in: |heard| said(behind_address(payload_of(heard)?)),
        change: |update| binary(&to("r", &provider::update(update))),
    },
    Wire {
        dialect: Y_SWEET,
        target: "/d/r/ws/r",
        hello: || [step_1(&[0]), step_2(&[0, 0])].map(|message| binary(&message)).concat(),
        begins: |heard| matches!(heard, Heard::Message(bytes) if bytes.starts_with(&[0, 1])),
        update_in: |heard| said(payload_of(heard)?),
        change: |update| binary(&provider::update(update)),
    },
    Wire {
        dialect: JSON_YJS,
        target: "/ws?draftId=r",
        hello: Vec::new,
        begins: |heard| json_in(heard).is_some_and(|message| message["type"] == "yjs-state-response"),
        update_in: |heard| Some(serde_json::from_value(json_in(heard)?["data"].take()).expect("bytes")),
        change: |update| client_frame(0x81, json!({ "type": "yjs-update", "data": update }).to_string().as_bytes()),
    },
    Wire {
        dialect: SESSIONS,
        target: "/ws/document/r?user_id=ann",
        hello: Vec::new,
        begins: |heard| json_in(heard).is_some_and(|message| message["type"] == "initial_state"),
        update_in: |heard| payload_of(heard).map(<[u8]>::to_vec),
        change: binary,
    },
];

/// Of a binary message.
fn payload_of(heard: &Heard) -> Option<&[u8]> {
    if let Heard::Message(bytes) = heard { Some(bytes) } else { None }
}

fn json_in(heard: &Heard) -> Option<Value> {
    let Heard::Text(text) = heard else { return None };
    Some(serde_json::from_slice(text).expect("JSON"))
}

fn behind_address(message: &[u8]) -> &[u8] {
    let mut reader = Reader::new(message);
    reader.var_string().expect("an address");
    &message[reader.position()..]
}

/// The update in a message of the stock provider's.
fn said(message: &[u8]) -> Option<Vec<u8>> {
    let is_sync = message.starts_with(&[0]);
    match is_sync.then(|| read(message))? {
        Said::Missing(update) | Said::Update(update) => Some(update),
        _ => None,
    }
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// An update of so many bytes, none of which it had.
    New(usize),
    /// One that repeats something.
    Partly(usize),
    /// One that it had.
    Known(usize),
    /// Nothing of the document.
    Other,
    Closed(u16, String),
    Gone,
}

#[derive(Debug)]
pub(crate) struct Listener {
    wire: &'static Wire,
    client: Client,
    document: Document,
    writer: Writer,
}

impl Listener {
    /// Comes and hears the start.
    pub(crate) async fn enter(address: SocketAddr, wire: &'static Wire, id: u64) -> Self {
        Self::on(Client::connect(address, wire.target).await, wire, id).await
    }

    /// As `enter`; the server notices soon when it does not read.
    pub(crate) async fn enter_narrow(address: SocketAddr, wire: &'static Wire, id: u64) -> Self {
        Self::on(Client::connect_narrow(address, wire.target).await, wire, id).await
    }

    async fn on(mut client: Client, wire: &'static Wire, id: u64) -> Self {
        client.send_raw(&(wire.hello)()).await;
        let (document, writer) = (Document::new(RoomLimits::STORED), Writer::new(id));
        let mut listener = Self { wire, client, document, writer };
        loop {
            let heard = listener.client.hear().await;
            let (begins, told) = ((wire.begins)(&heard), listener.take(heard));
            assert!(!matches!(told, Told::Closed(..) | Told::Gone), "{told:?} at the start");
            if begins {
                return listener;
            }
        }
    }

    pub(crate) async fn hear(&mut self) -> Told {
        let heard = self.client.hear().await;
        self.take(heard)
    }

    fn take(&mut self, heard: Heard) -> Told {
        let update = match heard {
            Heard::Close(code, reason) => return Told::Closed(code, reason),
            Heard::End => return Told::Gone,
            heard => (self.wire.update_in)(&heard),
        };
        let Some(update) = update else { return Told::Other };
        let bytes = update.len();
        let update = Update::validate(update, &MessageLimits::STORED).expect("the server sends valid updates");
        let added = self.document.add(&update, 0);
        assert_eq!(added.parked, None, "something before it was not told");
        match &added.parts[..] {
            [] => Told::Known(bytes),
            [Part::Whole] => Told::New(bytes),
            _ => Told::Partly(bytes),
        }
    }

    /// Hears until it was shown so much of a client's edits, and returns what it was told.
    pub(crate) async fn hear_until_shown(&mut self, id: u64, clock: u64) -> Vec<Told> {
        let mut heard = Vec::new();
        while self.shown(id) < clock {
            heard.push(self.hear().await);
            let ended = matches!(heard.last(), Some(Told::Closed(..) | Told::Gone));
            assert!(!ended, "at {} of {clock}, after {heard:?}", self.shown(id));
        }
        heard
    }

    /// Writes at the end of its own text.
    pub(crate) async fn write(&mut self, text: &str) {
        let update = self.writer.write(text);
        self.client.send_raw(&(self.wire.change)(&update)).await;
    }

    /// How much of a client's edits it was shown.
    pub(crate) fn shown(&self, id: u64) -> u64 {
        u64::from(self.document.state_vector().clock(id))
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        self.document.snapshot(false)
    }
}
