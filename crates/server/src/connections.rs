//! How many connections there are, in all, from each address and of each user, and how fast more may come. What threads share about sockets.
//!
//! Called by the front door for each connection and request. A count goes down when its [`Accepted`] is dropped, wherever that happens.

use crate::address::{ClientAddress, Trusted};
use crate::config::Limits;
use dialect::Rate;
use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{InsufficientCapacity, Quota, RateLimiter};
use room::Author;
use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Addresses and users whose rates are remembered before those that are quiet are forgotten.
const REMEMBERED: u64 = 10_000;
/// People who were refused and are kept for their farewell, at the same time: a small part of what may be connected.
const FAREWELLS_MAX: usize = 1_000;

type Rates<K> = RateLimiter<K, HashMapStateStore<K>, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// Connections of the whole server.
pub(crate) struct Connections {
    /// Accepted, upgraded or not yet.
    accepted: AtomicUsize,
    /// Open WebSockets.
    open: AtomicUsize,
    farewells: AtomicUsize,
    addresses: Mutex<HashMap<ClientAddress, u32>>,
    users: Mutex<HashMap<Author, Arc<UserAccount>>>,
    handshakes: Rates<ClientAddress>,
    rooms_made: Rates<Author>,
    asked: AtomicU64,
    rates: Mutex<HashMap<(&'static str, Author), Weak<UserRate>>>,
    /// At so many of them those that nobody has any more are forgotten.
    rates_swept: AtomicUsize,
    exempt: Trusted,
    limits: Limits,
}

/// A limit that was reached, in words for the client, and after how many seconds it is worth coming back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) limit: &'static str,
    pub(crate) retry_after_s: u32,
}

impl Connections {
    pub(crate) fn new(limits: &Limits, exempt: Trusted) -> Self {
        let handshakes = Quota::per_second(at_least_one(limits.handshakes_per_s))
            .allow_burst(at_least_one(limits.handshakes_at_once_max));
        Self {
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            farewells: AtomicUsize::new(0),
            addresses: Mutex::default(),
            users: Mutex::default(),
            handshakes: RateLimiter::hashmap_with_clock(handshakes, MonotonicClock),
            rooms_made: RateLimiter::hashmap_with_clock(
                Quota::per_hour(at_least_one(limits.user_rooms_per_h)),
                MonotonicClock,
            ),
            asked: AtomicU64::new(0),
            rates: Mutex::default(),
            rates_swept: AtomicUsize::new(RATES_MIN),
            exempt,
            limits: *limits,
        }
    }

    /// A place for one more connection, or none.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Accepted> {
        let before = self.accepted.fetch_add(1, Ordering::AcqRel);
        let accepted =
            Accepted { connections: self.clone(), is_counted: true, is_open: false, address: None, user: None };
        (before < self.limits.connections_max as usize).then_some(accepted)
    }

    /// A connection that is part of another one, or lasts no longer than a request: counted for its user only.
    pub(crate) fn companion(self: &Arc<Self>) -> Accepted {
        Accepted { connections: self.clone(), is_counted: false, is_open: false, address: None, user: None }
    }

    /// The rate of a user in one dialect, shared by all its connections.
    pub(crate) fn rate_of(&self, dialect: &'static str, user: &Author, rate: Rate) -> Arc<UserRate> {
        let mut rates = lock(&self.rates);
        if rates.len() >= self.rates_swept.load(Ordering::Relaxed) {
            rates.retain(|_, rate| rate.strong_count() > 0);
            self.rates_swept.store(2 * rates.len() + RATES_MIN, Ordering::Relaxed);
        }
        let known = rates.entry((dialect, user.clone())).or_default();
        known.upgrade().unwrap_or_else(|| {
            let made = Arc::new(UserRate::new(rate));
            *known = Arc::downgrade(&made);
            made
        })
    }

    /// Open WebSockets.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Lets an address have one more token looked at, or says why not.
    pub(crate) fn may_ask(&self, address: ClientAddress) -> Result<(), Reached> {
        if self.exempt.contains(address) {
            return Ok(());
        }
        self.check(&self.handshakes, &address.key(), "limits.handshakes_per_s: too many requests from this address")
    }

    /// Lets a user make a room that does not exist, or says why not.
    pub(crate) fn may_make_room(&self, user: &Author) -> Result<(), Reached> {
        self.check(
            &self.rooms_made,
            user,
            "limits.user_rooms_per_h: this user has made too many rooms in the last hour",
        )
    }

    /// A place for somebody who was refused and is to be told, or none.
    pub(crate) fn farewell(self: &Arc<Self>) -> Option<Farewell> {
        let farewell = Farewell(self.clone());
        (self.farewells.fetch_add(1, Ordering::AcqRel) < FAREWELLS_MAX).then_some(farewell)
    }

    fn check<K: Hash + Eq + Clone>(&self, rates: &Rates<K>, key: &K, limit: &'static str) -> Result<(), Reached> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % REMEMBERED == REMEMBERED - 1 {
            rates.retain_recent();
            rates.shrink_to_fit();
        }
        rates.check_key(key).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(MonotonicClock.now());
            Reached { limit, retry_after_s: wait.max(Duration::from_secs(1)).as_secs_f64().ceil() as u32 }
        })
    }
}

