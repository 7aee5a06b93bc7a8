//! The addresses of one hocuspocus socket: which message is for which document, and what waits until a document is accepted.
//!
//! Called by the server, once for each binary message of such a socket, and with what became of a token or of a document. It never sends by itself, knows neither
//! tokens nor rooms nor time, and reads of a message only its address and whether it shows a token or says goodbye.

use super::{AUTH, CLOSE, DENIED, RESET, said, token_shown};
use bytes::Bytes;
use document::lib0::Reader;
use std::collections::HashMap;

/// A frame that is this byte alone is the answer to a ping, without an address.
const PONG: &[u8] = &[10];

const DOCUMENT_BYTES_MAX: usize = 1_024;
const SESSION_BYTES_MAX: usize = 128;
/// Of a token: no gate takes a longer one, and each is kept while it is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Before a document is accepted, over all addresses of a socket.
const QUEUED_BYTES_MAX: usize = 5 << 20;
const QUEUED_MESSAGES_MAX: usize = 1_000;
const PENDING_ADDRESSES_MAX: usize = 100;

/// What one message on the socket comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Routed {
    /// Nothing.
    Nothing,
    /// It is for the document of this line.
    To(usize, Bytes),
    /// The client wants a document, and shows a token for it. To be answered by `accept` or `refuse`.
    Asks {
        /// The line on which it is.
        line: usize,
        /// The document's name.
        document: String,
        /// May be empty.
        token: String,
    },
    /// The client is sent this.
    Reply(Vec<u8>),
    /// The socket is closed.
    Close(u16, &'static str),
}

/// The addresses of one socket. A line is an address for as long as it is not closed or refused.
#[derive(Debug, Default)]
pub struct Switchboard {
    lines: Vec<Option<Line>>,
    by_address: HashMap<Bytes, usize>,
    queued_bytes: usize,
    queued_messages: usize,
    pending: usize,
}

#[derive(Debug)]
struct Line {
    address: Bytes,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// No token was shown yet.
    Silent(Vec<Bytes>),
    /// Its token is being looked at.
    Asking(Vec<Bytes>),
    /// The same, but the client does not want the document any more.
    Left,
    /// It was accepted, and the client has closed it: what comes now is for its next life.
    Closing(Vec<Bytes>),
    Accepted,
}

impl Switchboard {
    /// Takes a binary message of the client.
    pub fn receive(&mut self, frame: &Bytes) -> Routed {
        if frame == PONG {
            return Routed::Nothing;
        }
        let mut reader = Reader::new(frame);
        let Ok(address) = reader.var_string() else { return Routed::Close(4401, "Unauthorized") };
        self.deliver(frame.slice_ref(address.as_bytes()), frame.slice(frame.len() - reader.remaining()..))
    }

    /// What a message to an address comes to.
    fn deliver(&mut self, address: Bytes, body: Bytes) -> Routed {
        let known = self.by_address.get(&address).copied();
        let shown = token_in(&body);
        match (known, shown) {
            (Some(line), _) if self.is_accepted(line) => {
                if is_goodbye(&body)
                    && let Some(Some(found)) = self.lines.get_mut(line)
                {
                    found.stage = Stage::Closing(Vec::new());
                }
                Routed::To(line, body)
            }
            (Some(line), Some(token)) if self.is_silent(line) && token.len() > TOKEN_BYTES_MAX => {
                self.close(line, []);
                Routed::Reply(denied(&address, "unauthorized"))
            }
            (Some(line), Some(token)) if self.is_silent(line) => self.asks(line, token),
            (None, Some(_)) if document_of(&address).is_none() => Routed::Reply(denied(&address, "permission-denied")),
            // Nobody is there, or ever can be: what is kept for later would be kept for nobody.
            (None, None) if is_goodbye(&body) || document_of(&address).is_none() => Routed::Nothing,
            (None, Some(token)) if token.len() > TOKEN_BYTES_MAX => Routed::Reply(denied(&address, "unauthorized")),
            (None, _) if self.pending == PENDING_ADDRESSES_MAX => Routed::Close(4205, RESET),
            (None, Some(token)) => {
                let line = self.open(address);
                self.asks(line, token)
            }
            (None, None) => {
                let line = self.open(address);
                self.keep(line, body)
            }
            // A page has thrown its editor away before it was let in; it may make another one.
            (Some(line), _) if is_goodbye(&body) && !self.is_closing(line) => self.leave(line),
            (Some(line), _) => self.keep(line, body),
        }
    }

