//! What the command line does with API keys and tokens. Called by `main`; returns what is to be printed. Works beside a running server, which reads the
//! file of keys again when it has changed.

use crate::auth::{AuthError, Authenticator, KeyFile, KeyFileError, described, now_s};
use crate::cli::{KeyCommand, TokenCommand};
use crate::config::Config;
use identity::api_key::{KeySpec, NewKey};
use identity::{MintError, Minted, SigningKey, inspect, mint};
use std::fmt::Write as _;

/// Why a command on keys or tokens was not done.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file of keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The keys that tokens are checked with.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The token cannot be.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// Nothing to sign with.
    #[error(
        "there is no auth.secret to sign with; set CONCORD_AUTH_SECRET (make one with: openssl rand -base64 32), for this command and for the server"
    )]
    NoSecret,
}

/// Makes, lists or takes back API keys.
pub fn keys(config: &Config, command: KeyCommand) -> Result<String, CredentialError> {
    let file = KeyFile::open(&config.data)?;
    match command {
        KeyCommand::Create { form, name, owner, scopes, rooms, ttl_s } => {
            let expires_at_s = ttl_s.map(|ttl_s| now_s() + ttl_s);
            let spec = KeySpec { name, owner, scopes, rooms, expires_at_s };
            let made = file.change(|table| table.create_as(form, spec, now_s()))?;
            Ok(shown_once(&made))
        }
        KeyCommand::List => {
            let used = file.used();
            let lines = file.table().list().map(|record| format!("{}\n", described(record, &used))).collect::<String>();
            Ok(if lines.is_empty() { "there are no keys; concord key create makes one\n".to_owned() } else { lines })
        }
        KeyCommand::Revoke { id } => {
            file.change(|table| table.revoke(&id, now_s()))?;
            Ok(format!("revoked {id}; a running server ends its connections within a second\n"))
        }
        KeyCommand::Rotate { id, overlap_s } => {
            let made = file.change(|table| table.rotate(&id, overlap_s, now_s()))?;
            Ok(format!("{}the key {id} counts for {overlap_s} s more\n", shown_once(&made)))
        }
    }
}

fn shown_once(made: &NewKey) -> String {
    let mut text = format!("{}\n", made.text);
    let _ = writeln!(text, "id {}; keep the key now: it is not stored and cannot be shown again", made.record.id);
    text
}

/// Makes or explains a token.
pub fn tokens(config: &Config, command: TokenCommand) -> Result<String, CredentialError> {
    match command {
        TokenCommand::Mint { user, name, firm, rooms, ttl_s } => {
            let auth = &config.auth;
            if auth.secret.is_empty() {
                return Err(CredentialError::NoSecret);
            }
            let key = SigningKey::secret(auth.secret_algorithm, auth.secret.as_str().as_bytes());
            let key = key.map_err(|source| AuthError::Key { setting: "auth.secret", source })?;
            let minted = Minted {
                user,
                name,
                firm,
                grants: (!rooms.is_empty()).then_some(rooms),
                ttl_s,
                audience: auth.audience.first().cloned(),
                issuer: auth.issuer.first().cloned(),
                kid: None,
            };
            Ok(format!("{}\n", mint(&key, &minted, &auth.claims, now_s())?))
        }
        TokenCommand::Inspect { token } => {
            let keys = Authenticator::configured_keys(&config.auth)?;
            let keys = (!keys.is_empty()).then_some(&keys);
            Ok(inspect(&token, keys, &config.auth.rules(), now_s()))
        }
    }
}
