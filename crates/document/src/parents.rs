//! The types that hold structs: root types by name, others by the item that holds them. Each once, so that a struct needs only a number.
//!
//! Owned by `Document`. A type is in the table before its children. Knows how deep each lies, not what is in it.

use crate::limits::Exceeded;
use crate::structs::Ref;
use std::collections::BTreeMap;

/// Memory of one entry of a small tree, about.
pub(crate) const TREE_ENTRY_BYTES: usize = 32;

/// The types that hold structs, each once.
#[derive(Clone, Debug)]
pub(crate) struct Parents {
    pub(crate) entries: Vec<ParentEntry>,
    roots: BTreeMap<Box<[u8]>, u32>,
    items: BTreeMap<(u32, u32), u32>,
    pub(crate) bytes: usize,
    /// Nothing lies deeper.
    pub(crate) deepest: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct ParentEntry {
    pub(crate) name: Name,
    pub(crate) depth: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Name {
    /// The parent is not known any more: a neighbour was collected.
    Dead,
    Root(Box<[u8]>),
    Item(Ref),
}

impl Default for Parents {
    fn default() -> Self {
        let dead = ParentEntry { name: Name::Dead, depth: 0 };
        Self { entries: vec![dead], roots: BTreeMap::new(), items: BTreeMap::new(), bytes: 0, deepest: 0 }
    }
}

impl Parents {
    pub(crate) const DEAD: u32 = 0;

    /// Those of a document on a base, in which nothing lies deeper than that: what is in there is not told apart from what is not known any more.
    pub(crate) fn on_base(depth: u32) -> Self {
        let mut parents = Self { deepest: depth, ..Self::default() };
        parents.entries[Self::DEAD as usize].depth = depth;
        parents
    }

    pub(crate) fn root(&mut self, name: &[u8]) -> u32 {
        if let Some(&known) = self.roots.get(name) {
            return known;
        }
        self.bytes += 2 * name.len() + size_of::<ParentEntry>() + TREE_ENTRY_BYTES;
        self.entries.push(ParentEntry { name: Name::Root(name.into()), depth: 0 });
        *self.roots.entry(name.into()).or_insert(self.entries.len() as u32 - 1)
    }

    pub(crate) fn item(&mut self, reference: Ref, above: u32) -> u32 {
        if let Some(&known) = self.items.get(&(reference.client, reference.clock)) {
            return known;
        }
        let depth = self.entries[above as usize].depth.saturating_add(1);
        self.deepest = self.deepest.max(depth);
        self.bytes += size_of::<ParentEntry>() + TREE_ENTRY_BYTES;
        self.entries.push(ParentEntry { name: Name::Item(reference), depth });
        *self.items.entry((reference.client, reference.clock)).or_insert(self.entries.len() as u32 - 1)
    }

    pub(crate) fn within(&self, parent: u32, depth_max: u32) -> Result<(), Exceeded> {
        if self.entries[parent as usize].depth < depth_max { Ok(()) } else { Err(Exceeded::Depth(depth_max)) }
    }
}
