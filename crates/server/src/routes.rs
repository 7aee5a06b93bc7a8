//! Which dialect an upgrade request is for: by its path only, never by what its frames look like. Called by the acceptor before
//! anything else is decided. The table is the one in the protocol documents; the first row that matches wins.

use crate::config::Config;
use crate::request::{RoomNameError, check_room_name, error_response, percent_decode, text_response, y_websocket_room};
use crate::room_kind::RoomKind;
use dialect::Dialect;

/// Where the dialects are mounted: prefixes with a leading and without a trailing slash; `None`: switched off. A row that is switched off leaves its
/// paths to the rows below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// Prefix of y-websocket rooms.
    pub y_websocket: Option<String>,
    /// Any path that is not reserved names a y-websocket room, so `ws://host` works as a provider's server URL.
    pub root_rooms: bool,
    /// Path of hocuspocus clients.
    pub hocuspocus: Option<String>,
    /// They may also connect without a path.
    pub root_hocuspocus: bool,
    /// Prefix of the y-sweet API; empty: none.
    pub y_sweet: Option<String>,
    /// Path of json-yjs clients.
    pub json_yjs: Option<String>,
    /// Prefix of documents of the sessions dialect.
    pub sessions: Option<String>,
    /// Path of notes clients.
    pub notes: Option<String>,
    /// Prefix of the paths of room-db clients; empty: none.
    pub room_db: Option<String>,
}

impl Default for Mounts {
    fn default() -> Self {
        let at = |path: &str| Some(path.to_owned());
        Mounts {
            y_websocket: at("/y"),
            root_rooms: true,
            hocuspocus: at("/hocuspocus"),
            root_hocuspocus: true,
            y_sweet: at(""),
            json_yjs: at("/ws"),
            sessions: at("/ws/document"),
            notes: at("/sync"),
            room_db: at(""),
        }
    }
}

impl Mounts {
    /// Everything switched off.
    pub(crate) fn nowhere() -> Self {
        Mounts {
            y_websocket: None,
            root_rooms: false,
            hocuspocus: None,
            root_hocuspocus: false,
            y_sweet: None,
            json_yjs: None,
            sessions: None,
            notes: None,
            room_db: None,
        }
    }

    /// What is where, in words, for people.
    pub(crate) fn listed(&self) -> Vec<(&'static str, String)> {
        let behind = |mount: &Option<String>, rest: &str| mount.as_ref().map(|mount| format!("{mount}{rest}"));
        let rows = [
            (JSON_YJS, behind(&self.json_yjs, "?draftId={id}")),
            (SESSIONS, behind(&self.sessions, "/{id}")),
            (NOTES, self.notes.clone()),
            (ROOM_DB, behind(&self.room_db, "/websocket?room_id={id}")),
            (Y_SWEET, behind(&self.y_sweet, "/d/{id}/ws/{id}")),
            (HOCUSPOCUS, self.root_hocuspocus.then(|| "/".to_owned())),
            (HOCUSPOCUS, self.hocuspocus.clone()),
            (Y_WEBSOCKET, behind(&self.y_websocket, "/{room}")),
            (Y_WEBSOCKET, self.root_rooms.then(|| "/{room}".to_owned())),
        ];
        rows.into_iter().filter_map(|(protocol, path)| Some((protocol.name(), path?))).collect()
    }
}

/// The dialect of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Of stock Yjs WebSocket providers.
    YWebsocket,
    /// Of the Hocuspocus provider.
    Hocuspocus,
    /// Of the Y-Sweet client.
    YSweet,
    /// Yjs updates as JSON.
    JsonYjs,
    /// Documents with people who join and leave.
    Sessions,
    /// Whole notes.
    Notes,
    /// A SQL database in each room.
    RoomDb,
}

use Protocol::{
    Hocuspocus as HOCUSPOCUS, JsonYjs as JSON_YJS, Notes as NOTES, RoomDb as ROOM_DB, Sessions as SESSIONS,
    YSweet as Y_SWEET, YWebsocket as Y_WEBSOCKET,
};

