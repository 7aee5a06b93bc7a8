//! A page with a Hocuspocus provider as the tests need it: one socket, on it any number of documents by their addresses, each kept as the server has shown it.

use crate::provider::{self, Said, Writer};
use bytes::Bytes;
use document::lib0::{Reader, write_var_bytes};
use document::{Document, MessageLimits, RoomLimits, Update};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use testkit::client::{Client, Heard};

pub(crate) const QUERY: &[u8] = &[3];
pub(crate) const GOODBYE: &[u8] = &[7];

/// What the server says of one document, or of the socket (with an empty address).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Accepted(String),
    Refused(String),
    /// A fresh token is asked for.
    Asked,
    /// What the stock provider is told too.
    Room(Said),
    Stateless(String),
    /// The document is closed.
    Ended(String),
    /// Whether a change is saved.
    Status(bool),
    Closed(u16, String),
    Gone,
}

/// A message for one address.
pub(crate) fn to(address: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    write_var_bytes(&mut message, address.as_bytes());
    message.extend_from_slice(body);
    message
}

/// Shows a token.
pub(crate) fn auth(token: &str) -> Vec<u8> {
    let mut body = vec![2, 0];
    write_var_bytes(&mut body, token.as_bytes());
    write_var_bytes(&mut body, b"4.8.0");
    body
}

pub(crate) fn stateless(words: &str) -> Vec<u8> {
    let mut body = vec![5];
    write_var_bytes(&mut body, words.as_bytes());
    body
}

/// One document of a page.
#[derive(Debug)]
struct Part {
    document: Document,
    writer: Writer,
    saved: usize,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) client: Client,
    /// Its client id in every document.
    id: u64,
    parts: BTreeMap<String, Part>,
    open: bool,
}

impl Page {
    pub(crate) async fn open(address: SocketAddr, id: u64) -> Self {
        Self::on(Client::connect(address, "/").await, id)
    }

    pub(crate) fn on(client: Client, id: u64) -> Self {
        Self { client, id, parts: BTreeMap::new(), open: true }
    }

    /// A page that has these documents, without a token.
    pub(crate) async fn with(address: SocketAddr, id: u64, documents: &[&str]) -> Self {
        let mut page = Self::open(address, id).await;
        for document in documents {
            page.enter(document, "").await;
        }
        page
    }

    /// Shows a token for a document and waits until it has all that is there. Returns its scope.
    pub(crate) async fn enter(&mut self, address: &str, token: &str) -> String {
        match self.try_enter(address, token).await {
            Told::Accepted(scope) => scope,
            other => panic!("{address} is not accepted but {other:?}"),
        }
    }

    /// The same where it may be refused.
    pub(crate) async fn try_enter(&mut self, address: &str, token: &str) -> Told {
        self.say(address, &auth(token)).await;
        let answer = self.hear_from(address, |told| matches!(told, Told::Accepted(_) | Told::Refused(_))).await;
        if matches!(answer, Told::Accepted(_)) {
            let (document, writer) = (Document::new(RoomLimits::STORED), Writer::new(self.id));
            self.parts.insert(address.to_owned(), Part { document, writer, saved: 0 });
            self.say(address, &provider::step_1(&[0])).await;
            self.hear_from(address, |told| matches!(told, Told::Room(Said::Missing(_)))).await;
            let clock = self.shown(address, self.id);
            self.part(address).writer.clock = clock;
        }
        answer
    }

    pub(crate) async fn say(&mut self, address: &str, body: &[u8]) {
        self.client.send(&to(address, body)).await;
    }

    /// Writes at the end of its own text in a document.
    pub(crate) async fn write(&mut self, address: &str, text: &str) {
        let update = self.part(address).writer.write(text);
        self.say(address, &provider::update(&update)).await;
    }

    pub(crate) async fn write_and_save(&mut self, address: &str, text: &str) {
        let saved = self.saved(address);
        self.write(address, text).await;
        self.until_saved(address, saved + 1).await;
    }

    /// Waits until so many changes of a document are saved.
    pub(crate) async fn until_saved(&mut self, address: &str, count: usize) {
        while self.saved(address) < count {
            self.hear_open().await;
        }
    }

    /// Waits until the server has shown so much of a client's edits in a document.
    pub(crate) async fn until_shown(&mut self, address: &str, id: u64, clock: u64) {
        while self.shown(address, id) < clock {
            self.hear_open().await;
        }
    }

    async fn hear_open(&mut self) {
        let heard = self.hear().await;
        assert!(self.open, "ended too early: {heard:?}");
    }

