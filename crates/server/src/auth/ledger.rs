//! What was decided about rooms and people: locks, deletions, revocations, and whose drafts are. Kept in the store as the log of a room of its own, so it
//! survives what documents survive, and says who decided what when.
//!
//! Read at every door, changed by the admin API and by whoever makes a draft. A change counts, for everybody who asks from then on, when it is on the disk. What cannot be read
//! back keeps the server from starting: a lost revocation would open a door.

use super::draft::Draft;
use crate::logging::Printable;
use crate::room_kind::{RoomKind, rules_name};
use bytes::Bytes;
use identity::{Credential, Identity, Permission, RoomPattern};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use store::{Change, Durable, Opened, Position, RoomKey, Store, StoreError};

/// Its name in the store, beside the rooms of documents.
const KEY: &str = "access/ledger";
/// Revocations that are kept: each is looked at when somebody enters.
const REVOCATIONS_MAX: usize = 10_000;
/// Registered drafts: each takes some 200 bytes of memory, and whoever may make documents makes them.
const DRAFTS_MAX: usize = 500_000;

/// Credentials that were issued before a moment do not count any more, or only for reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Whose; `None`: everybody's.
    pub user: Option<String>,
    /// For which rooms; `None`: for all.
    pub room: Option<RoomPattern>,
    /// What they may still do.
    pub read: bool,
    /// Tokens up to this second, since the Unix epoch, are meant.
    pub issued_until_s: u64,
}

impl Revocation {
    /// Whether a token that was issued then, to this user, is meant, for this room.
    fn means(&self, user: &str, room: &str, issued_at_s: Option<u64>) -> bool {
        self.user.as_deref().is_none_or(|revoked| revoked == user)
            // A token that does not say when it was issued may be as old as anything.
            && issued_at_s.is_none_or(|issued| issued <= self.issued_until_s)
            && self.room.as_ref().is_none_or(|pattern| pattern.matches(room))
    }

    /// It says all that `other` says.
    fn covers(&self, other: &Self) -> bool {
        (self.user.is_none() || self.user == other.user)
            && (self.room.is_none() || self.room == other.room)
            && (!self.read || other.read)
            && self.issued_until_s >= other.issued_until_s
    }
}

/// One decision.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entry {
    Lock(String),
    Unlock(String),
    Delete(String),
    Reopen(String),
    Revoke(Revocation),
    ForgetRevocations,
    Register(String, Draft),
    Unregister(String),
}

/// What the decisions come to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    locked: BTreeSet<String>,
    /// With the time, ms since the Unix epoch.
    deleted: BTreeMap<String, u64>,
    revoked: Vec<Revocation>,
    /// By the names that the rules about rooms use. Sums of earlier versions have none.
    #[serde(default)]
    drafts: BTreeMap<String, Draft>,
}

impl State {
    fn apply(&mut self, entry: Entry, time_ms: u64) {
        match entry {
            Entry::Lock(room) => _ = self.locked.insert(room),
            Entry::Unlock(room) => _ = self.locked.remove(&room),
            Entry::Delete(room) => _ = self.deleted.insert(room, time_ms),
            Entry::Reopen(room) => _ = self.deleted.remove(&room),
            Entry::Revoke(revocation) => {
                self.revoked.retain(|known| !revocation.covers(known));
                self.revoked.push(revocation);
            }
            Entry::ForgetRevocations => self.revoked.clear(),
            Entry::Register(room, draft) => _ = self.drafts.insert(room, draft),
            Entry::Unregister(room) => _ = self.drafts.remove(&room),
        }
    }

    /// What the log says, and whether all of it could be read.
    fn read(opened: &Opened) -> (Self, Result<(), String>) {
        let mut whole = Ok(());
        let mut state = Self::default();
        if let Some(sum) = &opened.snapshot {
            match serde_json::from_slice(sum) {
                Ok(sum) => state = sum,
                Err(error) => whole = Err(format!("their sum is damaged ({error})")),
            }
        }
        for (offset, change) in &opened.changes {
            match serde_json::from_slice(&change.bytes) {
                Ok(entry) => state.apply(entry, change.time_ms),
                Err(error) => whole = Err(format!("number {offset} is damaged ({error})")),
            }
        }
        let missing = (opened.head - opened.snapshot_offset).saturating_sub(opened.changes.len() as u64);
        if missing > 0 || !opened.damage.is_empty() {
            whole = Err(format!("{} of them are missing", missing.max(opened.damage.len() as u64)));
        }
        (state, whole)
    }
}