impl Protocol {
    /// What speaks it, as the configuration wants it.
    pub(crate) fn dialect(self, config: &Config) -> &'static dyn Dialect {
        match self {
            Protocol::YWebsocket if !config.y_websocket.echo => dialect::Y_WEBSOCKET_SILENT,
            Protocol::YWebsocket => dialect::Y_WEBSOCKET,
            Protocol::Hocuspocus => dialect::HOCUSPOCUS,
            Protocol::YSweet if config.y_sweet.production => dialect::Y_SWEET_TERSE,
            Protocol::YSweet => dialect::Y_SWEET,
            Protocol::JsonYjs => dialect::JSON_YJS,
            Protocol::Sessions => dialect::SESSIONS,
            Protocol::Notes => dialect::NOTES,
            Protocol::RoomDb => dialect::ROOM_DB,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::YWebsocket => "y-websocket",
            Protocol::Hocuspocus => "hocuspocus",
            Protocol::YSweet => "y-sweet",
            Protocol::JsonYjs => "json-yjs",
            Protocol::Sessions => "sessions",
            Protocol::Notes => "notes",
            Protocol::RoomDb => "room-db",
        }
    }

    /// What its rooms are about.
    pub(crate) fn room_kind(self) -> RoomKind {
        match self {
            Protocol::Notes => RoomKind::Notebook,
            Protocol::RoomDb => RoomKind::Database,
            _ => RoomKind::Document,
        }
    }
}

/// What is at a path for an upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The server's own pages and APIs; never a room.
    Own,
    /// A room.
    Room {
        /// What is spoken there.
        protocol: Protocol,
        /// Percent-decoded, and within the rules for names.
        room: String,
    },
    /// A place where clients say themselves which rooms they want.
    Lobby(Protocol),
    /// A path whose room name breaks the rules.
    InvalidRoomName(RoomNameError),
    /// A path with a document's id that no document can have.
    InvalidDocumentId,
    /// A path with two ids that differ.
    TwoIds,
    /// System-wide notices of the sessions service, which were never implemented there either.
    Notices,
    /// Reserved, and empty.
    NotFound,
}

impl Route {
    /// The HTTP response for a route that leads to no socket; `None` for a room and for the server's own paths.
    pub fn refusal(&self) -> Option<Vec<u8>> {
        match self {
            Route::Own | Route::Room { .. } | Route::Lobby(_) => None,
            // Clients compare this text; which rule was broken is for the log.
            Route::InvalidRoomName(_) => Some(error_response(400, "invalid room name", None)),
            Route::InvalidDocumentId => Some(text_response(400, "Something went wrong: Invalid document name")),
            Route::TwoIds => {
                Some(text_response(400, "Something went wrong: the two document ids of the path must be equal"))
            }
            Route::Notices => Some(text_response(501, "Not implemented yet")),
            Route::NotFound => Some(error_response(404, "nothing is served at this path", None)),
        }
    }
}

/// What a row of the table leads to.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Own,
    Notices,
    NotFound,
    JsonYjs,
    Session,
    Notes,
    RoomDb,
    YSweet,
    Hocuspocus,
    RootHocuspocus,
    MountedRoom,
    RootRoom,
}

/// Behind the mount of its goal, `{…}` stands for one segment that is not empty, `*` for all that is left (which may be an empty segment).
const ROWS: &[(&str, Goal)] = &[
    ("/_concord", Goal::Own),
    ("/_concord/*", Goal::Own),
    ("", Goal::JsonYjs),
    ("/{id}", Goal::Session),
    ("/ws/updates", Goal::Notices),
    ("/ws/*", Goal::NotFound),
    ("", Goal::Notes),
    ("/websocket", Goal::RoomDb),
    ("/connect", Goal::RoomDb),
    ("/__ws/websocket", Goal::RoomDb),
    ("/__ws/connect", Goal::RoomDb),
    ("/d/{id}/ws/{id}", Goal::YSweet),
    ("/doc/ws/{id}", Goal::YSweet),
    ("/", Goal::RootHocuspocus),
    ("", Goal::Hocuspocus),
    ("/*", Goal::MountedRoom),
    ("/api/*", Goal::NotFound),
    ("/health", Goal::NotFound),
    ("/ready", Goal::NotFound),
    ("/check_store", Goal::NotFound),
    ("/doc/*", Goal::NotFound),
    ("/d/*", Goal::NotFound),
    ("/*", Goal::RootRoom),
];

