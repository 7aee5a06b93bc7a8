//! Passwords: argon2id, on threads that may wait, few at once. Called when somebody signs up or in, and by administrators. Does not know whose
//! a password is, and keeps nothing.

use super::AccountError;
use super::secret::random;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// KiB of memory of one hash, rounds and lanes: OWASP's first choice for argon2id with 19 MiB. About 20 ms of one core.
const MEMORY_KIB: u32 = 19 * 1_024;
const ROUNDS: u32 = 2;
const LANES: u32 = 1;
/// Random bytes that make hashes of equal passwords differ.
const SALT_BYTES: usize = 16;

/// Hashes that are made at the same time: 38 MiB and two cores, however many want to sign in.
const AT_ONCE: usize = 2;
/// Others that wait for that; further ones are told to come back. The last of them waits for less than a second.
const WAITING_MAX: usize = 64;

/// Compared with where there is no such account, so that it takes the same time. The hash of no password: its bytes are all zero.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A hash in PHC's text form, with its parameters and its salt. Not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Hashed(String);

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

/// Hashes one after the other.
pub(super) struct Passwords {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::default() }
    }

    /// What is kept of a password.
    pub(super) async fn hash(&self, password: String) -> Result<Hashed, AccountError> {
        self.in_turn(move || hash(&password)).await?
    }

    /// Whether it is the password that was hashed; never for nobody's, which takes as long.
    pub(super) async fn matches(&self, password: String, hashed: Option<Hashed>) -> Result<bool, AccountError> {
        self.in_turn(move || {
            let text = hashed.as_ref().map_or(NOBODYS, |hashed| &hashed.0);
            let is_same = argon2()?.verify_password(password.as_bytes(), text).is_ok();
            Ok(is_same && hashed.is_some())
        })
        .await?
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, AccountError> {
        let place = Waiting::one_more(&self.waiting).ok_or(AccountError::Busy)?;
        let permit = self.places.clone().acquire_owned().await.map_err(|_| AccountError::Busy)?;
        drop(place);
        // The permit goes along: who does not wait for the answer frees no place before it is made.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| AccountError::Busy)
    }
}

/// A place among those who wait, until dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn one_more(count: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(count.clone());
        (count.fetch_add(1, Ordering::AcqRel) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn argon2() -> Result<Argon2<'static>, AccountError> {
    let params = Params::new(MEMORY_KIB, ROUNDS, LANES, None).map_err(|_| AccountError::Busy)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<Hashed, AccountError> {
    let hashed: Result<PasswordHash, _> =
        argon2()?.hash_password_with_salt(password.as_bytes(), &random::<SALT_BYTES>()?);
    // Neither length nor parameters can be wrong: memory is missing.
    hashed.map(|hashed| Hashed(hashed.to_string())).map_err(|_| AccountError::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_and_no_other() {
        let passwords = Passwords::new();
        let hashed = passwords.hash("correct horse".to_owned()).await.expect("hashed");
        assert!(hashed.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hashed.0);
        assert!(!format!("{hashed:?}").contains("argon2"));
        assert_ne!(hashed, passwords.hash("correct horse".to_owned()).await.expect("hashed"), "each has its own salt");
        for (password, of, expected) in [
            ("correct horse", Some(hashed.clone()), true),
            ("correct horsf", Some(hashed.clone()), false),
            ("", Some(hashed.clone()), false),
            ("correct horse", Some(Hashed("nonsense".to_owned())), false),
            ("correct horse", None, false),
        ] {
            assert_eq!(passwords.matches(password.to_owned(), of).await.expect("a place"), expected, "{password}");
        }
    }

    #[test]
    fn nobodys_hash_takes_the_same_work() {
        let parsed = PasswordHash::new(NOBODYS).expect("it is one");
        let params = Params::try_from(&parsed).expect("its parameters");
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, ROUNDS, LANES));
        assert_eq!(parsed.hash.map(|hash| hash.as_bytes().len()), Some(32));
    }

    #[tokio::test]
    async fn those_who_wait_for_a_hash_have_a_bound() {
        let passwords = Passwords::new();
        let all = passwords.places.clone().acquire_many_owned(AT_ONCE as u32).await.expect("free");
        let places: Vec<_> = (0..WAITING_MAX).map_while(|_| Waiting::one_more(&passwords.waiting)).collect();
        assert_eq!(places.len(), WAITING_MAX);
        assert!(matches!(passwords.hash("x".to_owned()).await, Err(AccountError::Busy)));
        drop((places, all));
        assert!(passwords.hash("x".to_owned()).await.is_ok());
    }
}