/// A zero in the configuration would let nobody in; its ranges begin at one.
fn at_least_one(count: u64) -> NonZeroU32 {
    NonZeroU32::new(count.min(u64::from(u32::MAX)) as u32).unwrap_or(NonZeroU32::MIN)
}

/// Counts as a connection until dropped.
pub(crate) struct Accepted {
    connections: Arc<Connections>,
    is_counted: bool,
    is_open: bool,
    address: Option<ClientAddress>,
    user: Option<Arc<UserAccount>>,
}

impl Accepted {
    /// Counts it for the address that it comes from. Err: that has all that it may have.
    pub(crate) fn comes_from(&mut self, address: ClientAddress) -> Result<(), Reached> {
        self.connections.may_ask(address)?;
        self.takes_place(address)
    }

    /// Counts it among the connections of an address, without a further request. Err: that has all that it may have.
    pub(crate) fn takes_place(&mut self, address: ClientAddress) -> Result<(), Reached> {
        let connections = &self.connections;
        if connections.exempt.contains(address) {
            return Ok(());
        }
        let key = address.key();
        if !take(&mut lock(&connections.addresses), &key, connections.limits.address_connections_max) {
            return Err(Reached {
                limit: "limits.address_connections_max: too many connections from this address",
                retry_after_s: 5,
            });
        }
        self.address = Some(key);
        Ok(())
    }

    /// Counts it for a user. Err: that one has all that it may have.
    pub(crate) fn belongs_to(&mut self, user: &Author) -> Result<(), Reached> {
        let limits = &self.connections.limits;
        let mut users = lock(&self.connections.users);
        let account = users.entry(user.clone()).or_insert_with(|| {
            Arc::new(UserAccount::new(user.clone(), limits.user_bytes_per_s, limits.user_messages_per_s))
        });
        // The table has one itself.
        if Arc::strong_count(account) as u64 > limits.user_connections_max {
            return Err(Reached {
                limit: "limits.user_connections_max: too many connections of this user",
                retry_after_s: 5,
            });
        }
        self.user = Some(account.clone());
        Ok(())
    }

    /// The account of its user, when it has one.
    pub(crate) fn account(&self) -> Option<&UserAccount> {
        self.user.as_deref()
    }

    /// It is a WebSocket from here on.
    pub(crate) fn opened(&mut self) {
        if self.is_counted && !std::mem::replace(&mut self.is_open, true) {
            self.connections.open.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if self.is_counted {
            self.connections.accepted.fetch_sub(1, Ordering::AcqRel);
        }
        if self.is_open {
            self.connections.open.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(address) = &self.address {
            give_back(&mut lock(&self.connections.addresses), address);
        }
        if let Some(account) = self.user.take() {
            let mut users = lock(&self.connections.users);
            // This one and the table's.
            if Arc::strong_count(&account) == 2 {
                users.remove(&account.user);
                shrink(&mut users);
            }
        }
    }
}

/// Counts as somebody who is being told why not, until dropped.
pub(crate) struct Farewell(Arc<Connections>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.farewells.fetch_sub(1, Ordering::AcqRel);
    }
}

fn take<K: Hash + Eq + Clone>(counts: &mut HashMap<K, u32>, key: &K, max: u64) -> bool {
    match counts.get_mut(key) {
        Some(count) if u64::from(*count) >= max => return false,
        Some(count) => *count += 1,
        None => _ = counts.insert(key.clone(), 1),
    }
    true
}

fn give_back<K: Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
            shrink(counts);
        }
    }
}

fn shrink<K: Hash + Eq, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 4 * table.len() + 1_024 {
        table.shrink_to_fit();
    }
}

/// What all connections of one user may send in a second.
#[derive(Debug)]
pub(crate) struct UserAccount {
    user: Author,
    /// Bytes are counted in these: the crate's clock has whole nanoseconds for each.
    kibibytes: DirectRate,
    messages: DirectRate,
}

const KIB: u64 = 1 << 10;
/// Users' rates that are kept before it is looked whether somebody still has them.
const RATES_MIN: usize = 1_024;

/// How fast a user may speak in a dialect that has a bound of its own.
#[derive(Debug)]
pub(crate) struct UserRate(DirectRate);

impl UserRate {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(at_least_one(rate.per_s.into())).allow_burst(at_least_one(rate.burst.into()));
        Self(RateLimiter::direct_with_clock(quota, MonotonicClock))
    }

    /// Takes one message, if there is one left.
    pub(crate) fn allows_one(&self) -> bool {
        self.0.check().is_ok()
    }
}

