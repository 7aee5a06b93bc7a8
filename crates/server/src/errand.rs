//! A request that needs a room for a moment: to read the document, to merge an update into it, or to make it.
//!
//! Called by the HTTP APIs. A member like any other, at the near end of a channel, so every rule about rooms holds: rights, locks, limits, loading,
//! durability. Its dialect is spoken within the process only.

use crate::address::ClientAddress;
use crate::auth::Admission;
use crate::channel::{Ended, Far, channel};
use crate::frames::Frames;
use crate::room_kind::RoomKind;
use crate::transport::Stream;
use crate::worker::{Arrival, MakeSession, Visitor};
use crate::workers::{Shared, Workers};
use bytes::Bytes;
use dialect::{Act, Body, Dialect, Entry, Farewell, Frame, Kind, Session, Told};
use document::MessageLimits;
use document::wire::Invalid;
use room::notebook::{News, Request};
use room::{Access, Closing, Denied, Event, Input, Manner, MemberId, StateVector, Update};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::RoomKey;
use tokio::sync::{Notify, oneshot};

/// Longest wait for a room to be loaded, and for the disk.
const ERRAND_MAX: Duration = Duration::from_secs(30);

/// What is wanted of a room.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    /// Its whole document, as one update.
    Read,
    /// An update is to be merged. Done when that is saved.
    Merge(Bytes),
    /// It is to exist. Done when that is saved.
    Found,
}

/// Why an errand was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// The bytes are not a Yjs update.
    Invalid,
    /// It may only read.
    ReadOnly,
    /// Beyond a limit, in words.
    Beyond(String),
    /// The room is not there, or no longer.
    NotFound(String),
    /// It may not be there.
    Forbidden(String),
    /// It is worth trying again.
    Later(String),
}

/// Runs an errand in a room, as the rules about rooms call it. Reading returns the document, everything else nothing.
pub(crate) async fn run(
    workers: &Workers,
    room: &str,
    admission: Admission,
    address: ClientAddress,
    errand: Errand,
) -> Result<Bytes, NotDone> {
    let done = tokio::time::timeout(ERRAND_MAX, attend(workers, room, admission, address, errand)).await;
    done.unwrap_or_else(|_| Err(NotDone::Later("the room did not answer in time; try again later".to_owned())))
}

/// Whether a room has ever been written into.
pub(crate) async fn exists(shared: &Arc<Shared>, room: &str) -> Result<bool, NotDone> {
    let (store, key) = (shared.store.clone(), RoomKind::Document.key(room).into());
    let looked = tokio::task::spawn_blocking(move || store.exists(&key)).await;
    let later = |error: String| NotDone::Later(error);
    looked.map_err(|error| later(error.to_string()))?.map_err(|error| later(error.to_string()))
}

async fn attend(
    workers: &Workers,
    room: &str,
    admission: Admission,
    address: ClientAddress,
    errand: Errand,
) -> Result<Bytes, NotDone> {
    let news = Arc::new(Notify::new());
    let far = enter(workers, RoomKind::Document.key(room).into(), admission, address, None, &news);
    far.send(match errand {
        Errand::Read => Frame::text(READ),
        Errand::Found => Frame::text(FOUND),
        Errand::Merge(update) => Frame::Binary(update),
    });
    answer(&far, &news).await
}

/// Asks a notebook something, or writes into it. Returns the answer, which comes when what it says is as safe as it has to be.
pub(crate) async fn ask_notebook(
    workers: &Workers,
    notebook: &str,
    admission: Admission,
    address: ClientAddress,
    request: Request,
) -> Result<News, NotDone> {
    let (told, heard) = oneshot::channel();
    let enquiry: MakeSession = Box::new(|entry: &Entry<'_>| {
        Box::new(Enquiry { member: entry.member, request: Some(request), told: Some(told) }) as Box<dyn Session>
    });
    let news = Arc::new(Notify::new());
    let far = enter(workers, RoomKind::Notebook.key(notebook).into(), admission, address, Some(enquiry), &news);
    let done = async {
        tokio::select! {
            // What is done is done, also when the room ends at the same moment.
            biased;
            Ok(answer) = heard => Ok(answer),
            refused = answer(&far, &news) => match refused {
                Err(why) => Err(why),
                Ok(_) => Err(NotDone::Later("the room has ended".to_owned())),
            },
        }
    };
    let late = || Err(NotDone::Later("the notebook did not answer in time; try again later".to_owned()));
    tokio::time::timeout(ERRAND_MAX, done).await.unwrap_or_else(|_| late())
}

/// Enters a room as a member within the process.
fn enter(
    workers: &Workers,
    room: RoomKey,
    admission: Admission,
    address: ClientAddress,
    session: Option<MakeSession>,
    news: &Arc<Notify>,
) -> Far {
    let (near, far) = channel(news.clone());
    workers.enter(Arrival {
        stream: Stream::Channel(near),
        address,
        room,
        dialect: &Messenger,
        session,
        admission,
        visitor: Visitor::default(),
        hello: Vec::new(),
        deflate: false,
        early: Vec::new(),
        accepted: workers.shared.connections.companion(),
        deadline: Instant::now() + ERRAND_MAX,
    });
    far
}

