//! Tokens of documents: what an application's backend gets from the server for one document, and its pages show to the same server. Opaque to both, so only
//! this file knows the form: `KEY_ID.PART`, PART being base64url without padding of a structure and its HMAC-SHA-256.
//!
//! Structure: `version 1, permission 0|1, issued u64 ms, expires u64 ms, length u8, document, user` (numbers little endian, the user up to the end, empty for
//! none). Issued and verified by the server's document API; an identity is made of it here. No clock: `now_ms` is milliseconds since the Unix epoch. Does not
//! know whether a document exists, nor how a backend proves that it is one, except for comparing its secret.

use crate::{Credential, Grant, Identity, Permission, RoomPattern, text};
use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::fmt;
use std::sync::Arc;

/// Bytes of a token's text: longer ones are not looked at. What is issued has at most 589.
pub const DOCUMENT_TOKEN_BYTES_MAX: usize = 2 << 10;

/// Bytes of a document's name in a token.
const DOCUMENT_BYTES_MAX: usize = 128;
const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
/// Before the document: version, permission, two times, a length.
const HEAD_BYTES: usize = 19;
/// Bytes of the key's id, eight letters as text: enough to tell one's own keys apart.
const KEY_ID_BYTES: usize = 6;
/// What the id is the hash of. No structure begins like this.
const KEY_ID_OF: &[u8] = b"id of the key of document tokens";

/// Whom changes are credited to when a token names nobody.
pub const UNNAMED: &str = "anonymous";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentToken {
    /// The document that it is for, as clients call it: 1 to 128 bytes.
    pub document: String,
    /// `Read` or `Write`.
    pub permission: Permission,
    /// Who shows it, as the backend says: 1 to 256 bytes without control characters.
    pub user: Option<Arc<str>>,
    /// When it was made.
    pub issued_at_ms: u64,
    /// The last millisecond at which it is good.
    pub expires_at_ms: u64,
}

/// Why a token is no good. The texts are those that clients of this API know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentTokenError {
    /// It is none, or says what no token can.
    #[error("The token is not a valid format")]
    Format,
    /// Another key has signed it, or somebody has changed it.
    #[error("The token signature is invalid")]
    Signature,
    /// Its time is over.
    #[error("The token is expired")]
    Expired,
    /// It is for another document.
    #[error("The token is not valid for the requested resource")]
    Resource,
}

/// The key that tokens are signed with. `Debug` shows its id only.
#[derive(Clone)]
pub struct DocumentKey {
    key: hmac::Key,
    id: String,
}

impl DocumentKey {
    /// Of a secret of any length; at least 32 random bytes are meant.
    pub fn new(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let id = BASE64_URL_SAFE_NO_PAD.encode(&hmac::sign(&key, KEY_ID_OF).as_ref()[..KEY_ID_BYTES]);
        Self { key, id }
    }

    /// What its tokens begin with, before a dot. Says nothing about the secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text of a token. Fails with `Format` for what a token cannot say: no permission, or a document or user beyond their bounds.
    pub fn issue(&self, token: &DocumentToken) -> Result<String, DocumentTokenError> {
        let document = token.document.as_bytes();
        let user = token.user.as_deref();
        let user_is_legal = user.is_none_or(|user| text::problem(user).is_none());
        if token.permission == Permission::None || !is_document(document) || !user_is_legal {
            return Err(DocumentTokenError::Format);
        }
        let mut bytes = vec![VERSION, u8::from(token.permission == Permission::Write)];
        bytes.extend(token.issued_at_ms.to_le_bytes());
        bytes.extend(token.expires_at_ms.to_le_bytes());
        bytes.push(document.len() as u8);
        bytes.extend(document);
        bytes.extend(user.unwrap_or_default().as_bytes());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend(tag.as_ref());
        Ok(format!("{}.{}", self.id, BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What a text says, when it is a token of this key for this document and its time is not over. Nothing is read before the signature is checked,
    /// which takes the same time wherever it differs.
    pub fn verify(&self, text: &str, document: &str, now_ms: u64) -> Result<DocumentToken, DocumentTokenError> {
        if text.len() > DOCUMENT_TOKEN_BYTES_MAX {
            return Err(DocumentTokenError::Format);
        }
        let (id, part) = text.split_once('.').ok_or(DocumentTokenError::Format)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| DocumentTokenError::Format)?;
        let cut = bytes.len().checked_sub(TAG_BYTES).ok_or(DocumentTokenError::Format)?;
        let (bytes, tag) = bytes.split_at(cut);
        if id != self.id || hmac::verify(&self.key, bytes, tag).is_err() {
            return Err(DocumentTokenError::Signature);
        }
        let token = DocumentToken::read(bytes).ok_or(DocumentTokenError::Format)?;
        match token {
            token if token.expires_at_ms < now_ms => Err(DocumentTokenError::Expired),
            token if token.document != document => Err(DocumentTokenError::Resource),
            token => Ok(token),
        }
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl DocumentToken {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let time = |from: usize| head[from..from + 8].try_into().map(u64::from_le_bytes).ok();
        let permission = match head[..2] {
            [VERSION, 0] => Permission::Read,
            [VERSION, 1] => Permission::Write,
            _ => return None,
        };
        let (document, user) = rest.split_at_checked(usize::from(head[HEAD_BYTES - 1]))?;
        let user = std::str::from_utf8(user).ok().filter(|user| user.is_empty() || text::problem(user).is_none())?;
        Some(Self {
            document: std::str::from_utf8(document).ok().filter(|_| is_document(document))?.to_owned(),
            permission,
            user: (!user.is_empty()).then(|| user.into()),
            issued_at_ms: time(2)?,
            expires_at_ms: time(10)?,
        })
    }

    /// Who shows it. `room`: the document as rules about rooms call it, the only one that it grants anything in.
    pub fn identity(&self, room: &str) -> Identity {
        let grant = Grant { pattern: RoomPattern::exact(room), permission: self.permission };
        Identity {
            grants: Some(vec![grant]),
            credential: Credential::Document { is_named: self.user.is_some() },
            issued_at_s: Some(self.issued_at_ms / 1_000),
            expires_at_s: Some((self.expires_at_ms / 1_000).saturating_add(1)),
            ..Identity::anonymous(self.user.clone().unwrap_or_else(|| UNNAMED.into()))
        }
    }
}

fn is_document(name: &[u8]) -> bool {
    (1..=DOCUMENT_BYTES_MAX).contains(&name.len())
}

/// Whether somebody has shown this secret. Takes the same time wherever they differ, and whatever their lengths.
pub fn is_same_secret(shown: &str, secret: &str) -> bool {
    // Under any key: only hashes are compared.
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY_ID_OF);
    let tag = hmac::sign(&key, secret.as_bytes());
    hmac::verify(&key, shown.as_bytes(), tag.as_ref()).is_ok()
}