/// Bytes of an id of the sessions dialect, after decoding.
const SESSION_ID_BYTES_MAX: usize = 256;
/// Characters of a y-sweet document's id.
const DOCUMENT_ID_MAX: usize = 128;

/// The route of a path as it was sent: percent-encoded, without the query.
pub fn route(path: &str, mounts: &Mounts) -> Route {
    let found = ROWS.iter().find_map(|(pattern, goal)| {
        let prefix = match goal {
            Goal::MountedRoom => mounts.y_websocket.as_deref()?,
            Goal::Hocuspocus => mounts.hocuspocus.as_deref()?,
            Goal::YSweet => mounts.y_sweet.as_deref()?,
            Goal::JsonYjs => mounts.json_yjs.as_deref()?,
            Goal::Session => mounts.sessions.as_deref()?,
            Goal::Notes => mounts.notes.as_deref()?,
            Goal::RoomDb => mounts.room_db.as_deref()?,
            Goal::RootRoom if !mounts.root_rooms => return None,
            Goal::RootHocuspocus if !mounts.root_hocuspocus => return None,
            _ => "",
        };
        captures(path, prefix, pattern).map(|captured| (*goal, captured))
    });
    let Some((goal, captured)) = found else { return Route::NotFound };
    let first = captured.first().copied().unwrap_or_default();
    match goal {
        Goal::Own => Route::Own,
        Goal::Notices => Route::Notices,
        Goal::NotFound => Route::NotFound,
        Goal::JsonYjs => Route::Lobby(Protocol::JsonYjs),
        Goal::Notes => Route::Lobby(Protocol::Notes),
        Goal::RoomDb => Route::Lobby(Protocol::RoomDb),
        Goal::Hocuspocus | Goal::RootHocuspocus => Route::Lobby(Protocol::Hocuspocus),
        Goal::Session => match y_websocket_room(first) {
            Ok(room) if room.len() <= SESSION_ID_BYTES_MAX && !room.contains('/') => {
                Route::Room { protocol: Protocol::Sessions, room }
            }
            Ok(room) if room.contains('/') => Route::InvalidRoomName(RoomNameError::Slash),
            Ok(_) => Route::InvalidRoomName(RoomNameError::TooLong),
            Err(error) => Route::InvalidRoomName(error),
        },
        Goal::YSweet if captured.iter().any(|id| percent_decode(id) != percent_decode(first)) => Route::TwoIds,
        Goal::YSweet => match document_id(first) {
            Some(room) => Route::Room { protocol: Protocol::YSweet, room },
            None => Route::InvalidDocumentId,
        },
        Goal::MountedRoom | Goal::RootRoom => match y_websocket_room(first) {
            Ok(room) => Route::Room { protocol: Protocol::YWebsocket, room },
            Err(error) => Route::InvalidRoomName(error),
        },
    }
}

/// The id of a y-sweet document, as it stands in a path: 1 to 128 letters, digits, hyphens and underscores.
pub(crate) fn document_id(segment: &str) -> Option<String> {
    let id = String::from_utf8(percent_decode(segment).into_owned()).ok()?;
    is_document_id(&id).then_some(id)
}

/// Whether a y-sweet document may be called so.
pub(crate) fn is_document_id(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=DOCUMENT_ID_MAX).contains(&id.len()) && id.bytes().all(legal)
}

