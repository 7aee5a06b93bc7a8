//! The door of notebooks: whose token, or whose cookie, a request for `/sync` and the notes API shows. A user's notebook is the user's own, so no rule about
//! rooms is asked; what administrators have taken back holds here too.
//!
//! Called by `upgrade` and by `rest`. The notes client shows its token once and comes back without it, so who came with a good one is given a cookie that is good
//! for as long, a day at most. The cookie is sealed by this server's own secret and says what the token said; so it outlives a restart, and nothing is kept for it.

use super::{Admission, Gate, Reach, Refusal, Standing, bearer_token, credential::cookie_value};
use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::origins;
use crate::request::RequestHead;
use crate::room_kind::RoomKind;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use identity::{Credential, Identity};
use room::Closing;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What the cookie is called.
const COOKIE: &str = "notes_session";
/// The longest that a cookie counts, in seconds: a stolen one does not count longer than a day.
const LIFE_MAX_S: u64 = 86_400;
/// Where its secret is kept, in the data folder.
const SECRET_FILE: &str = "notes.secret";
const SECRET_BYTES: usize = 32;
/// What subprotocols that are a token begin with.
const TOKEN_PREFIX: &str = "token-";

/// Seals and opens the cookies of notes clients.
pub(crate) struct Notebooks {
    gate: Arc<dyn Gate>,
    is_open: bool,
    origins: Vec<String>,
    /// Where the secret is kept. None: it is forgotten with the process, as everything else is.
    path: Option<PathBuf>,
    /// Read or made when it is needed first: most servers have no notes clients.
    secret: Mutex<Option<hmac::Key>>,
    clock: Clock,
}

/// What a cookie says, once it is opened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    user: Arc<str>,
    name: Option<String>,
    /// The id of the API key that was shown; otherwise it was a token.
    key: Option<Arc<str>>,
    issued_at_s: Option<u64>,
    expires_at_s: u64,
}

/// What a request shows of who sends it.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) cookies: Option<&'a str>,
    pub(crate) origin: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    /// It changes nothing.
    pub(crate) only_reads: bool,
}

/// Somebody at the door of their own notebook.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) admission: Admission,
    /// What the response sets, if it is to set a cookie.
    pub(crate) cookie: Option<String>,
}

impl Owner {
    /// The name of the notebook.
    pub(crate) fn notebook(&self) -> &str {
        &self.admission.author
    }
}

/// The subprotocol that a notes client's answer has to repeat: the first one that is a token, otherwise the first one.
pub(crate) fn subprotocol(head: &RequestHead) -> Option<&str> {
    head.subprotocols().find(|offer| offer.starts_with(TOKEN_PREFIX)).or_else(|| head.subprotocols().next())
}

/// The token in a subprotocol.
fn offered_token(head: &RequestHead) -> Option<&str> {
    subprotocol(head)?.strip_prefix(TOKEN_PREFIX).filter(|token| !token.is_empty())
}

impl Notebooks {
    /// As the configuration says. `gate` is the server's own.
    pub(crate) fn new(config: &Config, gate: Arc<dyn Gate>, clock: Clock) -> Self {
        Self {
            gate,
            is_open: !config.auth.is_on(),
            origins: config.origins.allowed.clone(),
            path: (config.durability != Durability::Memory).then(|| config.data.join(SECRET_FILE)),
            secret: Mutex::default(),
            clock,
        }
    }

    fn secret(&self) -> io::Result<hmac::Key> {
        let mut known = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*known {
            return Ok(key.clone());
        }
        let secret = self.path.as_deref().map_or_else(new_secret, kept_secret)?;
        Ok(known.insert(hmac::Key::new(hmac::HMAC_SHA256, &secret)).clone())
    }

