//! Who is in a room: its id, what it may do, in whose name it acts, where it stood when it last said so.

use crate::message::{Author, Manner, Person};
use document::StateVector;
use std::collections::BTreeMap;
use std::sync::Arc;
use thin_vec::ThinVec;

/// Names a member for as long as it is in the room. Given by the server, never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// What a member may do. Presence is allowed to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Receives everything, changes nothing.
    Read,
    /// Receives and changes.
    Write,
}

/// What sort of member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One client: everything it sends is its own.
    Client,
    /// Another server: names the author of each change itself, is acknowledged by position, and owns any number of presence ids.
    Peer,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) kind: Kind,
    pub(crate) access: Access,
    pub(crate) author: Author,
    /// Whether other members may take over its presence ids by a higher clock: only its own identity when authentication is on.
    pub(crate) trusts_all: bool,
    /// The state vector of its last step 1.
    pub(crate) known: StateVector,
    pub(crate) told_read_only: bool,
    /// How often something had been applied when it was asked for what is missing: asked again before that, it could not say more.
    pub(crate) asked_at: Option<u64>,
    /// Times of its last malformed messages.
    pub(crate) malformed_ms: ThinVec<u64>,
    pub(crate) manner: Manner,
    pub(crate) guest: Option<Box<Guest>>,
}

/// What is known of a member that was introduced.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) person: Arc<Person>,
    /// Its presence id.
    pub(crate) id: u64,
    /// The clock of its last state.
    pub(crate) clock: u32,
}

/// Who is in a room, by ascending id: new ones come last. A list of boxes, since the nodes of a tree have places for eleven, and most rooms have two.
#[derive(Debug, Default)]
pub(crate) struct Members {
    list: Vec<(MemberId, Box<Member>)>,
    peers: usize,
    /// Most dialects introduce nobody.
    introduced: Option<Box<Introduced>>,
}

/// Those who were introduced.
#[derive(Debug, Default)]
struct Introduced {
    /// Ascending: in the order of their coming.
    members: Vec<MemberId>,
    /// By their presence ids.
    by_presence_id: BTreeMap<u64, MemberId>,
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn insert(&mut self, id: MemberId, member: Member) {
        self.remove(id);
        self.peers += usize::from(member.kind == Kind::Peer);
        let place = self.place(id).unwrap_or_else(|place| place);
        self.list.insert(place, (id, Box::new(member)));
    }

    /// Returns as whom it was introduced.
    pub(crate) fn remove(&mut self, id: MemberId) -> Option<Box<Guest>> {
        let place = self.place(id).ok()?;
        let (_, member) = self.list.remove(place);
        self.peers -= usize::from(member.kind == Kind::Peer);
        if let (Some(guest), Some(introduced)) = (&member.guest, &mut self.introduced) {
            introduced.by_presence_id.remove(&guest.id);
            if let Ok(place) = introduced.members.binary_search(&id) {
                introduced.members.remove(place);
            }
        }
        if self.list.len() * 4 <= self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
        }
        member.guest
    }

    /// Notes as whom a member was introduced.
    pub(crate) fn introduce(&mut self, id: MemberId, guest: Guest) {
        let presence_id = guest.id;
        let Some(member) = self.get_mut(id) else { return };
        let before = member.guest.replace(Box::new(guest));
        let introduced = self.introduced.get_or_insert_default();
        if let Some(before) = before {
            introduced.by_presence_id.remove(&before.id);
        }
        introduced.by_presence_id.insert(presence_id, id);
        if let Err(place) = introduced.members.binary_search(&id) {
            introduced.members.insert(place, id);
        }
    }

    /// Those who were introduced, in the order of their coming.
    pub(crate) fn guests(&self) -> impl Iterator<Item = (MemberId, &Guest)> {
        let members = self.introduced.iter().flat_map(|introduced| &introduced.members);
        members.filter_map(|id| Some((*id, self.get(*id)?.guest.as_deref()?)))
    }

    /// Who was given a presence id.
    pub(crate) fn guest_of(&self, presence_id: u64) -> Option<MemberId> {
        self.introduced.as_ref()?.by_presence_id.get(&presence_id).copied()
    }

    pub(crate) fn has_guests(&self) -> bool {
        self.introduced.as_ref().is_some_and(|introduced| !introduced.members.is_empty())
    }

    pub(crate) fn get(&self, id: MemberId) -> Option<&Member> {
        self.place(id).ok().map(|place| &*self.list[place].1)
    }

    pub(crate) fn get_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.place(id).ok().map(|place| &mut *self.list[place].1)
    }

    /// The peers among them. Costs nothing when there are none.
    pub(crate) fn peers(&self) -> impl Iterator<Item = MemberId> {
        let looked_through = if self.peers > 0 { self.list.as_slice() } else { &[] };
        looked_through.iter().filter(|(_, member)| member.kind == Kind::Peer).map(|(id, _)| *id)
    }

    fn place(&self, id: MemberId) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |(known, _)| *known)
    }
}