/// The decisions, and where they are kept.
pub struct Ledger {
    store: Arc<dyn Store>,
    state: RwLock<State>,
    drafts_max: usize,
    /// Who writes holds this, so that the log and `state` have the same order.
    log: Mutex<Log>,
}

/// Where its log stands.
struct Log {
    at: Position,
    /// Decisions since the last sum.
    changes: u64,
    /// Keeps the store from forgetting the room.
    _cell: Arc<Durable>,
}

/// Why a decision was not taken, or none can be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// [`REVOCATIONS_MAX`].
    #[error(
        "there are {REVOCATIONS_MAX} revocations already; revoke for all at once, or forget those whose tokens have run out (DELETE /api/admin/revocations)"
    )]
    Full,
    /// [`DRAFTS_MAX`].
    #[error("there are {DRAFTS_MAX} registered drafts already; unregister some (DELETE /api/admin/drafts/ID)")]
    TooManyDrafts,
    /// What is there cannot be read.
    #[error(
        "what administrators have decided (locks, deletions, revocations, drafts) cannot be read: {0}; restore the data folder from a copy, or start \
         without what is lost with admin.ignore_damage = true"
    )]
    Damaged(String),
}

impl Ledger {
    /// Reads it from the store; waits for the disk. `ignore_damage`: what cannot be read is reported and left out.
    pub fn open(store: Arc<dyn Store>, ignore_damage: bool) -> Result<Self, LedgerError> {
        let (state, log) = Self::read_log(&*store, ignore_damage)?;
        let ledger = Self { store, state: RwLock::new(state), drafts_max: DRAFTS_MAX, log: Mutex::new(log) };
        ledger.compact()?;
        Ok(ledger)
    }

    fn read_log(store: &dyn Store, ignore_damage: bool) -> Result<(State, Log), LedgerError> {
        let opened = store.open(&RoomKey::from(KEY), fastrand::u64(..))?;
        let (state, whole) = State::read(&opened);
        if let Err(damage) = whole {
            if !ignore_damage {
                return Err(LedgerError::Damaged(damage));
            }
            tracing::error!(action = "store.damage", room = KEY, damage, "decisions of administrators are lost");
        }
        let at = Position { epoch: opened.epoch, offset: opened.head };
        Ok((state, Log { at, changes: opened.changes.len() as u64, _cell: opened.durable }))
    }

