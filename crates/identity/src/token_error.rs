//! Why a token is refused: one variant a reason, with a stable code for metrics and a text for the log. Neither has the token or a
//! key; what a token says of itself is shown escaped and at most 64 characters of it. Clients get one answer for all of them.

use crate::{key::Algorithm, time::rfc3339};

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than 8 KiB.
    #[error("the token has {bytes} bytes, at most 8192 are allowed")]
    TooLong {
        /// What it has.
        bytes: usize,
    },
    /// Not header, claims and signature.
    #[error("a signed token has 3 parts separated by dots, this has {count}{}", encrypted(*count))]
    PartCount {
        /// How many parts there are.
        count: usize,
    },
    /// A part without a byte.
    #[error("the token's {part} part is empty")]
    EmptyPart {
        /// `header`, `claims` or `signature`.
        part: &'static str,
    },
    /// Not base64url, or padded, or with bits after the end.
    #[error("the token's {part} part is not base64url without padding")]
    NotBase64 {
        /// `header`, `claims` or `signature`.
        part: &'static str,
    },
    /// Not a JSON object.
    #[error("the token's {part} part is not a JSON object")]
    NotJson {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// One name twice in one object.
    #[error("the token's {part} part has the name {name} twice in one object")]
    DuplicateName {
        /// `header` or `claims`.
        part: &'static str,
        /// The name, as shown to people.
        name: String,
    },
    /// JSON nested deeper than anything needs.
    #[error("the token's {part} part is nested deeper than 64 levels")]
    TooDeep {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// A header that brings or names its own key.
    #[error("the token's header has {header:?}: keys are configured here, and never taken from a token")]
    EmbeddedKey {
        /// Which.
        header: &'static str,
    },
    /// `crit` that is not a list of different names.
    #[error("the token's crit header is not a list of different names")]
    MalformedCritical,
    /// An extension that must be understood.
    #[error("the token needs the extension {name}, and none is supported")]
    Critical {
        /// The first that it names, as shown to people.
        name: String,
    },
    /// A header that changes what the signature covers or what the claims are.
    #[error("the token's header has {header:?}, which is not supported")]
    UnsupportedHeader {
        /// Which.
        header: &'static str,
    },
    /// A token of another kind.
    #[error("the token's type is {found}, it must be JWT or at+jwt")]
    WrongType {
        /// What it says, as shown to people.
        found: String,
    },
    /// No `alg`, or not a string.
    #[error("the token's header does not name its algorithm")]
    NoAlgorithm,
    /// `alg` is `none`.
    #[error("the token is not signed: its algorithm is \"none\"")]
    Unsigned,
    /// An `alg` that no key can have.
    #[error("the token's algorithm {found} is not supported")]
    UnknownAlgorithm {
        /// What it says, as shown to people.
        found: String,
    },
    /// Another `alg` than that of the key.
    #[error("the token says that it is signed with {found}, its key is for {expected}")]
    WrongAlgorithm {
        /// What it says.
        found: Algorithm,
        /// What the configured key is for.
        expected: String,
    },
    /// `kid` that is not a text, or empty, too long or not printable.
    #[error("the token's key id is not a text of 1 to 256 bytes without control characters")]
    MalformedKeyId,
    /// No key of this id. Whoever fetches keys may look for it.
    #[error("the token's key id {kid} is not one of the configured keys")]
    UnknownKey {
        /// The id, as shown to people.
        kid: String,
    },
    /// The signature is not the key's.
    #[error("the token's signature is wrong: it was made with another key, or the token was changed")]
    BadSignature,
    /// No `exp`.
    #[error("the token has no exp claim; it must say when it expires")]
    NoExpiry,
    /// A time that is not one.
    #[error("the token's {claim} claim {problem}; it must be a number of seconds since 1970")]
    BadTime {
        /// `exp`, `nbf` or `iat`.
        claim: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// `exp` is past.
    #[error("the token expired at {}", rfc3339(*at_s))]
    Expired {
        /// When, leeway not included.
        at_s: u64,
    },
    /// `nbf` is ahead.
    #[error("the token is not valid before {}", rfc3339(*at_s))]
    NotYetValid {
        /// From when it is.
        at_s: u64,
    },
    /// `iat` is ahead.
    #[error("the token was issued at {}, which is in the future: the clocks of issuer and server differ", rfc3339(*at_s))]
    IssuedInFuture {
        /// When it says that it was.
        at_s: u64,
    },
    /// No `iss`, and one is required.
    #[error("the token has no iss claim, and an issuer is required")]
    NoIssuer,
    /// Another `iss` than those required.
    #[error("the token's issuer {found} is not one that is accepted")]
    WrongIssuer {
        /// What it says, as shown to people.
        found: String,
    },
    /// No `aud`, and one is required.
    #[error("the token has no aud claim, and an audience is required")]
    NoAudience,
    /// None of the required `aud`.
    #[error("the token is for {found}, which is not an audience that is accepted")]
    WrongAudience {
        /// What it says, as shown to people.
        found: String,
    },
    /// None of the claims that name the user.
    #[error("the token names no user: it has no claim {claims}")]
    NoUser {
        /// The claims looked for.
        claims: String,
    },
    /// A claim that is not what it must be.
    #[error("the token's {claim} claim {problem}")]
    BadClaim {
        /// Which.
        claim: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl TokenError {
    /// A short name of the reason that stays the same, for metrics and log fields.
    pub fn code(&self) -> &'static str {
        match self {
            TokenError::TooLong { .. } => "token-too-long",
            TokenError::PartCount { .. } => "wrong-part-count",
            TokenError::EmptyPart { .. } => "empty-part",
            TokenError::NotBase64 { .. } => "not-base64url",
            TokenError::NotJson { .. } => "not-json",
            TokenError::DuplicateName { .. } => "duplicate-name",
            TokenError::TooDeep { .. } => "too-deep",
            TokenError::EmbeddedKey { .. } => "embedded-key",
            TokenError::MalformedCritical => "malformed-crit",
            TokenError::Critical { .. } => "unknown-crit",
            TokenError::UnsupportedHeader { .. } => "unsupported-header",
            TokenError::WrongType { .. } => "wrong-type",
            TokenError::NoAlgorithm => "no-algorithm",
            TokenError::Unsigned => "unsigned",
            TokenError::UnknownAlgorithm { .. } => "unknown-algorithm",
            TokenError::WrongAlgorithm { .. } => "wrong-algorithm",
            TokenError::MalformedKeyId => "malformed-key-id",
            TokenError::UnknownKey { .. } => "unknown-key",
            TokenError::BadSignature => "bad-signature",
            TokenError::NoExpiry => "no-expiry",
            TokenError::BadTime { .. } => "bad-time",
            TokenError::Expired { .. } => "token-expired",
            TokenError::NotYetValid { .. } => "not-yet-valid",
            TokenError::IssuedInFuture { .. } => "issued-in-future",
            TokenError::NoIssuer => "no-issuer",
            TokenError::WrongIssuer { .. } => "wrong-issuer",
            TokenError::NoAudience => "no-audience",
            TokenError::WrongAudience { .. } => "wrong-audience",
            TokenError::NoUser { .. } => "no-user",
            TokenError::BadClaim { .. } => "bad-claim",
        }
    }

    /// True when the token was good and is too old: the client may come back with a fresh one.
    pub fn is_expired(&self) -> bool {
        matches!(self, TokenError::Expired { .. })
    }

    /// True when no key fitted: with other keys it may be good.
    pub fn is_about_keys(&self) -> bool {
        matches!(self, TokenError::UnknownKey { .. } | TokenError::WrongAlgorithm { .. } | TokenError::BadSignature)
    }
}

/// RFC 7516: what has five parts is encrypted.
fn encrypted(count: usize) -> &'static str {
    if count == 5 { ": it is encrypted, which is not supported" } else { "" }
}
