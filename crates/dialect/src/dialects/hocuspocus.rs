//! Placeholder.

use crate::{Body, Dialect, Entry, Farewell, Session};
use room::{Closing, Event};

/// The dialect.
#[derive(Debug)]
pub(crate) struct Hocuspocus;

impl Dialect for Hocuspocus {
    fn name(&self) -> &'static str {
        "hocuspocus"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        crate::Y_WEBSOCKET.write(event, out)
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        crate::Y_WEBSOCKET.farewell(closing)
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        crate::Y_WEBSOCKET.session(entry)
    }
}
