//! What the dialects have in common that speak the sync protocol of Yjs itself: messages `varuint type, body` in binary frames.
//!
//! Sync is `0, varuint step, varbytes payload`, awareness `1, varbytes`, its query `3`. Called by those dialects for what is the same in all of them. Does
//! not know what follows an acknowledgement, or any type beyond these.

use crate::{Body, Kind};
use bytes::Bytes;
use document::MessageLimits;
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use document::wire::Invalid;
use room::{Closing, Event, Input, MemberId, StateVector, Update};

pub(super) const SYNC: u8 = 0;
pub(super) const AWARENESS: u8 = 1;
pub(super) const QUERY_AWARENESS: u8 = 3;

/// Messages in one frame: clients put one there, merging proxies a few. Each becomes an input many times its size.
pub(super) const MESSAGES_PER_FRAME_MAX: usize = 1_024;

pub(super) const STEP_1: u8 = 0;
pub(super) const STEP_2: u8 = 1;
pub(super) const UPDATE: u8 = 2;

/// An awareness update with nobody in it: resets a client's silence timer, and means nothing.
pub(super) const KEEP_ALIVE: &[u8] = &[AWARENESS, 1, 0];

/// The message that tells of an event, in the manner of `Dialect::write`. An author's own update comes back to it when that is saved.
pub(super) fn write<'a>(event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
    let (kind, body): (&[u8], _) = match event {
        Event::StateVector(bytes) => (&[SYNC, STEP_1], bytes),
        Event::Missing(bytes) => (&[SYNC, STEP_2], bytes),
        // Only a step 2 makes a client say that it is synced, and that is to mean all of it.
        Event::Base(bytes) | Event::Update(bytes) => (&[SYNC, UPDATE], bytes),
        Event::Saved { update } => (&[SYNC, UPDATE], update.as_ref()?),
        Event::Awareness(bytes) => (&[AWARENESS], bytes),
        Event::Denied(_)
        | Event::Durable(_)
        | Event::Presence { .. }
        | Event::Welcome { .. }
        | Event::Arrived(_)
        | Event::Departed(_)
        | Event::Relayed(..)
        | Event::Marked(_)
        | Event::Notes(_)
        | Event::Tables(_) => return None,
    };
    out.extend_from_slice(kind);
    write_var_uint(out, body.len() as u64);
    Some(Body { kind: Kind::Binary, rest: body })
}

/// A message of a type with one body.
pub(super) fn message(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 5 + payload.len());
    out.extend_from_slice(head);
    write_var_bytes(&mut out, payload);
    out
}

/// A payload without a copy, unless that would keep a much larger frame in memory.
pub(super) fn part_of(frame: &Bytes, payload: &[u8]) -> Bytes {
    if payload.len() * 2 < frame.len() { Bytes::copy_from_slice(payload) } else { frame.slice_ref(payload) }
}

/// The code and the reason of a close frame: from 4400 to 4499 a client should stay away, after all others it should come back.
pub(super) fn close_code(closing: &Closing) -> (u16, &str) {
    match closing {
        Closing::Malformed => (4400, "malformed message"),
        Closing::Beyond(limit) => (4413, limit),
        Closing::StorageFailed => (1011, "storage failed; unsaved edits stay in your editor"),
        Closing::ShuttingDown => (1001, "server shutting down"),
        Closing::SlowConsumer => (1013, "slow consumer"),
        Closing::Protocol(code, reason) => (*code, reason),
        Closing::Silent => (1001, "no answer to ping"),
        Closing::Unauthorized => (4401, "unauthorized"),
        Closing::Outdated => (4401, "token-expired"),
        Closing::Forbidden => (4403, "permission-denied"),
        Closing::NotFound => (4404, "room-not-found"),
        Closing::TokenExpired => (4501, "token expired, reconnect"),
        Closing::Revoked => (4403, "access revoked"),
        Closing::Removed { come_back: false } => (4403, "disconnected by an administrator"),
        Closing::Removed { come_back: true } => (4500, "disconnected by an administrator, reconnect"),
        Closing::Deleted => (4404, "room deleted"),
        Closing::Unconfirmed => (1013, "access cannot be checked, try again later"),
        Closing::Internal => (1011, "internal error"),
        Closing::Incomplete(_) => (1008, "the request lacks something"),
        Closing::Abusive(reason) => (1008, reason),
        Closing::Inactive => (1013, "inactive"),
        Closing::Left => (1000, ""),
    }
}

/// One member's messages.
pub(super) struct Voice {
    pub(super) member: MemberId,
    pub(super) limits: MessageLimits,
}

impl Voice {
    /// What the body of a message means whose type was read. None: its end cannot be known.
    pub(super) fn message(
        &self,
        kind: u64,
        frame: &Bytes,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Input>, ReadError> {
        match kind {
            kind if kind == u64::from(SYNC) => self.sync(frame, reader),
            kind if kind == u64::from(AWARENESS) => {
                Ok(Some(Input::Awareness(self.member, part_of(frame, reader.var_bytes()?))))
            }
            kind if kind == u64::from(QUERY_AWARENESS) => {
                Ok(Some(Input::QueryAwareness { member: self.member, always: true }))
            }
            _ => Ok(None),
        }
    }

    fn sync(&self, frame: &Bytes, reader: &mut Reader<'_>) -> Result<Option<Input>, ReadError> {
        let step = reader.var_uint()?;
        if step > u64::from(UPDATE) {
            return Ok(None);
        }
        let payload = reader.var_bytes()?;
        let input = if step == u64::from(STEP_1) {
            StateVector::decode(payload, &self.limits).map(|known| Input::Sync(self.member, known))
        } else {
            let (update, is_answer) =
                (Update::validate(part_of(frame, payload), &self.limits), step == u64::from(STEP_2));
            update.map(|update| Input::Update { member: self.member, author: None, is_answer, update })
        };
        Ok(Some(input.unwrap_or_else(|invalid| match invalid {
            Invalid::Malformed(_) => Input::Malformed(self.member),
            Invalid::Exceeded(exceeded) => Input::Beyond(self.member, exceeded),
        })))
    }
}
