//! Authors who write at random, and what a document of all they wrote must contain.
//!
//! The model keeps single elements and decides by recursion what the store decides in its tables.

use crate::reader::{Element, Elements, elements};
use crate::writer::{Content, Id, Item, Parent, write};
use document::{Document, RoomLimits};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Client ids of one to eight bytes. An author's number is its place here.
pub(crate) const CLIENTS: [u64; 5] = [1, 300, 2, (1 << 32) - 1, (1 << 53) - 1];

/// A message and its author's number.
pub(crate) type Message = (u32, Vec<u8>);

struct Author {
    client: u64,
    clock: u32,
    known: Vec<Id>,
    types: Vec<Id>,
    document: Document,
}

/// What each author sends, in an order in which nothing is missing. With `overlapping` an author often sends again what it sent before,
/// joined with what is new.
pub(crate) fn history(random: &mut Rng, messages: usize, overlapping: bool) -> Vec<Message> {
    let new = |client| Author {
        client,
        clock: 0,
        known: Vec::new(),
        types: Vec::new(),
        document: Document::new(RoomLimits::STORED),
    };
    let mut authors: Vec<Author> = CLIENTS.map(new).into();
    let mut out = Vec::new();
    for _ in 0..messages {
        let (number, other) = (random.usize(..authors.len()), random.usize(..authors.len()));
        if number != other && random.u8(..3) == 0 {
            let (known, types) = (authors[other].known.clone(), authors[other].types.clone());
            let news = authors[other].document.diff(&authors[number].document.state_vector(), true);
            authors[number].learn(&known, &types, &news);
        }
        let before = authors[number].document.clone();
        let mut message = authors[number].write(random);
        if overlapping && random.bool() {
            let state = before.state_vector();
            let older = state.entries().iter().map(|&(client, clock)| (client, clock.saturating_sub(random.u32(..6))));
            let older = whole_characters(&authors[number].document, older.collect());
            message = authors[number].document.diff(&older, true);
        }
        out.push((number as u32, message));
    }
    out
}

/// Moves clocks out of the middle of surrogate pairs: what is cut there cannot be written as text.
fn whole_characters(document: &Document, mut entries: Vec<(u64, u32)>) -> document::StateVector {
    let all = elements(&document.snapshot(true));
    for (client, clock) in &mut entries {
        *clock -= u32::from(all.structs.get(&(*client, *clock)).is_some_and(|element| is_half(element, 0xdc)));
    }
    document::StateVector::from_entries(entries)
}

impl Author {
    fn learn(&mut self, known: &[Id], types: &[Id], news: &[u8]) {
        self.known.extend_from_slice(known);
        self.types.extend_from_slice(types);
        self.known.sort_unstable();
        self.known.dedup();
        self.types.sort_unstable();
        self.types.dedup();
        crate::add(&mut self.document, news);
    }

    fn write(&mut self, random: &mut Rng) -> Vec<u8> {
        let (start, mut items) = (self.clock, Vec::new());
        for _ in 0..random.u32(..4) {
            let item = self.item(random);
            if item.content.kind == 7 {
                self.types.push((self.client, self.clock));
            }
            self.known.extend((self.clock..self.clock + item.content.len).map(|clock| (self.client, clock)));
            self.clock += item.content.len;
            items.push(item);
        }
        let deletes = self.deletes(random, items.is_empty());
        let sections = if items.is_empty() { Vec::new() } else { vec![(self.client, start, items)] };
        let bytes = write(&sections, &deletes);
        crate::add(&mut self.document, &bytes);
        bytes
    }

    fn item(&self, random: &mut Rng) -> Item {
        let content = content(random);
        let mut item = Item::root(content);
        match random.u8(..8) {
            // Typing on, which is what joins.
            0..=3 if self.clock > 0 => item.origin = Some((self.client, self.clock - 1)),
            4 => item.origin = random.choice(self.known.iter().copied()),
            5 => {
                item.origin = random.choice(self.known.iter().copied());
                item.right = random.choice(self.known.iter().copied());
            }
            6 => item.parent = random.choice(self.types.iter().copied()).map_or(item.parent, Parent::Item),
            _ => item.parent = Parent::Root(random.choice(["t", "m", "a long name"]).unwrap_or_default().into()),
        }
        item.key = (item.origin.is_none() && item.right.is_none() && random.u8(..4) == 0).then_some("k");
        item
    }

