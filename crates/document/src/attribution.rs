//! Who wrote and who deleted what, and when: one squashed table that compaction carries from snapshot to snapshot.
//!
//! Filled by whoever replays a room's changes, from `Document::new_structs` and `new_deletes`. Times and authors are the caller's; the table
//! only keeps the first acceptance of each element. Shape: `varuint authors, varstrings; twice (inserts, deletes): varuint clients,
//! (varuint client, varuint spans, (varuint clock minus the end before, varuint length, varuint author, varuint milliseconds)*)*`.

use crate::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use std::collections::BTreeMap;

/// Neighbouring elements by the same author are one span when they were accepted within this many milliseconds of its first: a span then
/// stands for a stretch of typing, and the table stays a fraction of the text.
const SPAN_MS_MAX: u64 = 60_000;

/// A stretch of one client's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// First clock.
    pub start: u32,
    /// Clock behind the last.
    pub end: u32,
    /// Index into `Attribution::authors`.
    pub author: u32,
    /// First acceptance, milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// Spans by their first clock, so that one in front costs no more than one at the end.
type Table = BTreeMap<u64, BTreeMap<u32, Span>>;

/// Authors and times of all elements and deletes of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    authors: Vec<String>,
    numbers: BTreeMap<String, u32>,
    inserts: Table,
    deletes: Table,
}

impl Attribution {
    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let mut authors = Vec::new();
        for _ in 0..reader.var_uint()? {
            authors.push(reader.var_string()?.to_owned());
        }
        let numbers = authors.iter().zip(0..).map(|(author, number)| (author.clone(), number)).collect();
        Ok(Self { authors, numbers, inserts: decode_table(&mut reader)?, deletes: decode_table(&mut reader)? })
    }

    /// Whether `decode` can read it, at a fraction of its cost.
    pub fn check(bytes: &[u8]) -> Result<(), ReadError> {
        let mut reader = Reader::new(bytes);
        for _ in 0..reader.var_uint()? {
            reader.var_string()?;
        }
        for _table in ["inserts", "deletes"] {
            for _ in 0..reader.var_uint()? {
                let (_client, spans) = (reader.var_uint()?, reader.var_uint()?);
                for _ in 0..spans {
                    let (_start, _len) = (reader.var_uint()?, reader.var_uint()?);
                    let (_author, _time) = (reader.var_uint()?, reader.var_uint()?);
                }
            }
        }
        Ok(())
    }

    /// Writes the table.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_var_uint(&mut out, self.authors.len() as u64);
        for author in &self.authors {
            write_var_bytes(&mut out, author.as_bytes());
        }
        encode_table(&mut out, &self.inserts);
        encode_table(&mut out, &self.deletes);
        out
    }

    /// The number of an author, given one when new.
    pub fn author(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.numbers.get(name) {
            return known;
        }
        let number = self.authors.len() as u32;
        self.authors.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The authors by number.
    pub fn authors(&self) -> &[String] {
        &self.authors
    }

    /// Spans of what a client's elements are credited to, ascending.
    pub fn inserts(&self, client: u64) -> impl Iterator<Item = &Span> {
        self.inserts.get(&client).into_iter().flat_map(BTreeMap::values)
    }

    /// Spans of what the deletes of a client's elements are credited to, ascending.
    pub fn deletes(&self, client: u64) -> impl Iterator<Item = &Span> {
        self.deletes.get(&client).into_iter().flat_map(BTreeMap::values)
    }

    /// Credits new elements.
    pub fn inserted(&mut self, client: u64, span: Span) {
        credit(self.inserts.entry(client).or_default(), span);
    }

    /// Credits new deletes.
    pub fn deleted(&mut self, client: u64, span: Span) {
        credit(self.deletes.entry(client).or_default(), span);
    }
}

fn credit(spans: &mut BTreeMap<u32, Span>, new: Span) {
    if let Some((_, before)) = spans.range_mut(..new.start).next_back()
        && before.end == new.start
        && before.author == new.author
        && new.time_ms.abs_diff(before.time_ms) <= SPAN_MS_MAX
    {
        before.end = new.end;
        return;
    }
    spans.insert(new.start, new);
}

fn encode_table(out: &mut Vec<u8>, table: &Table) {
    write_var_uint(out, table.len() as u64);
    for (&client, spans) in table {
        write_var_uint(out, client);
        write_var_uint(out, spans.len() as u64);
        let mut end = 0;
        for span in spans.values() {
            for value in
                [u64::from(span.start - end), u64::from(span.end - span.start), u64::from(span.author), span.time_ms]
            {
                write_var_uint(out, value);
            }
            end = span.end;
        }
    }
}

fn decode_table(reader: &mut Reader<'_>) -> Result<Table, ReadError> {
    let mut table = Table::new();
    for _ in 0..reader.var_uint()? {
        let client = reader.var_uint()?;
        let (mut spans, mut end) = (BTreeMap::new(), 0u32);
        for _ in 0..reader.var_uint()? {
            let start = end.wrapping_add(reader.var_uint()? as u32);
            end = start.wrapping_add(reader.var_uint()? as u32);
            spans.insert(start, Span { start, end, author: reader.var_uint()? as u32, time_ms: reader.var_uint()? });
        }
        table.insert(client, spans);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_the_table_round_trips() {
        let mut table = Attribution::default();
        let (ann, ben) = (table.author("ann"), table.author("ben"));
        assert_eq!((table.author("ann"), ben), (ann, 1));
        for (start, end, author, time_ms) in
            [(0, 3, ann, 1_000), (3, 4, ann, 5_000), (4, 5, ben, 5_000), (5, 6, ben, 90_000)]
        {
            table.inserted(7, Span { start, end, author, time_ms });
        }
        table.deleted(7, Span { start: 4, end: 5, author: ann, time_ms: 6_000 });
        table.deleted(7, Span { start: 1, end: 2, author: ben, time_ms: 7_000 });
        let starts: Vec<_> = table.inserts(7).map(|span| (span.start, span.end, span.author)).collect();
        assert_eq!(starts, [(0, 4, ann), (4, 5, ben), (5, 6, ben)]);
        assert_eq!(table.deletes(7).map(|span| span.start).collect::<Vec<_>>(), [1, 4]);
        let bytes = table.encode();
        assert_eq!(Attribution::check(&bytes), Ok(()));
        assert_eq!(Attribution::decode(&bytes), Ok(table));
        for end in 0..bytes.len() {
            assert_eq!(Attribution::check(&bytes[..end]).err(), Attribution::decode(&bytes[..end]).err());
        }
    }
}
