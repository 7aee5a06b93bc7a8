//! Which dialect an upgrade request is for: by its path only, never by what its frames look like. Called by the acceptor before
//! anything else is decided. The table is the one in the protocol documents; the first row that matches wins.

use crate::request::{RoomNameError, error_response, percent_decode, text_response, y_websocket_room};

/// Where the dialects are mounted. A row that is switched off leaves its paths to the rows below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// Prefix of y-websocket rooms, with a leading and without a trailing slash; `None`: switched off.
    pub y_websocket: Option<String>,
    /// Any path that is not reserved names a y-websocket room, so `ws://host` works as a provider's server URL.
    pub root_rooms: bool,
}

impl Default for Mounts {
    fn default() -> Self {
        Mounts { y_websocket: Some("/y".to_owned()), root_rooms: true }
    }
}

/// What is at a path for an upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The server's own pages and APIs; never a room.
    Own,
    /// A room for stock Yjs WebSocket providers.
    YWebsocket {
        /// Percent-decoded, and within the rules for names.
        room: String,
    },
    /// A y-websocket path whose room name breaks the rules.
    InvalidRoomName(RoomNameError),
    /// A dialect that this build does not have.
    NotImplemented {
        /// Its name in the protocol documents.
        dialect: &'static str,
    },
    /// System-wide notices of the sessions service, which were never implemented there either.
    Notices,
    /// Reserved, and empty.
    NotFound,
}

impl Route {
    /// The HTTP response for a route that leads to no socket; `None` for a room and for the server's own paths.
    pub fn refusal(&self) -> Option<Vec<u8>> {
        match self {
            Route::Own | Route::YWebsocket { .. } => None,
            // Clients compare this text; which rule was broken is for the log.
            Route::InvalidRoomName(_) => Some(error_response(400, "invalid room name", None)),
            Route::NotImplemented { dialect } => {
                let error =
                    format!("this server does not speak the {dialect} protocol yet; y-websocket clients are served");
                Some(error_response(501, &error, None))
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
    Later(&'static str),
    Notices,
    NotFound,
    MountedRoom,
    RootRoom,
}

/// `{…}` stands for one segment that is not empty, `*` for all that is left (which may be an empty segment).
const ROWS: &[(&str, Goal)] = &[
    ("/_concord", Goal::Own),
    ("/_concord/*", Goal::Own),
    ("/ws", Goal::Later("json-yjs")),
    ("/ws/document/{id}", Goal::Later("sessions")),
    ("/ws/updates", Goal::Notices),
    ("/ws/*", Goal::NotFound),
    ("/sync", Goal::Later("notes")),
    ("/websocket", Goal::Later("room-db")),
    ("/connect", Goal::Later("room-db")),
    ("/__ws/websocket", Goal::Later("room-db")),
    ("/__ws/connect", Goal::Later("room-db")),
    ("/d/{id}/ws/{id}", Goal::Later("y-sweet")),
    ("/doc/ws/{id}", Goal::Later("y-sweet")),
    ("/", Goal::Later("hocuspocus")),
    ("/hocuspocus", Goal::Later("hocuspocus")),
    ("/*", Goal::MountedRoom),
    ("/api/*", Goal::NotFound),
    ("/health", Goal::NotFound),
    ("/ready", Goal::NotFound),
    ("/check_store", Goal::NotFound),
    ("/doc/*", Goal::NotFound),
    ("/d/*", Goal::NotFound),
    ("/*", Goal::RootRoom),
];

/// The route of a path as it was sent: percent-encoded, without the query.
pub fn route(path: &str, mounts: &Mounts) -> Route {
    let found = ROWS.iter().find_map(|(pattern, goal)| {
        let prefix = match goal {
            Goal::MountedRoom => mounts.y_websocket.as_deref()?,
            Goal::RootRoom if !mounts.root_rooms => return None,
            _ => "",
        };
        rest_of(path, prefix, pattern).map(|rest| (*goal, rest))
    });
    match found {
        Some((Goal::Own, _)) => Route::Own,
        Some((Goal::Later(dialect), _)) => Route::NotImplemented { dialect },
        Some((Goal::Notices, _)) => Route::Notices,
        Some((Goal::MountedRoom | Goal::RootRoom, rest)) => match y_websocket_room(rest) {
            Ok(room) => Route::YWebsocket { room },
            Err(error) => Route::InvalidRoomName(error),
        },
        Some((Goal::NotFound, _)) | None => Route::NotFound,
    }
}

/// What `*` stands for when `path` matches `prefix` + `pattern` (nothing when there is no `*`). The path is split at its literal
/// slashes first and each segment decoded afterwards, so `%2F` never makes a segment, and `/%77s` is `/ws`.
fn rest_of<'p>(path: &'p str, prefix: &str, pattern: &str) -> Option<&'p str> {
    let mut rest = Some(path.strip_prefix('/')?);
    for part in prefix.split('/').skip(1).chain(pattern.split('/').skip(1)) {
        let remaining = rest?;
        if part == "*" {
            return Some(remaining);
        }
        let (segment, after) = match remaining.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (remaining, None),
        };
        let matches =
            if part.starts_with('{') { !segment.is_empty() } else { *percent_decode(segment) == *part.as_bytes() };
        if !matches {
            return None;
        }
        rest = after;
    }
    rest.is_none().then_some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Route {
        Route::YWebsocket { room: name.to_owned() }
    }

    fn later(dialect: &'static str) -> Route {
        Route::NotImplemented { dialect }
    }

    #[test]
    fn paths_lead_where_the_table_says() {
        let cases: &[(&str, Route)] = &[
            ("/_concord/status", Route::Own),
            ("/_concord", Route::Own),
            ("/%5fconcord/status", Route::Own),
            ("/ws", later("json-yjs")),
            ("/%77s", later("json-yjs")),
            ("/ws/document/d%2F1", later("sessions")),
            ("/ws/document/", Route::NotFound),
            ("/ws/document/doc/room", Route::NotFound),
            ("/ws/updates", Route::Notices),
            ("/ws/", Route::NotFound),
            ("/ws/other", Route::NotFound),
            ("/ws%2Fother", room("ws/other")),
            ("/wsx", room("wsx")),
            ("/sync", later("notes")),
            ("/sync/more", room("sync/more")),
            ("/websocket", later("room-db")),
            ("/connect", later("room-db")),
            ("/__ws/websocket", later("room-db")),
            ("/__ws/connect", later("room-db")),
            ("/__ws/else", room("__ws/else")),
            ("/d/one/ws/one", later("y-sweet")),
            ("/doc/ws/one", later("y-sweet")),
            ("/d/one/ws/", Route::NotFound),
            ("/", later("hocuspocus")),
            ("/hocuspocus", later("hocuspocus")),
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
        let moved = Mounts { y_websocket: Some("/live/yjs".to_owned()), root_rooms: false };
        let off = Mounts { y_websocket: None, root_rooms: true };
        let nothing = Mounts { y_websocket: None, root_rooms: false };
        let cases: &[(&Mounts, &str, Route)] = &[
            (&moved, "/live/yjs/team/7", room("team/7")),
            (&moved, "/live/yjs", Route::NotFound),
            (&moved, "/y/demo", Route::NotFound),
            (&moved, "/ws", later("json-yjs")),
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
            (later("y-sweet"), Some(("HTTP/1.1 501 ", "the y-sweet protocol"))),
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