type DirectRate = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

impl UserAccount {
    pub(crate) fn new(user: Author, bytes_per_s: u64, messages_per_s: u64) -> Self {
        let rate = |per_s| RateLimiter::direct_with_clock(Quota::per_second(at_least_one(per_s)), MonotonicClock);
        Self { user, kibibytes: rate(bytes_per_s / KIB), messages: rate(messages_per_s) }
    }

    /// Takes what is owed, or says after which time to try again. Less than a KiB stays owed.
    pub(crate) fn pay_bytes(&self, owed: &mut u32) -> Option<Duration> {
        let mut kibibytes = *owed / KIB as u32;
        let wait = pay(&self.kibibytes, &mut kibibytes);
        *owed = *owed % KIB as u32 + kibibytes * KIB as u32;
        wait
    }

    /// The same for messages.
    pub(crate) fn pay_messages(&self, owed: &mut u32) -> Option<Duration> {
        pay(&self.messages, owed)
    }
}

fn pay(rate: &DirectRate, owed: &mut u32) -> Option<Duration> {
    let count = NonZeroU32::new(*owed)?;
    match rate.check_n(count) {
        Ok(Ok(())) => *owed = 0,
        Ok(Err(not_yet)) => return Some(not_yet.wait_time_from(MonotonicClock.now())),
        // More than a whole second's worth, as a compressed message may be: the second is taken, and the rest stays owed.
        Err(InsufficientCapacity(most)) => {
            let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
            if let Ok(Err(not_yet)) = rate.check_n(most) {
                return Some(not_yet.wait_time_from(MonotonicClock.now()));
            }
            *owed -= most.get();
            return Some(Duration::from_secs(1));
        }
    }
    None
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(change: impl FnOnce(&mut Limits)) -> Arc<Connections> {
        let mut limits = crate::config::Config::default().limits;
        change(&mut limits);
        Arc::new(Connections::new(&limits, Trusted::parse(&["10.0.0.0/8".to_owned()]).expect("legal")))
    }

    fn from(connections: &Arc<Connections>, address: &str) -> Result<Accepted, Reached> {
        let mut accepted = connections.admit().expect("a place");
        let address: std::net::IpAddr = address.parse().expect("an address");
        accepted.comes_from(address.into()).map(|()| accepted)
    }

    #[test]
    fn an_address_has_its_places_and_no_more() {
        let connections = connections(|limits| limits.address_connections_max = 2);
        let first = from(&connections, "192.0.2.1").expect("a place");
        let _second = from(&connections, "192.0.2.1").expect("a place");
        let third = from(&connections, "192.0.2.1").expect_err("no place");
        assert!(third.limit.contains("limits.address_connections_max"), "{third:?}");
        let _other = from(&connections, "192.0.2.2").expect("another address has its own places");
        drop(first);
        let _third = from(&connections, "192.0.2.1").expect("a place has become free");
        let _six = ["2001:db8::1", "2001:db8::2"].map(|address| from(&connections, address).expect("a place"));
        assert!(from(&connections, "2001:db8::3").is_err(), "a network of IPv6 counts as one");
        let _exempt: Vec<_> = (0..5).map(|_| from(&connections, "10.1.1.1").expect("exempt")).collect();
    }

    #[test]
    fn requests_from_an_address_have_a_rate() {
        let connections = connections(|limits| (limits.handshakes_per_s, limits.handshakes_at_once_max) = (1, 3));
        for _ in 0..3 {
            drop(from(&connections, "192.0.2.1").expect("within the burst"));
        }
        let refused = from(&connections, "192.0.2.1").expect_err("over the rate");
        assert!(refused.limit.contains("limits.handshakes_per_s") && refused.retry_after_s == 1, "{refused:?}");
        assert!(from(&connections, "192.0.2.2").is_ok());
    }

    #[test]
    fn users_and_the_whole_have_their_places() {
        let connections = connections(|limits| {
            (limits.user_connections_max, limits.connections_max, limits.user_rooms_per_h) = (1, 2, 2);
        });
        let (ann, bob): (Author, Author) = ("ann".into(), "bob".into());
        let mut first = connections.admit().expect("a place");
        first.belongs_to(&ann).expect("a place");
        let mut second = connections.admit().expect("a place");
        assert!(second.belongs_to(&ann).expect_err("no place").limit.contains("limits.user_connections_max"));
        second.belongs_to(&bob).expect("a place");
        assert!(connections.admit().is_none());
        drop(first);
        connections.admit().expect("a place").belongs_to(&ann).expect("a place");
        assert!(connections.may_make_room(&ann).is_ok() && connections.may_make_room(&ann).is_ok());
        let reached = connections.may_make_room(&ann).expect_err("too many");
        assert!(reached.limit.contains("limits.user_rooms_per_h") && reached.retry_after_s > 60, "{reached:?}");
        assert!(connections.may_make_room(&bob).is_ok());
    }
}
