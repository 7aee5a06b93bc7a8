//! A notebook on disk: what it wrote reads back, and what is damaged never does harm.

use super::desk::{Desk, check};
use bytes::Bytes;
use room::notebook::NotebookError;
use room::{Change, Limits, Notebook, Rules, Stored};

#[test]
fn a_restart_changes_nothing_from_the_log_or_from_a_snapshot() {
    for way in ["restart", "compact\nrestart", "compact\ncompact\nrestart"] {
        check(&format!(
            "now 100
             A joins
             > place A
             A puts x made 1 @5 with Apple
             > log a
             > all but A: updated x v1 by a made 1 @5 with apple
             A puts y made 2 @6
             > log a
             > all but A: updated y v1 by a made 2 @6 with text
             {way}
             B joins
             > place B
             B puts x made 1 @7 with Pear
             > log b
             > all but B: updated x v2 by b made 1 @7 with pear
             B deletes y @9
             > log b
             > all but B: deleted y by b @9
             B deletes z @9
             > log b
             {way}
             A joins
             > place A
             A replays
             > A: resync InitialSync
             > A: updated x v2 by b made 1 @7 with pear
             > A: deleted y by b @9
             > A: deleted z by b @9 without content
             A puts y made 2 @8
             > A: deleted y by b @9
             A restores y
             > log a
             > all but A: updated y v2 by a made 2 @100 with text
             durable 6
             > A: stored y v2 by a made 2 @100 with text
             {way}
             A joins
             > place A
             A fetches
             > A: changes up to 100: x y gone: z",
        ));
    }
}

#[test]
fn a_change_that_cannot_be_read_is_passed_over() {
    check(
        "A joins
         > place A
         A puts x made 1 @5
         > log a
         > all but A: updated x v1 by a made 1 @5 with text
         A puts x made 1 @6
         > log a
         > all but A: updated x v2 by a made 1 @6 with text
         loses
         restart
         A joins
         > place A
         A puts y made 1 @5
         > log a
         > all but A: updated y v1 by a made 1 @5 with text
         compact
         restart
         A joins
         > place A
         A fetches
         > A: changes up to 0: x y gone:",
    );
}

#[test]
fn compaction_forgets_what_is_too_old() {
    check(
        "A joins
         > place A
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         A deletes x @5
         > log a
         > all but A: deleted x by a @5
         now 31d
         compact
         now 1d
         restart
         A joins
         > place A
         A gets x
         > A: no x
         A fetches
         > A: changes up to 86400: gone:",
    );
}

/// A notebook with all that there is, and what it wrote.
fn desk() -> Desk {
    let mut desk = Desk::new(Limits::default());
    let lines = [
        "A joins",
        "B joins",
        "A puts x made 1 @1 with Übung",
        "B puts y made -99999999 @2",
        "A puts z made 3 @3",
        "B deletes y @9",
        "A deletes unknown @4",
        "A puts x made 1 @5 with more",
    ];
    lines.iter().for_each(|line| _ = desk.run(line));
    desk
}

fn load(snapshot: Vec<u8>) -> Result<Notebook, NotebookError> {
    Notebook::load(&Stored { snapshot: Some(snapshot.into()), ..Stored::default() }, Limits::default())
}

#[test]
fn snapshots_of_another_version_or_with_something_behind_them_are_refused() {
    let snapshot = desk().notebook.snapshot();
    let read_back = load(snapshot.clone()).expect("a snapshot");
    assert!(read_back.snapshot() == snapshot);
    let mut newer = snapshot.clone();
    newer[0] = 2;
    assert_eq!(load(newer).err(), Some(NotebookError::Version(2)));
    let longer = [&snapshot[..], b"!"].concat();
    assert_eq!(load(longer).err(), Some(NotebookError::Surplus(1)));
    for length in 0..snapshot.len() {
        assert!(load(snapshot[..length].to_vec()).is_err(), "{length} bytes");
    }
}

/// Every byte is changed in some ways, and pieces are cut out and put in: nothing may panic, nor take memory for what is not there.
#[test]
fn mutilated_bytes_are_refused_or_are_another_notebook() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let desk = desk();
    let (snapshot, changes) = (desk.notebook.snapshot(), &desk.stored.changes);
    let check = |bytes: Vec<u8>, author: &Change, what: &str| {
        if let Ok(notebook) = load(bytes.clone()) {
            let again = load(notebook.snapshot()).unwrap_or_else(|error| panic!("seed {seed}, {what}: {error}"));
            assert!(again.snapshot() == notebook.snapshot(), "seed {seed}, {what}");
            assert!(notebook.bytes() < 100_000, "seed {seed}, {what}: {} bytes", notebook.bytes());
        }
        let change = Change { bytes: Bytes::from(bytes), ..author.clone() };
        let stored = Stored { changes: vec![change], ..Stored::default() };
        let notebook = Notebook::load(&stored, Limits::default()).expect("changes do not keep a notebook closed");
        assert!(notebook.bytes() < 10_000, "seed {seed}, {what}: {} bytes", notebook.bytes());
    };
    for original in changes.iter().map(|change| change.bytes.to_vec()).chain([snapshot]) {
        for place in 0..original.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, original[place] ^ 1, random.u8(..)] {
                let mut bytes = original.clone();
                bytes[place] = value;
                check(bytes, &changes[0], &format!("{value} at {place}"));
            }
        }
        for round in 0..2_000 {
            let mut bytes = original.clone();
            for _ in 0..random.usize(1..4) {
                let place = random.usize(..=bytes.len());
                let end = random.usize(place..=bytes.len());
                let new: Vec<u8> = (0..random.usize(..6)).map(|_| random.u8(..)).collect();
                bytes.splice(place..end, new);
            }
            check(bytes, &changes[0], &format!("round {round}"));
        }
    }
}
