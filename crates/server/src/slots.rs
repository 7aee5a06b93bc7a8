//! Names for what a worker holds in tables: a place that is used again, and a number that is not, so that a late message finds nobody
//! and not somebody else.

use room::MemberId;

/// Bits of a member's name that say where its socket is; a worker has fewer sockets than that.
const SLOT_BITS: u32 = 24;

/// One life of a room in one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoomId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// The name of the member whose socket is at `slot`. `serial` is never used twice in a process.
pub(crate) fn member_at(slot: usize, serial: u64) -> MemberId {
    MemberId(serial << SLOT_BITS | slot as u64)
}

/// Where a member's socket is, or was.
pub(crate) fn slot_of(member: MemberId) -> usize {
    (member.0 & ((1 << SLOT_BITS) - 1)) as usize
}