    /// Whose notebook a socket is for.
    pub(crate) async fn admit(&self, head: &RequestHead, is_secure: bool) -> Result<Owner, Refusal> {
        let token = offered_token(head).or_else(|| head.header("authorization").and_then(bearer_token));
        let (origin, host) = (head.header("origin"), head.header("host"));
        let shown = Shown { token, cookies: head.header("cookie"), origin, host, only_reads: false };
        let admission = self.admit_by(shown).await?;
        let cookie = token.and(admission.standing.as_ref()).and_then(|standing| {
            let is_foreign = origins::is_another_site(&self.origins, origin, host);
            match self.seal(&standing.identity) {
                Ok(sealed) => Some(set_cookie(&sealed, is_secure, is_foreign)),
                Err(error) => {
                    tracing::error!(action = "auth.unavailable", %error, "cannot keep the secret of notes cookies; clients cannot come back without their token");
                    None
                }
            }
        });
        Ok(Owner { admission, cookie })
    }

    /// Whose notebook a request is for, by the token that it shows or else by its cookie.
    pub(crate) async fn admit_by(&self, shown: Shown<'_>) -> Result<Admission, Refusal> {
        match shown.token {
            Some(token) => self.gate.admit_to_notebook(token).await,
            None if self.is_open => Ok(super::Anonymous::admission()),
            None => {
                let cookie = shown.cookies.and_then(|cookies| cookie_value(cookies, COOKIE));
                let sealed = cookie.ok_or(Refusal::Closing(Closing::Unauthorized))?;
                // A page of another site does not see what it only reads.
                let is_own = shown.only_reads && shown.origin.is_none();
                if !is_own && !origins::may_use_cookies(&self.origins, shown.origin, shown.host) {
                    return Err(Refusal::Origin);
                }
                self.admit_sealed(sealed).await
            }
        }
    }

    async fn admit_sealed(&self, sealed: &str) -> Result<Admission, Refusal> {
        let identity = self.unseal(sealed).ok_or(Refusal::Closing(Closing::Unauthorized))?;
        if identity.expires_at_s.is_some_and(|at_s| at_s <= self.now_s()) {
            return Err(Refusal::Closing(Closing::Outdated));
        }
        let notebook = RoomKind::Notebook.key(&identity.user);
        let standing = Standing { reach: Reach::OwnRoom, ..Standing::of(identity) };
        self.gate.confirm(&standing, &notebook).await
    }

    fn now_s(&self) -> u64 {
        self.clock.now_ms() / 1_000
    }

    fn seal(&self, identity: &Identity) -> io::Result<(String, u64)> {
        let now_s = self.now_s();
        let ends_s = identity.expires_at_s.unwrap_or(u64::MAX).min(now_s + LIFE_MAX_S);
        let sealed = Sealed {
            user: identity.user.clone(),
            name: identity.name.clone(),
            key: match &identity.credential {
                Credential::Key(id) => Some(id.clone()),
                _ => None,
            },
            issued_at_s: identity.issued_at_s,
            expires_at_s: ends_s,
        };
        let said = serde_json::to_vec(&sealed).unwrap_or_default();
        let tag = hmac::sign(&self.secret()?, &said);
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Ok((format!("{}.{}", encode(&said), encode(tag.as_ref())), ends_s.saturating_sub(now_s)))
    }

    fn unseal(&self, text: &str) -> Option<Identity> {
        let (said, tag) = text.split_once('.')?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let (said, tag) = (decode(said)?, decode(tag)?);
        hmac::verify(&self.secret().ok()?, &said, &tag).ok()?;
        let sealed: Sealed = serde_json::from_slice(&said).ok()?;
        let credential = sealed.key.map_or(Credential::Token, Credential::Key);
        Some(Identity {
            name: sealed.name,
            credential,
            issued_at_s: sealed.issued_at_s,
            expires_at_s: Some(sealed.expires_at_s),
            ..Identity::anonymous(sealed.user)
        })
    }
}

/// Pages of other sites, which are allowed here, get it only with `SameSite=None`; browsers take that only over TLS.
fn set_cookie((value, life_s): &(String, u64), is_secure: bool, is_foreign: bool) -> String {
    let attributes = match (is_secure, is_foreign) {
        (true, true) => "; SameSite=None; Secure",
        (true, false) => "; SameSite=Lax; Secure",
        (false, _) => "; SameSite=Lax",
    };
    format!("{COOKIE}={value}; HttpOnly; Path=/; Max-Age={life_s}{attributes}")
}

