//! Placeholder.

use super::{Answer, Asked, JSON, NoBody};
use crate::upgrade::Entrance;
use hyper::StatusCode;

pub(super) fn is_its(_: &Entrance, _: &str) -> bool {
    false
}

pub(super) async fn answer(_: Asked) -> Answer {
    Answer::new(StatusCode::NOT_FOUND, JSON, "{}")
}

pub(super) fn without_body(_: &NoBody) -> Answer {
    Answer::new(StatusCode::PAYLOAD_TOO_LARGE, JSON, "{}")
}
