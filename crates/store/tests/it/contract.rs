//! Every backend runs the contract suite, the embedded one also on a real folder and across reopenings.

use super::{open_store, options};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::backends::memory::Memory;
use store::{Durability, Store, StoreError};
use testkit::contract;
use testkit::disk::FaultyDisk;

#[test]
fn memory_keeps_the_contract() {
    contract::check("memory", &|| Box::new(Memory::default()));
}

#[test]
fn embedded_keeps_the_contract() {
    for segment_bytes_max in [1, 500, 64 << 20] {
        let make = || Box::new(open_store(&FaultyDisk::new(), segment_bytes_max)) as Box<dyn Store>;
        contract::check(&format!("embedded, segments of {segment_bytes_max}"), &make);
    }
}

#[test]
fn embedded_in_interval_mode_keeps_the_contract() {
    let options = || EmbeddedOptions { durability: Durability::Written { sync_ms: 1_000_000 }, ..options(500) };
    let make = || Box::new(Embedded::open_on(FaultyDisk::new().shared(), options()).unwrap()) as Box<dyn Store>;
    contract::check("embedded, interval", &make);
}

/// A folder that is removed at the end.
struct TempFolder(PathBuf);

impl TempFolder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("concord-store-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn embedded_on_a_real_folder_keeps_the_contract_and_survives_reopening() {
    let folder = TempFolder::new();
    for (number, (fact, case)) in contract::CASES.iter().enumerate() {
        println!("{fact}");
        let path = folder.0.join(number.to_string());
        let store = Embedded::open(&path, options(4_000)).unwrap();
        case(&store);
        let before = store.list().unwrap();
        let content = |store: &Embedded| -> Vec<_> {
            let rooms = before.iter().map(|line| store.open(&line.room, 0).unwrap());
            rooms.map(|room| (room.epoch, room.head, room.snapshot, room.changes)).collect()
        };
        let expected = content(&store);
        drop(store);
        let store = Embedded::open(&path, options(4_000)).unwrap();
        assert_eq!(store.list().unwrap(), before);
        assert_eq!(content(&store), expected);
        assert_eq!(store.damage(), []);
    }
}

#[test]
fn a_second_open_names_the_process_that_has_the_folder() {
    let folder = TempFolder::new();
    let first = Embedded::open(&folder.0, options(4_000)).unwrap();
    let Err(StoreError::Locked { folder: named, holder }) = Embedded::open(&folder.0, options(4_000)) else {
        panic!("opened twice")
    };
    assert_eq!((named, holder), (folder.0.display().to_string(), std::process::id().to_string()));
    drop(first);
    Embedded::open(&folder.0, options(4_000)).unwrap();
}