fn new_secret() -> io::Result<Vec<u8>> {
    let mut secret = vec![0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("the system has no randomness to give"))?;
    Ok(secret)
}

fn kept_secret(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(secret) if secret.len() == SECRET_BYTES => return Ok(secret),
        // Half a secret is of a start that was cut short; who has a cookie of it shows a token once more.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = new_secret()?;
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    super::key_file::write_whole(path, &secret).map_err(io::Error::other)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Anonymous;
    use crate::request::parse;

    fn notebooks() -> Notebooks {
        let config = Config { durability: Durability::Memory, ..Config::default() };
        Notebooks::new(&config, Arc::new(Anonymous), Clock::start())
    }

    fn ann(expires_at_s: Option<u64>) -> Identity {
        Identity { name: Some("Ann".to_owned()), expires_at_s, issued_at_s: Some(7), ..Identity::anonymous("ann") }
    }

    #[test]
    fn what_was_sealed_comes_out_and_nothing_else() {
        let notebooks = notebooks();
        let now_s = notebooks.now_s();
        let (sealed, life_s) = notebooks.seal(&ann(Some(now_s + 60))).expect("sealed");
        assert!((59..=60).contains(&life_s));
        let opened = notebooks.unseal(&sealed).expect("its own");
        assert_eq!((&*opened.user, opened.name.as_deref(), opened.issued_at_s), ("ann", Some("Ann"), Some(7)));
        assert_eq!(notebooks.seal(&ann(None)).expect("sealed").1, LIFE_MAX_S);
        let key = Identity { credential: Credential::Key("k1".into()), ..ann(None) };
        assert_eq!(
            notebooks.unseal(&notebooks.seal(&key).expect("sealed").0).expect("its own").credential,
            key.credential
        );
        for place in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).expect("ASCII");
            assert!(notebooks.unseal(&text).is_none_or(|opened| opened == notebooks.unseal(&sealed).expect("its own")));
        }
        assert!(super::tests::notebooks().unseal(&sealed).is_none(), "of another server");
        for text in ["", ".", "a.b", "e30.e30"] {
            assert!(notebooks.unseal(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_secret_is_kept_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("concord-notes-{}-{}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.join(SECRET_FILE);
        let first = kept_secret(&path).expect("is made");
        assert_eq!(kept_secret(&path).expect("is read"), first);
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, b"half").expect("is written");
        assert_eq!(kept_secret(&path).expect("is made again").len(), SECRET_BYTES);
        std::fs::remove_dir_all(&folder).expect("is removed");
    }

    #[test]
    fn cookies_are_for_pages_that_may_have_them() {
        let value = ("v".to_owned(), 60);
        let cases = [
            (false, false, "notes_session=v; HttpOnly; Path=/; Max-Age=60; SameSite=Lax"),
            (false, true, "notes_session=v; HttpOnly; Path=/; Max-Age=60; SameSite=Lax"),
            (true, false, "notes_session=v; HttpOnly; Path=/; Max-Age=60; SameSite=Lax; Secure"),
            (true, true, "notes_session=v; HttpOnly; Path=/; Max-Age=60; SameSite=None; Secure"),
        ];
        for (is_secure, is_foreign, expected) in cases {
            assert_eq!(set_cookie(&value, is_secure, is_foreign), expected);
        }
    }

    #[test]
    fn the_first_subprotocol_that_is_a_token_is_answered() {
        let cases = [
            ("token-a", Some("token-a"), Some("a")),
            ("x, token-a, token-b", Some("token-a"), Some("a")),
            ("x\r\nSec-WebSocket-Protocol: token-a", Some("token-a"), Some("a")),
            ("x, y", Some("x"), None),
            ("token-", Some("token-"), None),
            ("token", Some("token"), None),
        ];
        for (offer, answered, token) in cases {
            let request = format!("GET /sync HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Protocol: {offer}\r\n\r\n");
            let head = parse(request.as_bytes()).expect("legal").expect("whole");
            assert_eq!((subprotocol(&head), offered_token(&head)), (answered, token), "{offer}");
        }
    }
}
