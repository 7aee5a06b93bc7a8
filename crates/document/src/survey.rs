//! What is where in an update, noted while it is checked.
//!
//! Filled by `wire`'s one pass, used by whoever keeps an update as the bytes that it is. Does not look into structs itself.

/// What is where in an update.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// By descending client, if it `is_whole`.
    pub(crate) sections: Vec<Surveyed>,
    /// Where the delete sections begin.
    pub(crate) deletes_at: usize,
    pub(crate) structs: u64,
    /// All clients from their first clock on, without holes, in the order in which every known writer has them.
    pub(crate) is_whole: bool,
}

/// A section of structs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surveyed {
    pub(crate) client: u64,
    /// Clock behind its last element.
    pub(crate) end: u32,
    /// Where its count of structs is.
    pub(crate) at: usize,
}

/// Told what a check comes by.
pub(crate) trait Surveyor {
    fn structs(&mut self, count: u64, first: u32, section: Surveyed);
    fn hole(&mut self);
    fn deletes(&mut self, at: usize, in_order: bool);
}

impl Surveyor for () {
    fn structs(&mut self, _: u64, _: u32, _: Surveyed) {}
    fn hole(&mut self) {}
    fn deletes(&mut self, _: usize, _: bool) {}
}

impl Surveyor for Survey {
    fn structs(&mut self, count: u64, first: u32, section: Surveyed) {
        self.is_whole &= first == 0;
        self.structs += count;
        self.sections.push(section);
    }

    fn hole(&mut self) {
        self.is_whole = false;
    }

    fn deletes(&mut self, at: usize, in_order: bool) {
        self.deletes_at = at;
        self.is_whole &= in_order;
    }
}
