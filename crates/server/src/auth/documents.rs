//! The door of the y-sweet API: who may open one of its documents, and who is the backend that makes documents and their tokens.
//!
//! Called by `upgrade` for WebSockets and by `rest` for each HTTP call. Open while authentication is off for the whole server: then tokens are neither made nor
//! looked at. Otherwise a document's token, signed by the server itself, or the server token of the configuration decides; what administrators have taken
//! back comes on top. Does not know whether a document exists. Tokens count at the door only: while somebody is in, the gate is asked as about all others.

use super::{Admission, Anonymous, Gate, Ledger, Rates, Reach, Standing};
use crate::config::{Config, Secret};
use crate::logging::Printable;
use identity::{
    Credential, DocumentKey, DocumentToken, DocumentTokenError, Grant, Identity, Permission, RoomPattern,
    is_same_secret,
};
use room::Access;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whom the backend's own changes are credited to.
const BACKEND: &str = "y-sweet backend";
/// Timers do not reach further: ten years.
const LIFE_MAX_MS: u64 = 10 * 365 * 86_400_000;

/// The rules of that door.
pub(crate) struct Documents {
    is_open: bool,
    server_token: Secret,
    /// Without one no token is good, and none is made.
    key: Option<DocumentKey>,
    gate: Arc<dyn Gate>,
    ledger: Arc<Ledger>,
}

/// Why somebody does not get in. The texts are those that clients of this API know; all of them are a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEntry {
    /// A server token was wanted, and none or another one was shown.
    #[error("Unauthorized.")]
    NotTheBackend,
    /// A document's token was wanted.
    #[error("No token provided.")]
    Missing,
    /// It is no good.
    #[error(transparent)]
    Token(#[from] DocumentTokenError),
}

impl Documents {
    /// As the configuration says. `gate` and `ledger` are the server's own.
    pub(crate) fn new(config: &Config, gate: Arc<dyn Gate>, ledger: Arc<Ledger>) -> Self {
        let signing_key = &config.y_sweet.signing_key;
        Self {
            is_open: !config.auth.is_on(),
            server_token: config.y_sweet.server_token.clone(),
            key: (!signing_key.is_empty()).then(|| DocumentKey::new(signing_key.as_str().as_bytes())),
            gate,
            ledger,
        }
    }

    /// No tokens are made or looked at.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// What whoever shows this may do in a document. `room`: the document as rules about rooms call it.
    pub(crate) fn admit(
        &self,
        shown: Option<&str>,
        document: &str,
        room: &str,
        now_ms: u64,
    ) -> Result<Admission, NoEntry> {
        if self.is_open {
            return Ok(Anonymous::admission());
        }
        // Before rights are looked up: what changes meanwhile makes the answer count no longer.
        let generation = self.gate.generation();
        let shown = shown.filter(|shown| !shown.is_empty()).ok_or_else(|| refuse(NoEntry::Missing, room))?;
        if self.is_server_token(shown) {
            let backend = self.as_backend(generation);
            // It makes documents and tokens, but a draft that belongs to a firm stays closed to whoever is of none.
            return match backend.standing.as_ref().map(|standing| self.ledger.left_to(&standing.identity, room)) {
                Some(Permission::Write) => Ok(backend),
                _ => Err(refuse(DocumentTokenError::Resource.into(), room)),
            };
        }
        let verified = match &self.key {
            Some(key) => key.verify(shown, document, now_ms),
            None => Err(DocumentTokenError::Signature),
        };
        let token = verified.map_err(|error| refuse(error.into(), room))?;
        let identity = token.identity(room);
        let access = match token.permission.min(self.ledger.left_to(&identity, room)) {
            Permission::Write => Access::Write,
            Permission::Read => Access::Read,
            Permission::None => return Err(refuse(DocumentTokenError::Resource.into(), room)),
        };
        let left_ms = token.expires_at_ms.saturating_sub(now_ms).min(LIFE_MAX_MS);
        let expires = Some(Instant::now() + Duration::from_millis(left_ms));
        Ok(admission(identity, access, expires, generation))
    }