/// One question to a notebook.
struct Enquiry {
    member: MemberId,
    request: Option<Request>,
    told: Option<oneshot::Sender<News>>,
}

impl Session for Enquiry {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        acts.extend(self.request.take().map(|request| Act::Room(Input::Notes(self.member, request))));
    }

    fn receive(&mut self, _: Frame, _: u64, _: &mut Vec<Act>) {}

    fn tell(&mut self, event: &Event) -> Told {
        if let Event::Notes(news) = event
            && let Some(told) = self.told.take()
        {
            // Nobody hears it who has gone away.
            let _ = told.send(news.clone());
        }
        Told::Own(Vec::new())
    }
}

/// Waits for the one message that answers.
async fn answer(far: &Far, news: &Notify) -> Result<Bytes, NotDone> {
    let mut frames = Frames::default();
    loop {
        let ended = far.take(frames.buffer());
        match frames.next() {
            Some(Frame::Binary(document)) => return Ok(document),
            Some(Frame::Text(word)) => return meaning(&word),
            None => {}
        }
        match ended {
            None => news.notified().await,
            Some(Ended::Refused(_, reason, _)) => return Err(NotDone::Later(reason)),
            Some(Ended::Connection(..) | Ended::Document) => {
                return Err(NotDone::Later("the room has ended".to_owned()));
            }
        }
    }
}

const READ: &str = "read";
const FOUND: &str = "found";
const DONE: &str = "done";
const READ_ONLY: &str = "read-only";
const INVALID: &str = "invalid";

fn meaning(word: &[u8]) -> Result<Bytes, NotDone> {
    let word = String::from_utf8_lossy(word);
    match &*word {
        DONE => Ok(Bytes::new()),
        READ_ONLY => Err(NotDone::ReadOnly),
        INVALID => Err(NotDone::Invalid),
        other => {
            let (kind, reason) = other.split_once(' ').unwrap_or((other, ""));
            let reason = reason.to_owned();
            Err(match kind {
                "beyond" => NotDone::Beyond(reason),
                "missing" => NotDone::NotFound(reason),
                "forbidden" => NotDone::Forbidden(reason),
                _ => NotDone::Later(reason),
            })
        }
    }
}

/// The dialect between an errand and its room.
#[derive(Debug)]
struct Messenger;

impl Dialect for Messenger {
    fn name(&self) -> &'static str {
        "http"
    }

    fn write<'a>(&self, event: &'a Event, _: &mut Vec<u8>) -> Option<Body<'a>> {
        match event {
            Event::Missing(document) => Some(Body { kind: Kind::Binary, rest: document }),
            _ => None,
        }
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let reason = dialect::Y_WEBSOCKET.farewell(closing).reason;
        let kind = match closing {
            Closing::Beyond(_) => "beyond",
            Closing::NotFound | Closing::Deleted => "missing",
            Closing::Unauthorized
            | Closing::Outdated
            | Closing::Forbidden
            | Closing::TokenExpired
            | Closing::Revoked
            | Closing::Removed { .. } => "forbidden",
            _ => "later",
        };
        let message = match closing {
            Closing::Malformed => INVALID.to_owned(),
            _ => format!("{kind} {reason}"),
        };
        Farewell { message: Some(Frame::text(message)), delay_ms: 0, code: None, reason }
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(Attendance { member: entry.member, limits: *entry.limits })
    }
}

struct Attendance {
    member: MemberId,
    limits: MessageLimits,
}

impl Session for Attendance {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        let manner = Manner { each_denial: true, malformed_per_minute_max: Some(1), ..Manner::default() };
        acts.push(Act::Room(Input::Adopt(self.member, manner)));
    }

    fn receive(&mut self, frame: Frame, _: u64, acts: &mut Vec<Act>) {
        let member = self.member;
        match frame {
            Frame::Text(word) if word == READ => {
                acts.push(Act::Room(Input::SyncInOne(member, StateVector::default())));
            }
            Frame::Text(_) => {
                acts.push(Act::Room(Input::Found(member)));
                acts.push(Act::Room(Input::Mark(member, Bytes::new())));
            }
            Frame::Binary(update) => acts.push(Act::Room(match Update::validate(update, &self.limits) {
                Ok(update) => Input::Update { member, author: None, is_answer: false, update },
                Err(Invalid::Malformed(_)) => Input::Malformed(member),
                Err(Invalid::Exceeded(exceeded)) => Input::Beyond(member, exceeded),
            })),
        }
    }

    fn tell(&mut self, event: &Event) -> Told {
        match event {
            Event::Saved { .. } | Event::Marked(_) => Told::Own(vec![Frame::text(DONE)]),
            Event::Denied(Denied::ReadOnly) => Told::Own(vec![Frame::text(READ_ONLY)]),
            _ => Told::InCommon,
        }
    }
}
