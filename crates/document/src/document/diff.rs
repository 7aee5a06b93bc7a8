//! Writes a document down again: what somebody lacks, everything in few bytes, a part to be relayed, what is parked.
//!
//! The reading half of `Document`; changes nothing. How one struct looks on the wire is `encode`'s business.

use super::{Document, Fresh};
use crate::encode::{Names, ParentName, Section, Stretch, write_struct};
use crate::lib0::write_var_uint;
use crate::parents::Name;
use crate::structs::{Client, Cursor};
use crate::wire::{StateVector, TYPE};
use std::collections::{BTreeMap, BTreeSet};

impl Document {
    /// One update with everything that somebody at `known` lacks, parked parts behind holes, and all delete ranges. Deleted content is left out
    /// unless `keep_deleted`; what was deleted since the base was made is in there still.
    pub fn diff(&self, known: &StateVector, keep_deleted: bool) -> Vec<u8> {
        self.write(known, if keep_deleted { Content::All } else { Content::Alive }, true)
    }

    /// Everything applied in few bytes: as `diff` against nothing, but without the children of deleted types, as Yjs's garbage collection leaves
    /// it, and without what is parked.
    pub fn snapshot(&self, keep_deleted: bool) -> Vec<u8> {
        if self.base.is_some() {
            let mut expanded = self.clone();
            expanded.expand();
            return expanded.snapshot(keep_deleted);
        }
        self.write(&StateVector::default(), if keep_deleted { Content::All } else { Content::Collected }, false)
    }

    /// Everything applied that is not in the base, and all delete ranges.
    pub(super) fn behind_base(&self) -> Vec<u8> {
        self.write(&self.base_vector(), Content::All, false)
    }

    /// What waits for missing updates, as one update an author: `(author, update)`.
    pub fn parked_updates(&self) -> Vec<(u32, Vec<u8>)> {
        let authors = self.parked.authors();
        authors
            .into_iter()
            .map(|author| (author, self.write_parked_only(self.parked.clients(), |_, whose| whose == author)))
            .collect()
    }

    /// Elements that were applied one behind the other, and deletes, as one update.
    pub(super) fn write_stretch(&self, stretch: &[Fresh], deletes: &[(u32, u32, u32)]) -> Vec<u8> {
        let mut ranges: BTreeMap<u64, (u32, u32, u32)> = BTreeMap::new();
        for fresh in stretch {
            let range = (fresh.client, fresh.start, fresh.end);
            let id = self.clients[fresh.client as usize].id;
            ranges.entry(id).and_modify(|known| known.2 = fresh.end).or_insert(range);
        }
        let mut out = Vec::new();
        write_var_uint(&mut out, ranges.len() as u64);
        for (&id, &(client, start, end)) in ranges.iter().rev() {
            let mut section = Section::default();
            self.write_structs(&mut section, &self.clients[client as usize], (start, end), Content::All, &[]);
            section.finish(id, &mut out);
        }
        let mut by_client: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
        for &(client, start, end) in deletes {
            by_client.entry(self.clients[client as usize].id).or_default().push((start, end));
        }
        write_deletes(&mut out, by_client.iter().rev().map(|(&id, ranges)| (id, ranges.len(), ranges.iter().copied())));
        out
    }

    /// Parked structs of `clients` (ascending) that are chosen by their call and author, as an update.
    pub(super) fn write_parked_only(
        &self,
        clients: impl IntoIterator<Item = u64>,
        chosen: impl Fn(u64, u32) -> bool,
    ) -> Vec<u8> {
        let mut sections = Vec::new();
        for client in clients {
            let mut section = Section::default();
            self.write_parked(&mut section, client, &chosen);
            if !section.is_empty() {
                sections.push((client, section));
            }
        }
        let mut out = Vec::new();
        write_var_uint(&mut out, sections.len() as u64);
        for (client, section) in sections.into_iter().rev() {
            section.finish(client, &mut out);
        }
        out.push(0);
        out
    }

