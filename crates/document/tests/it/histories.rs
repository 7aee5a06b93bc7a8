//! Random histories of several authors: whatever the order and however often, each element is told once and all ends the same.

use crate::model::{CLIENTS, Message, collected, history, union};
use crate::reader::{Elements, elements};
use crate::{bytes_of, update};
use document::{Document, Part, RoomLimits};
use fastrand::Rng;
use std::collections::BTreeSet;

/// A document, somebody who is told what it accepts, and all that was told.
struct Relay {
    document: Document,
    follower: Document,
    told: Elements,
    /// Every message comes from its author, so authors can be checked.
    authors_speak_for_themselves: bool,
}

impl Relay {
    fn new(authors_speak_for_themselves: bool) -> Self {
        let empty = || Document::new(RoomLimits { parked_bytes_max: usize::MAX, ..RoomLimits::default() });
        Self { document: empty(), follower: empty(), told: Elements::default(), authors_speak_for_themselves }
    }

    fn feed(&mut self, (author, bytes): &Message) {
        let message = elements(bytes);
        let waited = waiting(&self.document);
        let already_known = message.structs.keys().any(|id| self.told.structs.contains_key(id) || waited.contains(id))
            || message.deletes.iter().any(|id| self.told.deletes.contains(id));
        let added = self.document.add(&update(bytes), *author);
        assert_eq!(added.refused, None);

        let mut news = Elements::default();
        for part in &added.parts {
            let said = elements(bytes_of(part, bytes));
            assert!(!said.structs.is_empty() || !said.deletes.is_empty(), "an empty part");
            if let (Part::Cut { author, .. }, true) = (part, self.authors_speak_for_themselves) {
                assert!(
                    said.structs.keys().all(|&(client, _)| client == CLIENTS[*author as usize]),
                    "another author's elements"
                );
            }
            news.add_new(said);
            let told = self.follower.add(&update(bytes_of(part, bytes)), 0);
            assert_eq!(told.refused, None);
        }
        assert_eq!(self.follower.parked_updates(), [], "parts of one batch need nothing else");
        assert_eq!(self.follower.state_vector(), self.document.state_vector());

        let parked = added.parked.as_deref().map(elements).unwrap_or_default();
        if !already_known && parked.structs.is_empty() {
            assert_eq!(added.parts.first(), Some(&Part::Whole), "all of it is new: it goes out as it came");
        }
        for id in message.structs.keys() {
            let known = self.told.structs.contains_key(id) || news.structs.contains_key(id);
            let waits = parked.structs.contains_key(id) || waiting(&self.document).contains(id);
            assert!(known != waits, "{id:?} is {}", if known { "both applied and waiting" } else { "lost" });
        }
        assert_eq!(reported(&self.document), (news.structs.keys().copied().collect(), news.deletes.clone()));
        self.told.add_new(news);
    }
}

/// Elements that are parked.
fn waiting(document: &Document) -> Ids {
    document.parked_updates().iter().flat_map(|(_, bytes)| elements(bytes).structs.into_keys()).collect()
}

type Ids = BTreeSet<(u64, u32)>;

/// What the last `add` says was new, each element once.
fn reported(document: &Document) -> (Ids, Ids) {
    let (mut structs, mut deletes) = (Ids::new(), Ids::new());
    for new in document.new_structs() {
        for clock in new.start..new.end {
            assert!(structs.insert((new.client, clock)), "element {}:{clock} reported twice", new.client);
        }
    }
    for (client, start, end) in document.new_deletes() {
        for clock in start..end {
            assert!(deletes.insert((client, clock)), "delete of {client}:{clock} reported twice");
        }
    }
    (structs, deletes)
}

/// A message can be cut at the first element that is known: the elements of the model say so, those written do not.
fn uncut(mut elements: Elements, as_in: &Elements) -> Elements {
    for (id, element) in &mut elements.structs {
        let model = &as_in.structs[id];
        if element.kind != 0
            && model.kind == element.kind
            && element.origin == id.1.checked_sub(1).map(|before| (id.0, before))
        {
            (element.parent, element.key) = (model.parent.clone(), model.key.clone());
            element.origin = model.origin;
        }
    }
    elements
}

/// Runs a check for many seeds, and says which one failed.
fn with_seeds(count: u64, check: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    for seed in 0..count {
        let run = std::panic::catch_unwind(|| check(&mut Rng::with_seed(seed)));
        assert!(run.is_ok(), "failed with seed {seed}");
    }
}

fn ends_as(document: &Document, messages: &[Message]) {
    let all = union(messages);
    let (kept, cleaned) = (elements(&document.snapshot(true)), elements(&document.snapshot(false)));
    assert_eq!(uncut(kept, &all), all);
    let model = collected(&all);
    assert_eq!(uncut(cleaned, &model), model);
    assert_eq!(document.parked_updates(), [], "nothing waits in the end");
}