    /// Lets the backend make documents and tokens.
    pub(crate) fn admit_backend(&self, shown: Option<&str>) -> Result<Admission, NoEntry> {
        if self.is_open {
            return Ok(Anonymous::admission());
        }
        let generation = self.gate.generation();
        match shown {
            Some(shown) if self.is_server_token(shown) => Ok(self.as_backend(generation)),
            _ => {
                tracing::info!(action = "auth.refused", reason = "not the server token", "call of the y-sweet API");
                Err(NoEntry::NotTheBackend)
            }
        }
    }

    /// The text of a token; none is needed while all is open. Fails when it cannot say that, or there is no key.
    pub(crate) fn issue(&self, token: &DocumentToken) -> Result<Option<String>, DocumentTokenError> {
        match &self.key {
            _ if self.is_open => Ok(None),
            Some(key) => key.issue(token).map(Some),
            None => Err(DocumentTokenError::Signature),
        }
    }

    /// Without one in the configuration nobody is the backend.
    fn is_server_token(&self, shown: &str) -> bool {
        !self.server_token.is_empty() && is_same_secret(shown, self.server_token.as_str())
    }

    fn as_backend(&self, generation: u64) -> Admission {
        let everywhere = Grant { pattern: RoomPattern::all(), permission: Permission::Write };
        let identity = Identity {
            grants: Some(vec![everywhere]),
            credential: Credential::Backend,
            ..Identity::anonymous(BACKEND)
        };
        admission(identity, Access::Write, None, generation)
    }
}

fn admission(identity: Identity, access: Access, expires: Option<Instant>, generation: u64) -> Admission {
    let author = identity.user.clone();
    let identity = Arc::new(identity);
    let standing = Standing {
        identity,
        expires,
        lifetime: None,
        rates: Rates::default(),
        generation,
        session: None,
        reach: Reach::Rooms,
    };
    Admission { author, name: None, access, trusts_all: false, standing: Some(Box::new(standing)) }
}