    /// Lets a document's messages through, and returns those that came before. None: the client has left meanwhile.
    pub fn accept(&mut self, line: usize) -> Option<Vec<Bytes>> {
        let found = self.lines.get_mut(line)?.as_mut()?;
        if matches!(found.stage, Stage::Left) {
            self.close(line, []);
            return None;
        }
        let stage = std::mem::replace(&mut found.stage, Stage::Accepted);
        Some(self.forget_queue(stage))
    }

    /// Forgets an address with all that was said to it, and returns what follows.
    pub fn refuse(&mut self, line: usize, reason: &str) -> Vec<Routed> {
        let has_left = matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Left, .. })));
        let told = self.address(line).filter(|_| !has_left).map(|address| Routed::Reply(denied(address, reason)));
        told.into_iter().chain(self.close(line, [])).collect()
    }

    /// Forgets an address before it is accepted; its number is not used again while its token is looked at.
    fn leave(&mut self, line: usize) -> Routed {
        let Some(Some(found)) = self.lines.get_mut(line) else { return Routed::Nothing };
        if matches!(found.stage, Stage::Asking(_)) {
            let stage = std::mem::replace(&mut found.stage, Stage::Left);
            self.by_address.remove(&found.address);
            self.forget_queue(stage);
            // It still counts as one that is not accepted.
            self.pending += 1;
        } else {
            self.close(line, []);
        }
        Routed::Nothing
    }

    /// Forgets an address whose document has ended. `unread`: what the document has not looked at any more. Returns what the client has said to the address
    /// after that, for its next life: it may show a token before it is known here that the document has ended.
    pub fn close(&mut self, line: usize, unread: impl IntoIterator<Item = Bytes>) -> Vec<Routed> {
        let mut next_life = Vec::new();
        if let Some(found) = self.lines.get_mut(line).and_then(Option::take) {
            match found.stage {
                Stage::Left => self.pending -= 1,
                Stage::Closing(queue) => {
                    self.by_address.remove(&found.address);
                    self.queued_messages -= queue.len();
                    self.queued_bytes -= queue.iter().map(Bytes::len).sum::<usize>();
                    next_life.extend(queue.into_iter().map(|body| self.deliver(found.address.clone(), body)));
                }
                Stage::Accepted => {
                    self.by_address.remove(&found.address);
                    let later = unread.into_iter().skip_while(|body| token_in(body).is_none());
                    next_life.extend(later.map(|body| self.deliver(found.address.clone(), body)));
                }
                stage => {
                    self.by_address.remove(&found.address);
                    self.forget_queue(stage);
                }
            }
        }
        while self.lines.last().is_some_and(Option::is_none) {
            self.lines.pop();
        }
        next_life
    }

    /// What comes before every message to the client on a line: the address, with its length.
    pub fn prefix(&self, line: usize) -> Vec<u8> {
        self.address(line).map_or(Vec::new(), |address| said(&[], address))
    }

    /// A document that was accepted, if there is one: on its line the client can be told something that means nothing.
    pub fn any_accepted(&self) -> Option<usize> {
        (0..self.lines.len()).find(|line| self.is_accepted(*line))
    }

    /// Bytes that it keeps, about.
    pub fn bytes(&self) -> usize {
        let addresses: usize = self.lines.iter().flatten().map(|line| line.address.len()).sum();
        let queued = self.queued_bytes + self.queued_messages * size_of::<Bytes>();
        queued + addresses + self.lines.len() * (size_of::<Line>() + 2 * size_of::<Bytes>())
    }

    fn address(&self, line: usize) -> Option<&Bytes> {
        self.lines.get(line)?.as_ref().map(|line| &line.address)
    }

    fn is_accepted(&self, line: usize) -> bool {
        matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Accepted, .. })))
    }

    fn is_silent(&self, line: usize) -> bool {
        matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Silent(_), .. })))
    }

    fn is_closing(&self, line: usize) -> bool {
        matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Closing(_), .. })))
    }

    fn open(&mut self, address: Bytes) -> usize {
        // A copy: it outlives the frame, which may be large.
        let address = Bytes::copy_from_slice(&address);
        let free = self.lines.iter().position(Option::is_none).unwrap_or(self.lines.len());
        if free == self.lines.len() {
            self.lines.push(None);
        }
        self.by_address.insert(address.clone(), free);
        self.lines[free] = Some(Line { address, stage: Stage::Silent(Vec::new()) });
        self.pending += 1;
        free
    }

    fn asks(&mut self, line: usize, token: String) -> Routed {
        let Some(Some(found)) = self.lines.get_mut(line) else { return Routed::Nothing };
        // Others have no line.
        let Some(document) = document_of(&found.address) else { return Routed::Nothing };
        if let Stage::Silent(queue) = &mut found.stage {
            found.stage = Stage::Asking(std::mem::take(queue));
        }
        Routed::Asks { line, document, token }
    }

    /// Keeps a message until its document is accepted.
    fn keep(&mut self, line: usize, body: Bytes) -> Routed {
        if self.queued_bytes + body.len() > QUEUED_BYTES_MAX || self.queued_messages == QUEUED_MESSAGES_MAX {
            return Routed::Close(4205, RESET);
        }
        let found = self.lines.get_mut(line).and_then(Option::as_mut).map(|line| &mut line.stage);
        if let Some(Stage::Silent(queue) | Stage::Asking(queue) | Stage::Closing(queue)) = found {
            (self.queued_bytes, self.queued_messages) = (self.queued_bytes + body.len(), self.queued_messages + 1);
            // A copy: what it came in, and what else was read with it, is not to wait too.
            queue.push(Bytes::copy_from_slice(&body));
        }
        Routed::Nothing
    }

    fn forget_queue(&mut self, stage: Stage) -> Vec<Bytes> {
        let (Stage::Silent(queue) | Stage::Asking(queue)) = stage else { return Vec::new() };
        self.pending -= 1;
        self.queued_messages -= queue.len();
        self.queued_bytes -= queue.iter().map(Bytes::len).sum::<usize>();
        queue
    }
}