#[test]
fn in_order_everything_goes_out_as_it_came() {
    with_seeds(300, |random| {
        let messages = history(random, 40, false);
        let mut relay = Relay::new(true);
        messages.iter().for_each(|message| relay.feed(message));
        ends_as(&relay.document, &messages);
        ends_as(&relay.follower, &messages);
    });
}

#[test]
fn order_and_repetition_do_not_matter() {
    with_seeds(300, |random| {
        let messages = history(random, 40, false);
        let mut deck: Vec<&Message> = messages.iter().chain(messages.iter().filter(|_| random.u8(..3) == 0)).collect();
        random.shuffle(&mut deck);
        let mut relay = Relay::new(true);
        deck.into_iter().for_each(|message| relay.feed(message));
        ends_as(&relay.document, &messages);
        ends_as(&relay.follower, &messages);
    });
}

#[test]
fn messages_may_overlap() {
    with_seeds(300, |random| {
        let messages = history(random, 40, true);
        let mut deck: Vec<&Message> = messages.iter().collect();
        for place in 1..deck.len() {
            deck.swap(place, random.usize(place.saturating_sub(6)..=place));
        }
        let mut relay = Relay::new(false);
        deck.into_iter().for_each(|message| relay.feed(message));
        ends_as(&relay.document, &messages);
        ends_as(&relay.follower, &messages);
    });
}

#[test]
fn the_second_time_nothing_is_new() {
    with_seeds(50, |random| {
        let messages = history(random, 30, true);
        let mut document = Document::default();
        messages.iter().for_each(|(author, bytes)| drop(document.add(&update(bytes), *author)));
        let before = (document.snapshot(true), document.bytes(), document.counts());
        for (author, bytes) in &messages {
            assert_eq!(document.add(&update(bytes), *author), document::Added::default());
            assert!(!document.brings_structs(&update(bytes)));
            assert_eq!(reported(&document), (Ids::new(), Ids::new()));
        }
        assert_eq!((document.snapshot(true), document.bytes(), document.counts()), before);
    });
}

#[test]
fn an_older_document_and_the_difference_make_the_newer_one() {
    with_seeds(200, |random| {
        let messages = history(random, 40, true);
        let mut document = Document::new(RoomLimits { parked_bytes_max: usize::MAX, ..RoomLimits::default() });
        let mut older = vec![document.clone()];
        // Some messages come late, so that things wait at the end too.
        for (author, bytes) in &messages {
            match random.u8(..8) {
                0 => continue,
                1 => older.push(document.clone()),
                _ => {}
            }
            document.add(&update(bytes), *author);
        }
        for mut older in older {
            for keep_deleted in [true, false] {
                let diff = document.diff(&older.state_vector(), keep_deleted);
                older.add(&update(&diff), 0);
                assert_eq!(older.state_vector(), document.state_vector());
                assert_eq!(elements(&older.snapshot(keep_deleted)), elements(&document.snapshot(keep_deleted)));
                assert_eq!(waiting(&older), waiting(&document));
            }
        }
    });
}

#[test]
fn compaction_changes_nothing_that_can_be_seen() {
    with_seeds(200, |random| {
        let messages = history(random, 40, true);
        let mut deck: Vec<&Message> = messages.iter().collect();
        random.shuffle(&mut deck);
        let mut relay = Relay::new(false);
        for message in deck {
            relay.feed(message);
            if random.u8(..4) == 0 {
                let before = (relay.document.state_vector(), relay.document.snapshot(false), waiting(&relay.document));
                relay.document.compact();
                assert_eq!(
                    (relay.document.state_vector(), relay.document.snapshot(false), waiting(&relay.document)),
                    before
                );
            }
        }
        let model = collected(&union(&messages));
        assert_eq!(uncut(elements(&relay.document.snapshot(false)), &model), model);
    });
}

/// The same history on a base, and on the structs of the same snapshot.
#[test]
fn a_document_on_a_base_is_the_document() {
    let kept = std::sync::atomic::AtomicUsize::new(0);
    with_seeds(400, |random| {
        // Where nesting is hardly bounded the base lasts; where it is, the same is refused.
        let depth_max = if random.bool() { 256 } else { random.u32(1..6) };
        let limits = RoomLimits { parked_bytes_max: usize::MAX, depth_max, ..RoomLimits::default() };
        let messages = history(random, 40, true);
        let (before, after) = messages.split_at(random.usize(..messages.len()));
        let keep_deleted = random.bool();
        let mut first = Document::new(limits);
        before.iter().for_each(|(author, bytes)| drop(first.add(&update(bytes), *author)));
        let snapshot = first.snapshot(keep_deleted);
        let mut structs = Document::new(limits);
        structs.add(&update(&snapshot), 0);
        let mut based = Document::from_snapshot(limits, snapshot.clone().into(), first.depth()).expect("a snapshot");
        assert_eq!(based.unchanged_base().is_some(), !elements(&snapshot).structs.is_empty());
        let replicas = [Document::new(limits), structs.clone()];

        for (author, bytes) in after {
            if random.u8(..8) == 0 {
                continue;
            }
            assert_eq!(based.brings_structs(&update(bytes)), structs.brings_structs(&update(bytes)));
            assert_eq!(based.add(&update(bytes), *author), structs.add(&update(bytes), *author));
            assert_eq!(reported(&based), reported(&structs));
            if random.u8(..8) == 0 {
                let known = random.choice(&replicas).map(Document::state_vector).unwrap_or_default();
                assert_eq!(based.known_part(&known), structs.known_part(&known));
            }
            if random.u8(..16) == 0 {
                same(&based, &structs, &replicas, random);
            }
        }
        kept.fetch_add(usize::from(based.base().is_some()), std::sync::atomic::Ordering::Relaxed);
        same(&based, &structs, &replicas, random);
        based.expand();
        assert_eq!(based.base(), None);
        same(&based, &structs, &replicas, random);
        assert_eq!(based.counts(), structs.counts());
    });
    assert!(kept.into_inner() > 100, "hardly any base lasted to the end");
}