/// Whether a json-yjs draft may be called so: 1 to 256 bytes without control characters. Names that no path can have are left out too.
pub(crate) fn is_draft_id(id: &str) -> bool {
    id.len() <= SESSION_ID_BYTES_MAX && check_room_name(id).is_ok()
}

/// What the segments in braces and `*` stand for when `path` matches `prefix` + `pattern`. The path is split at its literal
/// slashes first and each segment decoded afterwards, so `%2F` never makes a segment, and `/%77s` is `/ws`.
fn captures<'p>(path: &'p str, prefix: &str, pattern: &str) -> Option<Vec<&'p str>> {
    let (mut rest, mut captured) = (Some(path.strip_prefix('/')?), Vec::new());
    for part in prefix.split('/').skip(1).chain(pattern.split('/').skip(1)) {
        let remaining = rest?;
        if part == "*" {
            captured.push(remaining);
            return Some(captured);
        }
        let (segment, after) = match remaining.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (remaining, None),
        };
        if part.starts_with('{') && !segment.is_empty() {
            captured.push(segment);
        } else if part.starts_with('{') || *percent_decode(segment) != *part.as_bytes() {
            return None;
        }
        rest = after;
    }
    rest.is_none().then_some(captured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Route {
        in_dialect(Protocol::YWebsocket, name)
    }

    fn in_dialect(protocol: Protocol, room: &str) -> Route {
        Route::Room { protocol, room: room.to_owned() }
    }

    #[test]
    fn paths_lead_where_the_table_says() {
        let cases: &[(&str, Route)] = &[
            ("/_concord/status", Route::Own),
            ("/_concord", Route::Own),
            ("/%5fconcord/status", Route::Own),
            ("/ws", Route::Lobby(Protocol::JsonYjs)),
            ("/%77s", Route::Lobby(Protocol::JsonYjs)),
            ("/ws/document/d1", in_dialect(Protocol::Sessions, "d1")),
            ("/ws/document/a%20b", in_dialect(Protocol::Sessions, "a b")),
            ("/ws/document/d%2F1", Route::InvalidRoomName(RoomNameError::Slash)),
            ("/ws/document/%00", Route::InvalidRoomName(RoomNameError::Control)),
            ("/ws/document/", Route::NotFound),
            ("/ws/document/doc/room", Route::NotFound),
            ("/ws/updates", Route::Notices),
            ("/ws/", Route::NotFound),
            ("/ws/other", Route::NotFound),
            ("/ws%2Fother", room("ws/other")),
            ("/wsx", room("wsx")),
            ("/sync", Route::Lobby(Protocol::Notes)),
            ("/sync/more", room("sync/more")),
            ("/websocket", Route::Lobby(Protocol::RoomDb)),
            ("/connect", Route::Lobby(Protocol::RoomDb)),
            ("/__ws/websocket", Route::Lobby(Protocol::RoomDb)),
            ("/__ws/connect", Route::Lobby(Protocol::RoomDb)),
            ("/__ws/else", room("__ws/else")),
            ("/d/one/ws/one", in_dialect(Protocol::YSweet, "one")),
            ("/d/one/ws/two", Route::TwoIds),
            ("/d/o%6ee/ws/one", in_dialect(Protocol::YSweet, "one")),
            ("/doc/ws/one", in_dialect(Protocol::YSweet, "one")),
            ("/doc/ws/one!", Route::InvalidDocumentId),
            ("/d/one/ws", Route::NotFound),
            ("/d/one/ws/", Route::NotFound),
            ("/", Route::Lobby(Protocol::Hocuspocus)),
            ("/hocuspocus", Route::Lobby(Protocol::Hocuspocus)),
            ("/hocuspocus/", room("hocuspocus/")),
            ("/y/demo", room("demo")),
            ("/y/team/notes%207/", room("team/notes 7/")),
            ("/y/ws", room("ws")),
            ("/y/y/demo", room("y/demo")),
            ("/y/", Route::InvalidRoomName(RoomNameError::Empty)),
            ("/y", room("y")),
            ("/api/drafts", Route::NotFound),
            ("/api", room("api")),
            ("/health", Route::NotFound),
            ("/ready", Route::NotFound),
            ("/check_store", Route::NotFound),
            ("/doc/new", Route::NotFound),
            ("/d/one/as-update", Route::NotFound),
            ("/demo-document", room("demo-document")),
            ("/a%20b", room("a b")),
            ("//double", room("/double")),
            ("/a/../ws", Route::InvalidRoomName(RoomNameError::DotSegment)),
            ("/%ff", Route::InvalidRoomName(RoomNameError::NotUtf8)),
            ("*", Route::NotFound),
            ("", Route::NotFound),
        ];
        for (path, expected) in cases {
            assert_eq!(route(path, &Mounts::default()), *expected, "{path}");
        }
    }

    #[test]
    fn rows_can_be_moved_and_switched_off() {
        let at = |path: &str| Some(path.to_owned());
        let moved = Mounts {
            y_websocket: at("/live/yjs"),
            hocuspocus: at("/live/hp"),
            y_sweet: at("/sweet"),
            json_yjs: at("/drafts"),
            sessions: at("/kb"),
            notes: at("/live/notes"),
            room_db: at("/console"),
            root_rooms: false,
            root_hocuspocus: false,
        };
        let off = Mounts { root_rooms: true, ..Mounts::nowhere() };
        let nothing = Mounts::nowhere();
        let cases: &[(&Mounts, &str, Route)] = &[
            (&moved, "/live/yjs/team/7", room("team/7")),
            (&moved, "/live/yjs", Route::NotFound),
            (&moved, "/y/demo", Route::NotFound),
            (&moved, "/ws", Route::NotFound),
            (&moved, "/drafts", Route::Lobby(Protocol::JsonYjs)),
            (&moved, "/kb/d1", in_dialect(Protocol::Sessions, "d1")),
            (&moved, "/ws/document/d1", Route::NotFound),
            (&moved, "/sweet/d/one/ws/one", in_dialect(Protocol::YSweet, "one")),
            (&moved, "/d/one/ws/one", Route::NotFound),
            (&moved, "/live/hp", Route::Lobby(Protocol::Hocuspocus)),
            (&moved, "/", Route::NotFound),
            (&moved, "/live/notes", Route::Lobby(Protocol::Notes)),
            (&moved, "/sync", Route::NotFound),
            (&moved, "/console/connect", Route::Lobby(Protocol::RoomDb)),
            (&moved, "/connect", Route::NotFound),
            (&off, "/ws", room("ws")),
            (&off, "/hocuspocus", room("hocuspocus")),
            (&off, "/y/demo", room("y/demo")),
            (&nothing, "/y/demo", Route::NotFound),
            (&nothing, "/demo", Route::NotFound),
        ];
        for (mounts, path, expected) in cases {
            assert_eq!(route(path, mounts), *expected, "{path}");
        }
    }

    #[test]
    fn refusals_name_the_dialect() {
        let cases: &[(Route, Option<(&str, &str)>)] = &[
            (room("r"), None),
            (Route::Own, None),
            (Route::Notices, Some(("HTTP/1.1 501 ", "\r\n\r\nNot implemented yet"))),
            (Route::NotFound, Some(("HTTP/1.1 404 ", "{\"error\":\"nothing is served at this path\"}"))),
            (
                Route::InvalidRoomName(RoomNameError::Empty),
                Some(("HTTP/1.1 400 ", "\r\n\r\n{\"error\":\"invalid room name\"}")),
            ),
        ];
        for (route, expected) in cases {
            let refusal = route.refusal().map(|bytes| String::from_utf8(bytes).expect("text"));
            assert_eq!(refusal.is_some(), expected.is_some(), "{route:?}");
            if let (Some(refusal), Some((start, end))) = (refusal, expected) {
                assert!(refusal.starts_with(start) && refusal.contains(end), "{refusal}");
            }
        }
    }
}