    /// The next message, with its address.
    pub(crate) async fn hear(&mut self) -> (String, Told) {
        let (address, told) = match self.client.hear().await {
            Heard::Message(bytes) => read(&bytes),
            Heard::Close(code, reason) => (String::new(), Told::Closed(code, reason)),
            Heard::End => (String::new(), Told::Gone),
            other => panic!("{other:?} from the server"),
        };
        self.open &= !matches!(told, Told::Closed(..) | Told::Gone);
        if let Some(part) = self.parts.get_mut(&address) {
            match &told {
                Told::Room(Said::Missing(bytes) | Said::Update(bytes)) => {
                    let update =
                        Update::validate(&bytes[..], &MessageLimits::STORED).expect("the server sends valid updates");
                    part.document.add(&update, 0);
                }
                Told::Status(true) => part.saved += 1,
                _ => {}
            }
        }
        (address, told)
    }

    /// The first message for an address that `fits`; all before it are taken in.
    pub(crate) async fn hear_from(&mut self, address: &str, fits: impl Fn(&Told) -> bool) -> Told {
        loop {
            let (from, told) = self.hear().await;
            if from == address && fits(&told) {
                return told;
            }
            assert!(self.open, "ended too early: {told:?}");
        }
    }

    /// Waits for the status of a change, whichever it is.
    pub(crate) async fn status(&mut self, address: &str) -> bool {
        self.hear_from(address, |told| matches!(told, Told::Status(_))).await == Told::Status(true)
    }

    /// Waits until a document is closed, and returns the reason. It can be entered again.
    pub(crate) async fn until_ended(&mut self, address: &str) -> String {
        match self.hear_from(address, |told| matches!(told, Told::Ended(_))).await {
            Told::Ended(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// What it is told of a document until a question is answered that is answered at once and in its turn.
    pub(crate) async fn heard_by_now(&mut self, address: &str) -> Vec<Told> {
        self.say(address, QUERY).await;
        let mut heard = Vec::new();
        loop {
            let (from, told) = self.hear().await;
            assert!(self.open, "ended too early: {told:?}");
            match told {
                Told::Room(Said::Awareness(_)) if from == address => return heard,
                told if from == address => heard.push(told),
                _ => {}
            }
        }
    }

    /// Everything up to the end, which has to be a close frame.
    pub(crate) async fn until_closed(&mut self) -> (Vec<(String, Told)>, u16, String) {
        let mut heard = Vec::new();
        loop {
            match self.hear().await {
                (_, Told::Closed(code, reason)) => return (heard, code, reason),
                (_, Told::Gone) => panic!("the connection ended without a close frame, after {} messages", heard.len()),
                other => heard.push(other),
            }
        }
    }

    /// How much of a client's edits the server has shown it in a document.
    pub(crate) fn shown(&self, address: &str, id: u64) -> u64 {
        self.parts.get(address).map_or(0, |part| u64::from(part.document.state_vector().clock(id)))
    }

    /// Changes of its own in a document of which it was told that they are saved.
    pub(crate) fn saved(&self, address: &str) -> usize {
        self.parts.get(address).map_or(0, |part| part.saved)
    }

    /// How far it has written in a document.
    pub(crate) fn written(&self, address: &str) -> u64 {
        self.parts.get(address).map_or(0, |part| part.writer.clock)
    }

    pub(crate) fn content(&self, address: &str) -> Vec<u8> {
        self.parts[address].document.snapshot(false)
    }

    fn part(&mut self, address: &str) -> &mut Part {
        self.parts.get_mut(address).expect("a document that was entered")
    }
}

fn read(message: &Bytes) -> (String, Told) {
    let mut reader = Reader::new(message);
    let address = reader.var_string().expect("an address").to_owned();
    let body = message.slice(message.len() - reader.remaining()..);
    let string = |from: usize| {
        let mut reader = Reader::new(&body[from..]);
        let words = reader.var_string().expect("text").to_owned();
        assert!(reader.is_empty(), "one message a frame, but: {message:02x?}");
        words
    };
    let told = match *body {
        [0 | 1, ..] => Told::Room(provider::read(&body)),
        [2, 0] => Told::Asked,
        [2, 1, ..] => Told::Refused(string(2)),
        [2, 2, ..] => Told::Accepted(string(2)),
        [5, ..] => Told::Stateless(string(1)),
        [7, ..] => Told::Ended(string(1)),
        [8, saved @ (0 | 1)] => Told::Status(saved == 1),
        _ => panic!("{message:02x?} from the server"),
    };
    (address, told)
}