/// A refusal, with its reason in the log.
fn refuse(reason: NoEntry, room: &str) -> NoEntry {
    tracing::info!(action = "auth.refused", %reason, room = %Printable(room), "document of the y-sweet API");
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Revocation;
    use store::backends::memory::Memory;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn documents(change: impl FnOnce(&mut Config)) -> (Documents, Arc<Ledger>) {
        let mut config = Config::default();
        config.y_sweet.signing_key = Secret::new("a signing key of the tests, 32 bytes or more");
        config.y_sweet.server_token = Secret::new("the server token of the tests");
        config.auth.has_document_keys = true;
        change(&mut config);
        let ledger = Arc::new(Ledger::open(Arc::new(Memory::default()), false).expect("opens"));
        (Documents::new(&config, Arc::new(Anonymous), ledger.clone()), ledger)
    }

    fn token(documents: &Documents, permission: Permission, user: Option<&str>) -> String {
        let token = DocumentToken {
            document: "abc".to_owned(),
            permission,
            user: user.map(Arc::from),
            issued_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + 60_000,
        };
        documents.issue(&token).expect("legal").expect("signed")
    }

    #[test]
    fn a_token_opens_its_document_as_it_says() {
        let (documents, _) = documents(|_| {});
        for (permission, access, user) in
            [(Permission::Write, Access::Write, Some("u1")), (Permission::Read, Access::Read, None)]
        {
            let text = token(&documents, permission, user);
            let admission = documents.admit(Some(&text), "abc", "kind/abc", NOW_MS).expect("good");
            let standing = admission.standing.expect("terms");
            assert_eq!((admission.access, &*admission.author), (access, user.unwrap_or("anonymous")));
            assert_eq!(standing.identity.permission("kind/abc"), Some(permission));
            assert!(!admission.trusts_all && standing.expires.is_some());
            let refused = |text, document, now_ms| documents.admit(text, document, document, now_ms).err();
            assert_eq!(refused(Some(&text), "abd", NOW_MS), Some(DocumentTokenError::Resource.into()));
            assert_eq!(refused(Some(&text), "abc", NOW_MS + 60_001), Some(DocumentTokenError::Expired.into()));
            assert_eq!(refused(None, "abc", NOW_MS), Some(NoEntry::Missing));
            assert_eq!(refused(Some(""), "abc", NOW_MS), Some(NoEntry::Missing));
            assert_eq!(documents.admit_backend(Some(&text)).err(), Some(NoEntry::NotTheBackend));
        }
    }

    #[test]
    fn the_server_token_opens_everything_and_no_token_is_nobodys() {
        let (signed, _) = documents(|_| {});
        let shown = Some("the server token of the tests");
        for admission in [signed.admit(shown, "abc", "abc", NOW_MS), signed.admit_backend(shown)] {
            let admission = admission.expect("the backend");
            let identity = &admission.standing.as_ref().expect("terms").identity;
            assert_eq!((admission.access, identity.is_one_user()), (Access::Write, false));
        }
        let (nobody, _) = documents(|config| config.y_sweet.server_token = Secret::new(""));
        for shown in [None, Some(""), Some("x"), Some("the server token of the tests")] {
            assert_eq!(nobody.admit_backend(shown).err(), Some(NoEntry::NotTheBackend), "{shown:?}");
            assert!(nobody.admit(shown, "abc", "abc", NOW_MS).is_err(), "{shown:?}");
        }
        for shown in [None, Some(""), Some("x")] {
            assert_eq!(signed.admit_backend(shown).err(), Some(NoEntry::NotTheBackend), "{shown:?}");
        }
    }

    #[test]
    fn open_means_that_tokens_are_not_looked_at() {
        let (open, _) = documents(|config| config.auth.has_document_keys = false);
        for shown in [None, Some(""), Some("garbage")] {
            let admission = open.admit(shown, "abc", "abc", NOW_MS).expect("open");
            assert!(admission.trusts_all && admission.standing.is_none() && admission.access == Access::Write);
            assert!(open.admit_backend(shown).is_ok());
        }
        let token = DocumentToken {
            document: "abc".to_owned(),
            permission: Permission::Read,
            user: None,
            issued_at_ms: 0,
            expires_at_ms: 0,
        };
        assert_eq!(open.issue(&token), Ok(None));
    }

    #[test]
    fn without_a_key_no_token_is_good() {
        let (keyless, _) = documents(|config| config.y_sweet.signing_key = Secret::new(""));
        let token = DocumentToken {
            document: "abc".to_owned(),
            permission: Permission::Write,
            user: None,
            issued_at_ms: NOW_MS,
            expires_at_ms: u64::MAX,
        };
        assert!(keyless.issue(&token).is_err());
        let forged = DocumentKey::new(b"").issue(&token).expect("legal");
        let refused = keyless.admit(Some(&forged), "abc", "abc", NOW_MS).err();
        assert_eq!(refused, Some(DocumentTokenError::Signature.into()));
    }

    #[test]
    fn what_was_revoked_opens_nothing_more() {
        let (documents, ledger) = documents(|_| {});
        let text = token(&documents, Permission::Write, Some("u1"));
        let access = || documents.admit(Some(&text), "abc", "abc", NOW_MS).map(|admission| admission.access);
        let revoke = |user: &str, read, issued_until_s| {
            let revocation = Revocation { user: Some(user.to_owned()), room: None, read, issued_until_s };
            ledger.revoke(revocation, "k", 0).expect("written");
        };
        revoke("u2", false, u64::MAX);
        revoke("u1", false, NOW_MS / 1_000 - 1);
        assert_eq!(access(), Ok(Access::Write), "others, and earlier ones");
        revoke("u1", true, NOW_MS / 1_000);
        assert_eq!(access(), Ok(Access::Read));
        revoke("u1", false, NOW_MS / 1_000);
        assert_eq!(access(), Err(DocumentTokenError::Resource.into()));
        let backend = documents.admit(Some("the server token of the tests"), "abc", "abc", NOW_MS);
        assert!(backend.is_ok(), "that one ends where it is configured");
    }
}
