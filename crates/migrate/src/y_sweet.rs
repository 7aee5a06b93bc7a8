//! The folder of a y-sweet server: for each document a folder with its id, and in it `data.ysweet`.
//!
//! That file is a sorted map of bytes to bytes: `u64 LE count`, then for each entry key and value, both as `u64 LE length, bytes`. Its keys are
//! those of yrs-kvstore: `00 00 name 00` has the number of the document as a u32 BE; with that number `00 01 number 00` has its state
//! and `00 01 number 02 clock 00` an update that came later, both in the v1 format. The document's name in there is always `doc`.
//! Folders in a bucket have the same form once they are copied to a disk.

use crate::{Found, OpenError, Origin, Unreadable};
use document::lib0::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILE: &str = "data.ysweet";
const NUMBER_OF_DOC: &[u8] = b"\0\0doc\0";
const STATE: u8 = 0;
const UPDATE: u8 = 2;

/// The documents of a folder, in the order of their names.
pub(crate) fn open(folder: &Path) -> Result<impl Iterator<Item = Found> + use<>, OpenError> {
    let unreadable = |error| OpenError::unreadable(folder, error);
    let entries = std::fs::read_dir(folder).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).filter(|path| !is_hidden(path)).collect();
    paths.sort();
    if paths.iter().any(|path| path.file_name().is_some_and(|name| name == FILE)) {
        let reason = format!("there is a {FILE} in it, so it is the folder of one document; name the folder above it");
        return Err(OpenError::not_its(folder, Origin::YSweet, &reason));
    }
    if !paths.iter().any(|path| path.join(FILE).exists()) {
        let reason = format!("no folder in it has a file {FILE}");
        return Err(OpenError::not_its(folder, Origin::YSweet, &reason));
    }
    Ok(paths.into_iter().map(|path| Found { name: name_of(&path), content: read(&path) }))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(folder: &Path) -> Result<Vec<Vec<u8>>, Unreadable> {
    let file = folder.join(FILE);
    if !file.exists() {
        return Err(Unreadable::Place(format!("is not a document: there is no {FILE} in it")));
    }
    let bytes = std::fs::read(&file).map_err(|error| Unreadable::Document(format!("cannot read {FILE}: {error}")))?;
    updates(&bytes).map_err(|reason| Unreadable::Document(format!("{FILE} is damaged: {reason}")))
}

fn updates(file: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let map = map(file).ok_or("it ends too early")?;
    let Some(number) = map.get(NUMBER_OF_DOC) else {
        // Before the first change the map is empty.
        return if map.is_empty() { Ok(Vec::new()) } else { Err("it has entries, but no document named doc") };
    };
    let mut updates = Vec::new();
    for kind in [STATE, UPDATE] {
        let prefix = [&[0, 1], *number, &[kind]].concat();
        let ours = map.range(prefix.as_slice()..).take_while(|(key, _)| key.starts_with(&prefix));
        updates.extend(ours.map(|(_, value)| value.to_vec()));
    }
    Ok(updates)
}

fn map(file: &[u8]) -> Option<BTreeMap<&[u8], &[u8]>> {
    let mut reader = Reader::new(file);
    let count = length(&mut reader)?;
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let key = bytes(&mut reader)?;
        map.insert(key, bytes(&mut reader)?);
    }
    Some(map)
}

fn bytes<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = length(reader)?;
    reader.take(length).ok()
}

fn length(reader: &mut Reader<'_>) -> Option<usize> {
    let bytes = reader.take(8).ok()?;
    usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut file = (entries.len() as u64).to_le_bytes().to_vec();
        for part in entries.iter().flat_map(|(key, value)| [key, value]) {
            file.extend((part.len() as u64).to_le_bytes());
            file.extend_from_slice(part);
        }
        file
    }

    #[test]
    fn states_come_before_updates_and_updates_in_their_order() {
        let written = file(&[
            (b"\0\0doc\0", &[0, 0, 0, 1]),
            (b"\0\x01\0\0\0\x01\0", b"state"),
            (b"\0\x01\0\0\0\x01\x01", b"vector"),
            (b"\0\x01\0\0\0\x01\x02\0\0\0\x09\0", b"ninth"),
            (b"\0\x01\0\0\0\x01\x02\0\0\x01\0\0", b"later"),
            (b"\0\x01\0\0\0\x02\0", b"of another"),
        ]);
        let expected: Vec<Vec<u8>> = [&b"state"[..], b"ninth", b"later"].map(<[u8]>::to_vec).to_vec();
        assert_eq!(updates(&written), Ok(expected));
        for end in 0..written.len() {
            assert_eq!(updates(&written[..end]), Err("it ends too early"), "cut at {end}");
        }
    }

    #[test]
    fn a_document_without_content_is_no_error_and_a_foreign_map_is() {
        assert_eq!(updates(&file(&[])), Ok(Vec::new()));
        assert_eq!(updates(&file(&[(b"k", b"v")])), Err("it has entries, but no document named doc"));
        assert_eq!(updates(&[0xff; 64]), Err("it ends too early"), "lengths beyond the file");
    }
}