/// Two documents that say the same to whoever asks.
fn same(based: &Document, structs: &Document, replicas: &[Document], random: &mut Rng) {
    assert_eq!(based.state_vector(), structs.state_vector());
    assert_eq!(based.parked_updates(), structs.parked_updates());
    for keep_deleted in [true, false] {
        assert_eq!(based.snapshot(keep_deleted), structs.snapshot(keep_deleted));
    }
    let some = structs.state_vector().entries().iter().map(|&(id, clock)| (id, random.u32(..=clock))).collect();
    let some = document::StateVector::from_entries(some);
    let whole = structs.diff(&document::StateVector::default(), true);
    for replica in replicas {
        let (mut of_base, mut of_structs) = (replica.clone(), replica.clone());
        of_base.add(&update(&based.diff(&replica.state_vector(), true)), 0);
        of_structs.add(&update(&structs.diff(&replica.state_vector(), true)), 0);
        assert_eq!(of_base.snapshot(true), of_structs.snapshot(true));
        assert_eq!(waiting(&of_base), waiting(&of_structs));
    }
    // Nothing is cut, left out or doubled, wherever somebody stands, also within a struct.
    let (of_base, of_structs) = (elements(&based.diff(&some, true)), elements(&structs.diff(&some, true)));
    let all = elements(&whole);
    assert_eq!(uncut(of_base.clone(), &all), uncut(of_structs.clone(), &all));
    assert_eq!(of_base.structs.keys().collect::<Vec<_>>(), of_structs.structs.keys().collect::<Vec<_>>());
    assert_eq!(of_base.deletes, of_structs.deletes);
    if let Some(base) = based.base() {
        let mut joined = Document::new(RoomLimits { parked_bytes_max: usize::MAX, ..RoomLimits::default() });
        joined.add(&update(base), 0);
        assert_eq!(joined.parked_updates(), [], "a base needs nothing else");
        assert_eq!(joined.state_vector(), based.base_vector());
        joined.add(&update(&based.diff(&based.base_vector(), false)), 0);
        assert_eq!(joined.snapshot(false), structs.snapshot(false));
        assert_eq!(waiting(&joined), waiting(structs));
    }
}

#[test]
fn a_snapshot_with_holes_or_out_of_order_is_no_base() {
    for (hex, whole) in [
        ("01 01 01 00 04 01 01 74 02 68 69 00", true),
        ("01 01 01 01 84 01 00 01 69 00", false), // does not begin at the beginning
        ("01 02 01 00 04 01 01 74 02 68 69 0a 03 00", false), // a hole
        ("02 01 01 00 04 01 01 74 01 61 01 02 00 04 01 01 74 01 62 00", false), // ascending clients
        ("01 01 01 00 04 01 01 74 02 68 69 01 01 02 01 01 00 01", false), // delete ranges out of order
        ("00 01 01 01 00 01", false),             // deletes alone
    ] {
        let bytes = crate::notation::bytes(hex);
        let based = Document::from_snapshot(RoomLimits::default(), bytes.clone().into(), 0).expect("an update");
        let mut structs = Document::default();
        structs.add(&update(&bytes), 0);
        assert_eq!(based.base().is_some(), whole, "{hex}");
        assert_eq!((based.snapshot(true), based.parked_updates()), (structs.snapshot(true), structs.parked_updates()));
    }
    assert!(Document::from_snapshot(RoomLimits::default(), vec![1, 2, 3].into(), 0).is_err());
}

#[test]
fn of_a_snapshot_that_builds_on_what_is_not_in_it_nothing_is_lost() {
    let snapshot = crate::notation::bytes("02 01 02 00 84 07 05 01 61 01 01 00 04 01 01 74 02 68 69 00");
    let waiting_too = crate::notation::bytes("01 01 05 01 84 05 00 01 21 00");
    let mut document = Document::from_snapshot(RoomLimits::default(), snapshot.clone().into(), 0).expect("an update");
    assert!(document.base().is_some());
    document.add(&update(&waiting_too), 3);
    document.expand();
    assert_eq!(document.state_vector().entries(), [(1, 2)]);
    assert_eq!(waiting(&document), Ids::from([(2, 0), (5, 1)]));
}