    /// Replaces the log by what it comes to, so that it holds no old segment of the store.
    pub(crate) fn compact(&self) -> Result<(), StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.changes > 0 {
            let sum = self.read(write);
            self.store.replace_with_snapshot(&RoomKey::from(KEY), log.at, &sum)?;
            log.changes = 0;
        }
        Ok(())
    }

    /// Whether a room of the store is this one.
    pub(crate) fn is_its(room: &str) -> bool {
        room == KEY
    }

    /// Nobody may write in the room.
    pub fn is_locked(&self, room: &str) -> bool {
        self.read(|state| state.locked.contains(room))
    }

    /// The room was deleted, and its name is not to be used again.
    pub fn is_deleted(&self, room: &str) -> bool {
        self.read(|state| state.deleted.contains_key(room))
    }

    /// What is left of somebody's rights: what neither a revocation nor the rules of a draft take away.
    pub fn left_to(&self, identity: &Identity, room: &str) -> Permission {
        self.left_by_revocations(identity, room).min(self.left_by_draft(identity, room))
    }

    /// The same in a room of the store: drafts are documents, and no rules of theirs hold in a room of another kind that has such a name.
    pub(crate) fn left_in(&self, identity: &Identity, room: &str) -> Permission {
        let name = rules_name(room);
        match RoomKind::of(room) {
            Some((RoomKind::Notebook | RoomKind::Database, _)) => self.left_by_revocations(identity, name),
            _ => self.left_to(identity, name),
        }
    }

    /// What revocations leave. Only tokens carry a time: keys and sessions end where they are kept.
    pub fn left_by_revocations(&self, identity: &Identity, room: &str) -> Permission {
        if !matches!(identity.credential, Credential::Token | Credential::Document { .. }) {
            return Permission::Write;
        }
        self.read(|state| {
            let meant = state.revoked.iter().filter(|one| one.means(&identity.user, room, identity.issued_at_s));
            let left = meant.map(|one| if one.read { Permission::Read } else { Permission::None });
            left.min().unwrap_or(Permission::Write)
        })
    }

    /// What the rules of a draft leave, however somebody is known and whichever dialect they speak: everything where the room is not registered.
    pub fn left_by_draft(&self, identity: &Identity, room: &str) -> Permission {
        self.read(|state| state.drafts.get(room).map_or(Permission::Write, |draft| draft.permission(identity)))
    }

    /// Whose draft a room is, by the name that the rules about rooms use.
    pub fn draft(&self, room: &str) -> Option<Draft> {
        self.read(|state| state.drafts.get(room).cloned())
    }

    /// Whether a room is somebody's draft.
    pub fn is_draft(&self, room: &str) -> bool {
        self.read(|state| state.drafts.contains_key(room))
    }

    /// Says whose draft a room is.
    pub fn register(&self, room: &str, draft: Draft, by: &str, now_ms: u64) -> Result<(), LedgerError> {
        self.register_if(room, draft, by, now_ms, true).map(|_| ())
    }

    /// The same unless it is somebody's already. False: it is.
    pub fn register_if_absent(&self, room: &str, draft: Draft, by: &str, now_ms: u64) -> Result<bool, LedgerError> {
        self.register_if(room, draft, by, now_ms, false)
    }

    fn register_if(
        &self,
        room: &str,
        draft: Draft,
        by: &str,
        now_ms: u64,
        replaces: bool,
    ) -> Result<bool, LedgerError> {
        // Nobody else writes meanwhile: of two who come at the same time the first has it.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, full) = self.read(|state| (state.drafts.contains_key(room), state.drafts.len() >= self.drafts_max));
        match (known, full) {
            (true, _) if !replaces => return Ok(false),
            (false, true) => return Err(LedgerError::TooManyDrafts),
            _ => {}
        }
        self.enter_in(&mut log, Entry::Register(room.to_owned(), draft), by, now_ms).map(|()| true)
    }

    /// Makes a draft a room like any other. False: it was.
    pub fn unregister(&self, room: &str, by: &str, now_ms: u64) -> Result<bool, LedgerError> {
        if !self.is_draft(room) {
            return Ok(false);
        }
        self.enter(Entry::Unregister(room.to_owned()), by, now_ms).map(|()| true)
    }

    /// All revocations.
    pub fn revocations(&self) -> Vec<Revocation> {
        self.read(|state| state.revoked.clone())
    }

    /// Locks a room, or unlocks it. False: it was so already.
    pub fn set_locked(&self, room: &str, locked: bool, by: &str, now_ms: u64) -> Result<bool, LedgerError> {
        let entry = if locked { Entry::Lock(room.to_owned()) } else { Entry::Unlock(room.to_owned()) };
        if self.is_locked(room) == locked {
            return Ok(false);
        }
        self.enter(entry, by, now_ms).map(|()| true)
    }

    /// Marks a room as deleted, or lets its name be used again. False: it was so already.
    pub fn set_deleted(&self, room: &str, deleted: bool, by: &str, now_ms: u64) -> Result<bool, LedgerError> {
        let entry = if deleted { Entry::Delete(room.to_owned()) } else { Entry::Reopen(room.to_owned()) };
        if self.is_deleted(room) == deleted {
            return Ok(false);
        }
        self.enter(entry, by, now_ms).map(|()| true)
    }

    /// Takes rights back.
    pub fn revoke(&self, revocation: Revocation, by: &str, now_ms: u64) -> Result<(), LedgerError> {
        let full = self
            .read(|state| state.revoked.iter().filter(|known| !revocation.covers(known)).count() >= REVOCATIONS_MAX);
        if full { Err(LedgerError::Full) } else { self.enter(Entry::Revoke(revocation), by, now_ms) }
    }

    /// Lets all tokens count again that have not run out.
    pub fn forget_revocations(&self, by: &str, now_ms: u64) -> Result<(), LedgerError> {
        self.enter(Entry::ForgetRevocations, by, now_ms)
    }

    fn enter(&self, entry: Entry, by: &str, now_ms: u64) -> Result<(), LedgerError> {
        self.enter_in(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner), entry, by, now_ms)
    }

    fn enter_in(&self, log: &mut Log, entry: Entry, by: &str, now_ms: u64) -> Result<(), LedgerError> {
        let key = RoomKey::from(KEY);
        let change = Change { author: by.into(), time_ms: now_ms, bytes: write(&entry) };
        if let Err(error) = self.store.append(&key, log.at, std::slice::from_ref(&change)) {
            tracing::warn!(action = "store.error", room = KEY, %error, "writing again");
            self.recover(log)?;
            self.store.append(&key, log.at, &[change])?;
        }
        log.at.offset += 1;
        log.changes += 1;
        let decision = format!("{entry:?}");
        match self.store.flush() {
            Ok(()) => self.state.write().unwrap_or_else(PoisonError::into_inner).apply(entry, now_ms),
            // It is in the log, but perhaps not on the disk: opening the room again writes it again, and then it counts.
            Err(_) => self.recover(log)?,
        }
        tracing::info!(action = "access.decided", by = %Printable(by), decision = %Printable(&decision));
        Ok(())
    }

    /// Reads the log again after a failure, so that what counts is what is there.
    fn recover(&self, log: &mut Log) -> Result<(), LedgerError> {
        let (state, found) = Self::read_log(&*self.store, false)?;
        *log = found;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn write<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("maps have text as keys").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::backends::memory::Memory;

    fn token(user: &str, issued_at_s: Option<u64>) -> Identity {
        Identity { issued_at_s, credential: Credential::Token, ..Identity::anonymous(user) }
    }

    #[test]
    fn decisions_are_there_after_a_restart_also_when_there_were_many() {
        for rounds in [1, 600] {
            let store: Arc<dyn Store> = Arc::new(Memory::default());
            let ledger = Ledger::open(store.clone(), false).expect("opens");
            for _ in 0..rounds {
                assert!(ledger.set_locked("doc/a", true, "key k", 5).expect("written"));
                assert!(ledger.set_locked("doc/a", false, "key k", 5).expect("written"));
            }
            ledger.set_locked("doc/b", true, "key k", 5).expect("written");
            assert!(!ledger.set_locked("doc/b", true, "key k", 5).expect("nothing to do"));
            ledger.set_deleted("doc/c", true, "key k", 5).expect("written");
            let revocation = Revocation { user: Some("ann".to_owned()), room: None, read: false, issued_until_s: 100 };
            ledger.revoke(revocation.clone(), "key k", 5).expect("written");
            let draft: Draft = serde_json::from_str(r#"{"firmId":"f","ownerId":"o"}"#).expect("a draft");
            ledger.register("d", draft.clone(), "key k", 5).expect("written");
            ledger.register("e", draft.clone(), "key k", 5).expect("written");
            assert!(ledger.unregister("e", "key k", 5).expect("written"));
            assert!(!ledger.unregister("e", "key k", 5).expect("nothing to do"));
            drop(ledger);
            // Twice: what a snapshot stands for is read from it.
            for _ in 0..2 {
                let ledger = Ledger::open(store.clone(), false).expect("opens");
                assert_eq!((ledger.is_locked("doc/a"), ledger.is_locked("doc/b")), (false, true));
                assert_eq!((ledger.is_deleted("doc/b"), ledger.is_deleted("doc/c")), (false, true));
                assert_eq!(ledger.revocations(), std::slice::from_ref(&revocation));
                assert_eq!((ledger.draft("d"), ledger.draft("e")), (Some(draft.clone()), None));
            }
        }
    }

    #[test]
    fn a_sum_of_an_earlier_version_has_no_drafts() {
        let state: State = serde_json::from_str(r#"{"locked":[],"deleted":{},"revoked":[]}"#).expect("read");
        assert!(state.drafts.is_empty());
    }

    #[test]
    fn of_all_who_register_a_draft_at_the_same_time_one_has_it() {
        let ledger = Ledger::open(Arc::new(Memory::default()), false).expect("opens");
        let mine = |firm: usize| serde_json::from_str(&format!(r#"{{"firmId":"{firm}","ownerId":"o"}}"#)).expect("one");
        let winners = std::thread::scope(|scope| {
            let attempts: Vec<_> = (0..8)
                .map(|firm| {
                    let (ledger, draft) = (&ledger, mine(firm));
                    scope.spawn(move || ledger.register_if_absent("d", draft, "b", 0).expect("written").then_some(firm))
                })
                .collect();
            attempts.into_iter().filter_map(|attempt| attempt.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert_eq!(winners.len(), 1);
        assert_eq!(ledger.draft("d"), Some(mine(winners[0])));
    }

    #[test]
    fn registered_drafts_have_a_bound() {
        let mut ledger = Ledger::open(Arc::new(Memory::default()), false).expect("opens");
        ledger.drafts_max = 2;
        let draft = || -> Draft { serde_json::from_str(r#"{"firmId":"f","ownerId":"o"}"#).expect("a draft") };
        for room in ["a", "b", "a"] {
            ledger.register(room, draft(), "k", 0).expect("room for it");
        }
        assert!(matches!(ledger.register("c", draft(), "k", 0), Err(LedgerError::TooManyDrafts)));
        assert!(matches!(ledger.register_if_absent("c", draft(), "k", 0), Err(LedgerError::TooManyDrafts)));
        assert!(!ledger.register_if_absent("b", draft(), "k", 0).expect("it is there"));
        assert!(ledger.unregister("a", "k", 0).expect("written"));
        assert!(ledger.register_if_absent("c", draft(), "k", 0).expect("room for it"));
    }

    #[test]
    fn what_cannot_be_read_keeps_the_server_from_starting() {
        let key = RoomKey::from(KEY);
        let make = || {
            let store: Arc<dyn Store> = Arc::new(Memory::default());
            Ledger::open(store.clone(), false).expect("opens").set_locked("doc/a", true, "key k", 5).expect("written");
            store
        };
        let change = |bytes: &'static [u8]| Change { author: "k".into(), time_ms: 0, bytes: Bytes::from_static(bytes) };
        let damaged_entry = make();
        let opened = damaged_entry.open(&key, 1).expect("opens");
        let at = Position { epoch: opened.epoch, offset: opened.head };
        damaged_entry.append(&key, at, &[change(b"{\"something\":\"later\"}")]).expect("written");
        let damaged_sum = make();
        damaged_sum.replace_with_snapshot(&key, at, b"{").err();
        let opened = damaged_sum.open(&key, 1).expect("opens");
        let at = Position { epoch: opened.epoch, offset: opened.head };
        damaged_sum.replace_with_snapshot(&key, at, b"{\"locked\":[]").expect("written");
        for (store, is_locked) in [(damaged_entry, true), (damaged_sum, false)] {
            let error = Ledger::open(store.clone(), false).err().expect("refused").to_string();
            assert!(error.contains("damaged") && error.contains("admin.ignore_damage"), "{error}");
            assert_eq!(Ledger::open(store, true).expect("opens").is_locked("doc/a"), is_locked);
        }
    }

    #[test]
    fn what_revocations_and_drafts_leave() {
        let ledger = Ledger::open(Arc::new(Memory::default()), false).expect("opens");
        let revoke = |user: Option<&str>, room: Option<&str>, read, issued_until_s| {
            let (user, room) = (user.map(str::to_owned), room.and_then(RoomPattern::parse));
            ledger.revoke(Revocation { user, room, read, issued_until_s }, "k", 0).expect("written");
        };
        revoke(Some("ann"), Some("team/*"), true, 100);
        revoke(Some("ann"), Some("team/x"), false, 100);
        revoke(Some("bob"), None, false, 100);
        let cases = [
            ("ann", Some(100), "team/1", Permission::Read),
            ("ann", Some(100), "team/x", Permission::None),
            ("ann", Some(101), "team/x", Permission::Write),
            ("ann", Some(1), "other", Permission::Write),
            ("bob", Some(1), "other", Permission::None),
            ("bob", None, "other", Permission::None),
            ("bob", Some(101), "other", Permission::Write),
            ("cid", None, "other", Permission::Write),
        ];
        for (user, issued, room, left) in cases {
            assert_eq!(ledger.left_to(&token(user, issued), room), left, "{user} {issued:?} {room}");
        }
        revoke(None, None, false, 200);
        assert_eq!(ledger.left_to(&token("cid", Some(200)), "other"), Permission::None);
        assert_eq!(ledger.revocations().len(), 1, "what is covered is not kept");
        let key = Identity { credential: Credential::Key("id".into()), ..Identity::anonymous("bob") };
        assert_eq!(ledger.left_to(&key, "other"), Permission::Write, "keys are revoked where they are kept");
        let draft = serde_json::from_str(r#"{"firmId":"f","ownerId":"o"}"#).expect("a draft");
        ledger.register("other", draft, "k", 0).expect("written");
        let of = |credential, firm: Option<&str>| Identity {
            credential,
            firm: firm.map(str::to_owned),
            issued_at_s: Some(300),
            ..Identity::anonymous("bob")
        };
        for credential in [Credential::Token, Credential::Session, Credential::Key("id".into())] {
            for (firm, left) in
                [(None, Permission::None), (Some("g"), Permission::None), (Some("f"), Permission::Write)]
            {
                assert_eq!(ledger.left_to(&of(credential.clone(), firm), "other"), left, "{credential:?} of {firm:?}");
            }
            assert_eq!(ledger.left_to(&of(credential, None), "another"), Permission::Write);
        }
    }
}
