//! The database of `y-leveldb`: for each document its updates, and now and then one update that stands for all before it.
//!
//! A key is a list of strings (`00`, varstring) and numbers (`01`, u32 BE): `["v1", name, "update", clock]` has an update. State
//! vectors (`"v1_sv"`) and what applications keep beside a document (`"meta"`) are left where they are.

use crate::leveldb::{Damage, Entries, Item};
use crate::{Found, OpenError, Unreadable};
use document::lib0::Reader;
use std::path::Path;

/// The documents of a folder, in the order of the database.
pub(crate) fn open(folder: &Path) -> Result<Documents<Entries>, OpenError> {
    Ok(Documents::of(Entries::open(folder)?))
}

/// Entries put together to documents. All updates of one document are neighbours.
pub(crate) struct Documents<I> {
    entries: I,
    collected: Option<Collected>,
    /// What could not be read ends after this key: until then, and in the document that comes next, something may be missing.
    damaged_until: Option<Vec<u8>>,
    /// Seen on the way, to be told next.
    place: Option<Found>,
}

struct Collected {
    name: String,
    updates: Vec<Vec<u8>>,
    damaged: bool,
}

impl<I> Documents<I> {
    fn of(entries: I) -> Self {
        Self { entries, collected: None, damaged_until: None, place: None }
    }

    /// Takes one update, and gives back the document before it, when that is complete.
    fn collect(&mut self, key: &[u8], name: String, update: Vec<u8>) -> Option<Found> {
        let behind = self.damaged_until.as_ref().is_some_and(|until| key > until.as_slice());
        let damaged = self.damaged_until.is_some();
        if behind {
            self.damaged_until = None;
        }
        if let Some(collected) = self.collected.as_mut().filter(|collected| collected.name == name) {
            collected.updates.push(update);
            collected.damaged |= damaged;
            return None;
        }
        self.collected.replace(Collected { name, updates: vec![update], damaged }).map(Collected::found)
    }

    fn skip(&mut self, damage: Damage) {
        if let Some(collected) = &mut self.collected {
            collected.damaged |= damage.until.is_some();
        }
        self.damaged_until = self.damaged_until.take().max(damage.until);
        self.place = Some(Found { name: damage.file, content: Err(Unreadable::Place(damage.reason)) });
    }
}

impl Collected {
    fn found(self) -> Found {
        let reason = "some of its updates are in a damaged part of the database";
        let content = if self.damaged { Err(Unreadable::Document(reason.to_owned())) } else { Ok(self.updates) };
        Found { name: self.name, content }
    }
}

impl<I: Iterator<Item = Item>> Iterator for Documents<I> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(place) = self.place.take() {
                return Some(place);
            }
            match self.entries.next() {
                None => return self.collected.take().map(Collected::found),
                Some(Err(damage)) => self.skip(damage),
                Some(Ok((key, value))) => {
                    let Some(name) = document_of(&key) else { continue };
                    if let Some(found) = self.collect(&key, name, value) {
                        return Some(found);
                    }
                }
            }
        }
    }
}

/// The document whose update a key has.
fn document_of(key: &[u8]) -> Option<String> {
    let mut reader = Reader::new(key);
    let mut text = || (reader.u8().ok()? == 0).then(|| reader.var_string().ok()).flatten();
    if text()? != "v1" {
        return None;
    }
    let name = text()?.to_owned();
    (text()? == "update" && reader.u8() == Ok(1) && reader.remaining() == 4).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, clock: u8) -> Vec<u8> {
        let name = [&[0, name.len() as u8], name.as_bytes()].concat();
        [b"\0\x02v1", &name[..], b"\0\x06update\x01\0\0\0", &[clock]].concat()
    }

    fn entry(name: &str, clock: u8) -> Item {
        Ok((key(name, clock), vec![clock]))
    }

    fn damage(until: Option<Vec<u8>>) -> Item {
        Err(Damage { file: "5.ldb".to_owned(), reason: "broken".to_owned(), until })
    }

    /// `name:updates`, `name!` for a document that cannot be read, `(file)` for a place.
    fn told(entries: Vec<Item>) -> String {
        let documents = Documents::of(entries.into_iter()).map(|found| match found.content {
            Ok(updates) => {
                format!("{}:{}", found.name, updates.iter().map(|update| update[0].to_string()).collect::<String>())
            }
            Err(Unreadable::Document(_)) => format!("{}!", found.name),
            Err(Unreadable::Place(_)) => format!("({})", found.name),
        });
        documents.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn updates_are_put_together_in_order() {
        let meta = Ok((b"\0\x02v1\0\x01a\0\x04meta\0\x01k".to_vec(), vec![9]));
        let vector = Ok((b"\0\x05v1_sv\0\x01a".to_vec(), vec![9]));
        let foreign = Ok((b"!other!key".to_vec(), vec![9]));
        let entries = vec![foreign, entry("a", 0), entry("a", 7), meta, entry("", 1), entry("bc", 2), vector];
        assert_eq!(told(entries), "a:07 :1 bc:2");
    }

    #[test]
    fn what_damage_may_have_cut_is_not_taken_for_whole() {
        let cases = [
            // Between two documents nobody knows to which of them it belonged.
            (vec![entry("a", 0), damage(Some(key("a", 9))), entry("b", 1), entry("c", 2)], "(5.ldb) a! b! c:2"),
            (vec![entry("a", 0), damage(Some(key("a", 3))), entry("a", 4), entry("b", 1)], "(5.ldb) a! b:1"),
            // Other files go on with documents that the damaged part had too.
            (
                vec![damage(Some(key("b", 9))), entry("a", 0), entry("b", 1), entry("c", 2), entry("d", 3)],
                "(5.ldb) a! b! c! d:3",
            ),
            (vec![entry("a", 0), damage(Some(key("z", 0)))], "(5.ldb) a!"),
            // The log has no order: nobody knows whose change it was, and it is said once.
            (vec![damage(None), entry("a", 0), entry("b", 1)], "(5.ldb) a:0 b:1"),
        ];
        for (entries, expected) in cases {
            let shown = format!("{entries:?}");
            assert_eq!(told(entries), expected, "{shown}");
        }
    }
}
