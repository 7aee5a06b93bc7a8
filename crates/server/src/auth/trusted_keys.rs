//! The keys that tokens are checked with: those of the configuration, and those that the identity provider publishes (`auth.jwks_url`).
//!
//! Called by the authenticator. Published keys are fetched at the start, renewed in the background, and fetched once more, at most once a minute, when a
//! token names a key that is not there: that is how a provider brings in another key. While the provider is down the last good set stays.

use crate::fetch::{Fetcher, Lane, Url};
use identity::KeySet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Between two fetches because of unknown keys: whoever makes up key names must not make us ask more often.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
/// Between two attempts while there is no set at all.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Configured and published keys.
pub(super) struct TrustedKeys {
    configured: KeySet,
    all: RwLock<Arc<KeySet>>,
    published: Option<Published>,
}

struct Published {
    url: Url,
    fetcher: Arc<Fetcher>,
    /// A set was fetched.
    has_some: AtomicBool,
    /// When the last fetch began. Who fetches holds this; whoever has nothing to check with waits for what comes of it.
    tried: Mutex<Option<Instant>>,
    /// When the last one began that an unknown key was the reason for.
    looked: Mutex<Option<Instant>>,
}

impl TrustedKeys {
    pub(super) fn new(configured: KeySet, published: Option<(Url, Arc<Fetcher>)>) -> Self {
        let published = published.map(|(url, fetcher)| Published {
            url,
            fetcher,
            has_some: AtomicBool::new(false),
            tried: Mutex::default(),
            looked: Mutex::default(),
        });
        Self { all: RwLock::new(Arc::new(configured.clone())), configured, published }
    }

    /// What is there.
    pub(super) fn current(&self) -> Arc<KeySet> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sees to it that published keys were fetched at least once. False: they could not be.
    pub(super) async fn are_there(&self) -> bool {
        let Some(published) = &self.published else { return true };
        if published.has_some.load(Ordering::Acquire) {
            return true;
        }
        let mut tried = published.tried.lock().await;
        let has_some = published.has_some.load(Ordering::Acquire);
        if !has_some && tried.is_none_or(|tried| tried.elapsed() >= FIRST_PAUSE) {
            return self.fetch(published, &mut tried).await;
        }
        has_some
    }

    /// A token names a key that is not there. True: keys were fetched, and it may be worth looking again.
    pub(super) async fn look_again(&self) -> bool {
        let Some(published) = &self.published else { return false };
        let mut looked = published.looked.lock().await;
        if looked.is_some_and(|looked| looked.elapsed() < UNKNOWN_PAUSE) {
            return false;
        }
        *looked = Some(Instant::now());
        self.fetch(published, &mut *published.tried.lock().await).await
    }

    /// Fetches now, whatever was done before.
    pub(super) async fn renew(&self) {
        if let Some(published) = &self.published {
            self.fetch(published, &mut *published.tried.lock().await).await;
        }
    }

    async fn fetch(&self, published: &Published, tried: &mut Option<Instant>) -> bool {
        *tried = Some(Instant::now());
        match self.fetched(published).await {
            Ok(set) => {
                *self.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
                published.has_some.store(true, Ordering::Release);
                true
            }
            Err(error) => {
                let kept = published.has_some.load(Ordering::Acquire);
                tracing::warn!(action = "auth.keys", url = %published.url, error, kept, "cannot fetch the keys that tokens are checked with");
                false
            }
        }
    }

    async fn fetched(&self, published: &Published) -> Result<KeySet, String> {
        let accept = [("accept", "application/jwk-set+json, application/json")];
        let fetched =
            published.fetcher.get(&published.url, &accept, Lane::Members).await.map_err(|error| error.to_string())?;
        if fetched.status != 200 {
            return Err(format!("it answered {}", fetched.status));
        }
        let text = std::str::from_utf8(&fetched.body).map_err(|error| error.to_string())?;
        let set = KeySet::jwks(text).map_err(|error| error.to_string())?;
        if set.keys().iter().any(|key| key.algorithm().secret_bytes_min().is_some()) {
            return Err("it publishes a secret, with which anybody could sign; publish public keys only".to_owned());
        }
        self.configured.clone().merge(set).map_err(|error| error.to_string())
    }
}
