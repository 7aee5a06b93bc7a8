//! Who somebody is, as their credential says: JSON web tokens, the keys that they are checked with, API keys, tokens for one document.
//!
//! Called by the server when a connection or a request comes in, and by the command line that makes and explains tokens.
//! No I/O, no clock (`now_s` is an argument: seconds since the Unix epoch), no sockets, no log output, no tokio. The only
//! chance is in API keys, whose secrets come from the system's generator: a seed that a caller could give, a caller could give twice.
//! Does not fetch keys, keep sessions or know rooms: it says who, and what the credential grants, and others decide with it.

pub mod api_key;
mod claims;
pub mod document_token;
mod identity;
mod inspect;
mod jwk;
mod key;
mod key_set;
mod key_table;
mod mint;
mod permission;
mod strict_json;
mod text;
mod time;
mod token;
mod token_error;

pub use api_key::looks_like_api_key;
pub use claims::{ClaimNames, Rules};
pub use document_token::{DocumentKey, DocumentToken, DocumentTokenError, is_same_secret};
pub use identity::{Credential, Identity, Scopes};
pub use inspect::inspect;
pub use key::{Algorithm, Key, KeySetError};
pub use key_set::KeySet;
pub use mint::{MintError, Minted, SigningKey, mint};
pub use permission::{Grant, Permission, RoomPattern, permission_of};
pub use time::{parse_duration_s, rfc3339};
pub use token::{TOKEN_BYTES_MAX, verify};
pub use token_error::TokenError;