    /// Of what it knows, and now and then of what nobody has written yet.
    fn deletes(&self, random: &mut Rng, at_least_one: bool) -> Vec<(u64, Vec<(u32, u32)>)> {
        let mut all = BTreeSet::new();
        for _ in 0..random.u32(..3).max(u32::from(at_least_one)) {
            let (client, clock) =
                random.choice(self.known.iter().copied()).unwrap_or((random.choice(CLIENTS).unwrap_or_default(), 3));
            all.extend((clock..clock + random.u32(1..4)).map(|clock| (client, clock)));
        }
        let mut by_client: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
        for (client, clock) in all {
            let ranges = by_client.entry(client).or_default();
            match ranges.last_mut().filter(|(start, len)| start + len == clock) {
                Some((_, len)) => *len += 1,
                None => ranges.push((clock, 1)),
            }
        }
        by_client.into_iter().rev().collect()
    }
}

fn content(random: &mut Rng) -> Content {
    match random.u8(..12) {
        0..=4 => Content::text(random.choice(["a", "hello", "é😀", "日本", "😀😀"]).unwrap_or_default()),
        5 => Content::numbers(&[1, 2, 3][..random.usize(1..4)]),
        6 => Content::json(&["1", "undefined"]),
        7 => random
            .choice([Content::embed("{}"), Content::binary(&[9]), Content::document()])
            .unwrap_or_else(|| Content::embed("1")),
        8 => Content::format("bold", "true"),
        9 => Content::deleted(random.u32(1..4)),
        10 if random.bool() => Content::collected(random.u32(1..4)),
        _ => Content::shared(random.u8(..7)),
    }
}

/// Everything that the messages say, each element once.
pub(crate) fn union<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Elements {
    let mut all = Elements::default();
    for (_, bytes) in messages {
        let Elements { structs, deletes } = elements(bytes);
        for (id, element) in structs {
            // An element in the middle of one message and at the beginning of another is the same, said differently.
            all.structs
                .entry(id)
                .and_modify(|known| assert_eq!((known.kind, &known.unit), (element.kind, &element.unit)))
                .or_insert(element);
        }
        all.deletes.extend(deletes);
    }
    all
}

/// The same with content where it is deleted left out, and what lies in deleted types collected.
pub(crate) fn collected(all: &Elements) -> Elements {
    let mut memory = BTreeMap::new();
    let structs = all.structs.iter().map(|(&id, element)| {
        let empty = Element { unit: Vec::new(), ..element.clone() };
        let seen = if element.kind == 0 || in_dead_type(all, id, &mut memory) {
            Element { kind: 0, origin: None, right: None, parent: None, key: None, ..empty }
        } else if all.deletes.contains(&id) {
            Element { kind: 1, ..empty }
        } else if is_torn(all, id, element) {
            Element { unit: vec![0xff, 0xfd], ..element.clone() }
        } else {
            element.clone()
        };
        (id, seen)
    });
    Elements { structs: structs.collect(), deletes: all.deletes.clone() }
}

fn in_dead_type(all: &Elements, id: Id, memory: &mut BTreeMap<Id, bool>) -> bool {
    if let Some(&known) = memory.get(&id) {
        return known;
    }
    let dead = match all.structs.get(&id) {
        None => true,
        Some(element) if element.kind == 0 => true,
        Some(Element { origin: Some(before), .. }) => in_dead_type(all, *before, memory),
        Some(Element { right: Some(after), .. }) => in_dead_type(all, *after, memory),
        Some(Element { parent: Some(Parent::Item(holder)), .. }) => {
            all.structs[holder].kind != 7 || all.deletes.contains(holder) || in_dead_type(all, *holder, memory)
        }
        Some(_) => false,
    };
    memory.insert(id, dead);
    dead
}

/// Half a surrogate pair of which the other half is deleted.
fn is_torn(all: &Elements, (client, clock): Id, element: &Element) -> bool {
    let deleted = |clock| all.deletes.contains(&(client, clock));
    (is_half(element, 0xd8) && deleted(clock + 1)) || (is_half(element, 0xdc) && deleted(clock - 1))
}

fn is_half(element: &Element, high: u8) -> bool {
    element.kind == 4 && element.unit.first().is_some_and(|byte| byte & 0xfc == high)
}
