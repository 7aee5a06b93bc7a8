//! The editing traces that `node conformance/traces.mjs --write target/traces` makes, for the benches that replay them.

use std::path::PathBuf;

/// `u32 count, (u32 length, bytes)*`, little endian.
pub(crate) fn read(name: &str) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../target/traces/{name}.updates"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "cannot read {}: {error}; make it with `node conformance/traces.mjs --write target/traces`",
            path.display()
        )
    });
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut at = 4;
    (0..number(0))
        .map(|_| {
            let update = bytes[at + 4..at + 4 + number(at)].to_vec();
            at += 4 + update.len();
            update
        })
        .collect()
}