    fn write(&self, known: &StateVector, content: Content, parked: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes / 2);
        debug_assert!(self.base.is_none() || content != Content::Collected, "a base does not say what lies in what");
        let dead = if content == Content::Collected { self.dead_parents() } else { Vec::new() };
        let with_structs = self
            .index
            .iter()
            .filter(|&(&id, &index)| self.clients[index as usize].state() > known.clock(id))
            .map(|(&id, _)| id);
        let ids: BTreeSet<u64> = with_structs.chain(self.parked.clients()).collect();
        let mut sections = 0;
        for &id in ids.iter().rev() {
            let mut section = Section::default();
            if let Some(client) = self.find_client(id) {
                let from = known.clock(id);
                if let Some(base) = self.base.as_ref().filter(|_| client.floor > from) {
                    base.write(&mut section, id, from);
                }
                let from = from.max(client.floor);
                if client.state() > from {
                    self.write_structs(&mut section, client, (from, client.state()), content, &dead);
                }
            }
            if parked {
                self.write_parked(&mut section, id, |_, _| true);
            }
            sections += u64::from(!section.is_empty());
            section.finish(id, &mut out);
        }
        let mut counted = Vec::with_capacity(out.len() + 10 + self.delete_ranges * 4);
        write_var_uint(&mut counted, sections);
        counted.append(&mut out);
        if let Some(base) = self.base.as_ref().filter(|base| !base.has_more_deletes) {
            counted.extend_from_slice(base.deletes());
            return counted;
        }
        let deleted = self.index.iter().rev().map(|(&id, &index)| (id, &self.clients[index as usize].deleted));
        write_deletes(
            &mut counted,
            deleted.filter(|(_, ranges)| !ranges.is_empty()).map(|(id, ranges)| (id, ranges.len(), ranges.iter())),
        );
        counted
    }

    /// Applied structs of a client, `from..to` not empty. `dead` says whose children are collected; nobody's when it is empty.
    fn write_structs(
        &self,
        section: &mut Section,
        client: &Client,
        (from, to): (u32, u32),
        content: Content,
        dead: &[bool],
    ) {
        let mut deleted = client.deleted.from(from).peekable();
        for known in &client.structs[client.find(from)..] {
            let (mut at, end, mut cursor) = (known.clock.max(from), known.end().min(to), Cursor::default());
            if at >= end {
                break;
            }
            if content == Content::All {
                write_struct(section, self, client, known, &mut cursor, Stretch { from: at, to: end, deleted: false });
                continue;
            }
            if dead.get(known.parent as usize) == Some(&true) {
                section.collected(at, end - at);
                continue;
            }
            while at < end {
                while deleted.next_if(|&(_, stop)| stop <= at).is_some() {}
                let (is_deleted, stop) = match deleted.peek() {
                    Some(&(start, stop)) if start <= at => (true, stop.min(end)),
                    Some(&(start, _)) => (false, start.min(end)),
                    None => (false, end),
                };
                write_struct(
                    section,
                    self,
                    client,
                    known,
                    &mut cursor,
                    Stretch { from: at, to: stop, deleted: is_deleted },
                );
                at = stop;
            }
        }
    }

    /// Parked structs of a client behind what the section has already, holes in between.
    fn write_parked(&self, section: &mut Section, client: u64, chosen: impl Fn(u64, u32) -> bool) {
        let state = self.state(client);
        for (clock, parked, raw) in self.parked.of(client) {
            let at = if section.is_empty() { state.max(clock) } else { section.end() };
            if !chosen(parked.serial, parked.author) || clock + raw.len <= at {
                continue;
            }
            if clock > at {
                section.skip(at, clock - at);
            }
            section.raw(client, clock, &raw, at.saturating_sub(clock));
        }
    }

    /// For each parent whether its content is gone: it is deleted, lies in something that is gone, or was never a type.
    fn dead_parents(&self) -> Vec<bool> {
        let mut dead: Vec<bool> = Vec::with_capacity(self.parents.entries.len());
        for entry in &self.parents.entries {
            dead.push(match entry.name {
                Name::Dead => true,
                Name::Root(_) => false,
                // A type is in the table before its children, so its own parent was decided above.
                Name::Item(reference) => {
                    let client = &self.clients[reference.client as usize];
                    client.structs.get(client.find(reference.clock)).is_none_or(|holder| {
                        holder.kind() != TYPE
                            || client.deleted.end_at(reference.clock).is_some()
                            || dead[holder.parent as usize]
                    })
                }
            });
        }
        dead
    }
}

impl Names for Document {
    fn client(&self, index: u32) -> u64 {
        self.clients[index as usize].id
    }

    fn parent(&self, index: u32) -> ParentName<'_> {
        match &self.parents.entries[index as usize].name {
            Name::Root(name) => ParentName::Root(name),
            Name::Item(reference) => ParentName::Item(self.client(reference.client), reference.clock),
            Name::Dead => ParentName::Root(b""),
        }
    }
}

/// How much of the structs is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// As they came.
    All,
    /// Deleted content replaced by its length.
    Alive,
    /// And children of deleted types collected.
    Collected,
}

fn write_deletes<R: Iterator<Item = (u32, u32)>>(
    out: &mut Vec<u8>,
    clients: impl Iterator<Item = (u64, usize, R)> + Clone,
) {
    write_var_uint(out, clients.clone().count() as u64);
    for (client, count, ranges) in clients {
        write_var_uint(out, client);
        write_var_uint(out, count as u64);
        for (start, end) in ranges {
            write_var_uint(out, u64::from(start));
            write_var_uint(out, u64::from(end - start));
        }
    }
}
