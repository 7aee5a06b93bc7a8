//! The store held to its laws: the contract that every backend keeps, and what the embedded one does when things break.
//!
//! All disks but one are in memory. Helpers that several files need are here.

mod contract;
mod crash;
mod damage;
mod faults;
mod group;
mod keep;
mod steps;

use std::sync::Arc;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{Append, Change, Durability, KeepLog, Opened, Position, RoomKey, Store, StoreError};
use testkit::disk::FaultyDisk;

/// Options for tests: small segments, no waiting for groups.
fn options(segment_bytes_max: u64) -> EmbeddedOptions {
    EmbeddedOptions { durability: Durability::Synced { group_ms: 0 }, segment_bytes_max, ..EmbeddedOptions::default() }
}

fn keeping(segment_bytes_max: u64, rule: KeepLog) -> EmbeddedOptions {
    EmbeddedOptions { keep_log: Box::new(move |_| rule), ..options(segment_bytes_max) }
}

fn open_store(disk: &FaultyDisk, segment_bytes_max: u64) -> Embedded {
    Embedded::open_on(disk.shared(), options(segment_bytes_max)).expect("the store opens")
}

fn key(name: &str) -> RoomKey {
    Arc::from(name)
}

fn open(store: &dyn Store, name: &str, new_epoch: u64) -> Opened {
    store.open(&key(name), new_epoch).expect("the room opens")
}

fn append(store: &dyn Store, name: &str, epoch: u64, offset: u64, changes: &[Change]) -> Result<(), StoreError> {
    store.append(&key(name), Position { epoch, offset }, changes)
}

/// A part of an append: room, epoch, offset, changes.
type Part<'a> = (&'a str, u64, u64, &'a [Change]);

fn append_all(store: &dyn Store, parts: &[Part<'_>]) -> Vec<Result<(), StoreError>> {
    let rooms: Vec<_> = parts.iter().map(|part| key(part.0)).collect();
    let part = |(&(_, epoch, offset, changes), room)| Append { room, at: Position { epoch, offset }, changes };
    store.append_all(&parts.iter().zip(&rooms).map(part).collect::<Vec<_>>())
}

fn compact(store: &dyn Store, name: &str, epoch: u64, offset: u64) -> Result<(), StoreError> {
    store.replace_with_snapshot(&key(name), Position { epoch, offset }, format!("up to {offset}").as_bytes())
}

fn numbered(from: u64, changes: Vec<Change>) -> Vec<(u64, Change)> {
    (from..).zip(changes).collect()
}
