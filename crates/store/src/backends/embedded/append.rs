//! What the store does for an append: the changes of one or many rooms in one write.
//!
//! Called through the trait `Store`, by every worker in every turn, so each step is worth its nanoseconds: the records are
//! put together before the state's lock is taken, a name is searched for once, and the sync thread is woken only if it would
//! not look by itself. Reads nothing and waits for no sync.

use super::index::Entry;
use super::log::Place;
use super::table::Slot;
use super::{Shared, State, again, fault};
use crate::format::Draft;
use crate::{Append, Durability, Durable, StoreError};
use std::sync::{Arc, PoisonError};

/// Bytes of memory that a draft keeps for the next append: a turn of a busy worker, not a document that came whole.
const DRAFT_BYTES_KEPT: usize = 1 << 20;

/// The result of a part that was written, or of one that had nothing to write.
type Outcome = Result<(), StoreError>;

impl Shared {
    pub(super) fn append_all(&self, batch: &[Append<'_>]) -> Vec<Outcome> {
        let mut draft = self.drafts.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut outcomes = Vec::with_capacity(batch.len());
        for part in batch {
            let added =
                if part.changes.is_empty() { Ok(()) } else { draft.add_changes(part.room, part.at, part.changes) };
            outcomes.push(added.map_err(|error| fault(&doing(part), error)));
        }
        self.write_draft(batch, &mut draft, &mut outcomes);
        draft.clear(DRAFT_BYTES_KEPT);
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner).push(draft);
        outcomes
    }

    /// Writes of the drafted parts what the rooms take. `outcomes` has an error for each part that is not in the draft.
    fn write_draft(&self, batch: &[Append<'_>], draft: &mut Draft, outcomes: &mut [Outcome]) {
        let mut state = self.state();
        let accepted = state.accept(batch, draft, outcomes);
        if accepted.is_empty() {
            return;
        }
        match state.log.write(draft) {
            Ok(place) => {
                state.take_in(&accepted, draft, place);
                let wake = state.syncs.wants_waking();
                let told = match self.options.durability {
                    Durability::Written { .. } => state.cells(&accepted, |entry| entry.head),
                    Durability::Synced { .. } => Vec::new(),
                };
                drop(state);
                if wake {
                    self.work.notify_one();
                }
                told.iter().for_each(|(cell, head)| cell.advance(*head));
            }
            Err(error) => {
                // Backwards, as a room may be there twice.
                for &(part, slot) in accepted.iter().rev() {
                    state.rooms.at(slot).head = batch[part].at.offset;
                }
                if accepted.len() > 1 {
                    state.syncs.note_taken_back();
                }
                let wake = accepted.len() > 1 && state.syncs.wants_waking();
                let told = state.cells(&accepted, |_| 0);
                drop(state);
                if wake {
                    self.work.notify_one();
                }
                told.iter().for_each(|(cell, _)| cell.fail());
                for (part, _) in accepted {
                    outcomes[part] = Err(fault(&doing(&batch[part]), again(&error)));
                }
            }
        }
    }
}

impl State {
    /// Moves the heads of the rooms that take their parts, and leaves the other parts out of the draft. Returns the parts
    /// that are to be written, with their rooms.
    fn accept(&mut self, batch: &[Append<'_>], draft: &mut Draft, outcomes: &mut [Outcome]) -> Vec<(usize, Slot)> {
        let mut accepted = Vec::with_capacity(batch.len());
        let mut left_out = Vec::new();
        let mut drafted = 0;
        for (index, (part, outcome)) in
            batch.iter().zip(outcomes).enumerate().filter(|(_, (_, outcome))| outcome.is_ok())
        {
            let slot = self.rooms.slot(part.room).filter(|&slot| self.rooms.at(slot).takes(part.at));
            match slot {
                None => *outcome = Err(StoreError::Stale { room: part.room.clone(), at: part.at }),
                Some(slot) if !part.changes.is_empty() => {
                    self.rooms.at(slot).head += part.changes.len() as u64;
                    accepted.push((index, slot));
                }
                Some(_) => {}
            }
            if !part.changes.is_empty() {
                if slot.is_none() {
                    left_out.push(drafted);
                }
                drafted += 1;
            }
        }
        if !left_out.is_empty() {
            let mut record = 0;
            let mut left_out = left_out.into_iter().peekable();
            draft.retain(|_| {
                record += 1;
                left_out.next_if_eq(&(record - 1)).is_none()
            });
        }
        accepted
    }

    /// Notes what was written at `place`.
    fn take_in(&mut self, accepted: &[(usize, Slot)], draft: &Draft, place: Place) {
        let Self { rooms, log, syncs } = self;
        for (&(_, slot), drafted) in accepted.iter().zip(draft.records()) {
            let entry = rooms.at(slot);
            let record = place.of(drafted);
            entry.records.take_in(record, |_| {});
            log.count_in(&record, entry.keep, drafted.newest_ms);
            syncs.note_written_of(entry);
        }
    }

    /// The cells of these rooms, each with what `of` says of it.
    fn cells(&mut self, rooms: &[(usize, Slot)], of: impl Fn(&Entry) -> u64) -> Vec<(Arc<Durable>, u64)> {
        let cell = |&(_, slot): &(usize, Slot)| {
            let entry = self.rooms.at(slot);
            (entry.durable.clone(), of(entry))
        };
        rooms.iter().map(cell).collect()
    }
}

/// What was being done, for an error's text.
fn doing(part: &Append<'_>) -> String {
    format!("append to room {}", part.room)
}