/// The token that a message shows, when it is one that does.
fn token_in(body: &[u8]) -> Option<String> {
    let mut reader = Reader::new(body);
    let is_auth = reader.var_uint() == Ok(u64::from(AUTH));
    if is_auth { token_shown(&mut reader).ok().flatten() } else { None }
}

/// Whether a message says that the client leaves the document.
fn is_goodbye(body: &[u8]) -> bool {
    Reader::new(body).var_uint() == Ok(u64::from(CLOSE))
}

/// The document that an address means, if any can be called so: up to the first NUL, behind which a session is named.
fn document_of(address: &[u8]) -> Option<String> {
    let address = std::str::from_utf8(address).ok()?;
    let (document, session) =
        address.split_once('\0').map_or((address, None), |(document, rest)| (document, Some(rest)));
    let is_named = (1..=DOCUMENT_BYTES_MAX).contains(&document.len())
        && !document.trim().is_empty()
        && !document.chars().any(char::is_control);
    let is_session = |session: &str| (1..=SESSION_BYTES_MAX).contains(&session.len()) && !session.contains('\0');
    (is_named && session.is_none_or(is_session)).then(|| document.to_owned())
}

fn denied(address: &[u8], reason: &str) -> Vec<u8> {
    let mut out = said(&[], address);
    out.extend(said(&[AUTH, DENIED], reason.as_bytes()));
    out
}
