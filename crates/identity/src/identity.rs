//! Somebody, as a checked credential names them. Made by `verify` and by `KeyTable::authenticate`, or by the server for connections
//! without a credential and for sessions. Holds no secret, so it may be printed.

use crate::permission::{Grant, Permission, permission_of};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Their id: 1 to 256 bytes without control characters. Changes are credited to it.
    pub user: Arc<str>,
    /// What to show to people: at most 256 bytes without control characters, like the three that follow.
    pub name: Option<String>,
    /// The organisation that they belong to.
    pub firm: Option<String>,
    /// Their role, for logs only: nothing is decided by it.
    pub role: Option<String>,
    /// Their address, for logs only.
    pub email: Option<String>,
    /// What the credential allows in which rooms. `None`: it does not say, and the rooms' own rules decide.
    pub grants: Option<Vec<Grant>>,
    /// What the credential may be used for. `None`: it does not say. A token never says: the `scope` that OAuth servers write into
    /// tokens has another vocabulary.
    pub scopes: Option<Scopes>,
    /// How they proved it.
    pub credential: Credential,
    /// When the credential was made, where it says so.
    pub issued_at_s: Option<u64>,
    /// The second from which the credential is no longer good, leeway not included. `None`: it has no end.
    pub expires_at_s: Option<u64>,
}

impl Identity {
    /// Somebody without a credential, under the name that the caller gives them.
    pub fn anonymous(user: impl Into<Arc<str>>) -> Identity {
        Identity {
            user: user.into(),
            name: None,
            firm: None,
            role: None,
            email: None,
            grants: None,
            scopes: None,
            credential: Credential::Anonymous,
            issued_at_s: None,
            expires_at_s: None,
        }
    }

    /// What the credential allows in a room. `None`: it does not say, and the room's own rules decide.
    pub fn permission(&self, room: &str) -> Option<Permission> {
        self.grants.as_ref().map(|grants| permission_of(grants, room))
    }

    /// True when it is one user, so that what users may have is counted for it. Otherwise any number of people have the same name.
    pub fn is_one_user(&self) -> bool {
        !matches!(self.credential, Credential::Document { is_named: false } | Credential::Backend)
    }

    /// True when the credential has the admin scope. No token has it.
    pub fn is_admin(&self) -> bool {
        self.scopes.is_some_and(|scopes| scopes.admin)
    }
}

/// How somebody proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// They did not.
    Anonymous,
    /// With a signed token.
    Token,
    /// With the API key of this id.
    Key(Arc<str>),
    /// With a session that the server keeps.
    Session,
    /// With a token for one document.
    Document {
        /// Whether it says who shows it.
        is_named: bool,
    },
    /// With the secret of the application's backend, which acts for all its users.
    Backend,
}

/// What an API key may be used for. In JSON: a list of the names of those that are true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Scopes {
    /// Read rooms.
    pub read: bool,
    /// Change rooms, which includes reading them.
    pub write: bool,
    /// Administer the server. Does not include reading rooms.
    pub admin: bool,
}

impl Scopes {
    /// `read,write`: names separated by commas. `None` for an empty list, an unknown name or one that comes twice.
    pub fn parse(text: &str) -> Option<Scopes> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        Scopes::try_from(names).ok()
    }

    /// The names of those that are true.
    pub fn names(self) -> Vec<&'static str> {
        let named = [("read", self.read), ("write", self.write), ("admin", self.admin)];
        named.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    /// What they allow in a room.
    pub fn permission(self) -> Permission {
        match self {
            Scopes { write: true, .. } => Permission::Write,
            Scopes { read: true, .. } => Permission::Read,
            _ => Permission::None,
        }
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = &'static str;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        let mut scopes = Scopes::default();
        for name in &names {
            let scope = match name.as_str() {
                "read" => &mut scopes.read,
                "write" => &mut scopes.write,
                "admin" => &mut scopes.admin,
                _ => return Err("a scope is read, write or admin"),
            };
            if std::mem::replace(scope, true) {
                return Err("a scope is named twice");
            }
        }
        if names.is_empty() { Err("name at least one scope of read, write and admin") } else { Ok(scopes) }
    }
}

impl From<Scopes> for Vec<String> {
    fn from(scopes: Scopes) -> Vec<String> {
        scopes.names().into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_named() {
        let cases = [
            ("read", Permission::Read),
            ("read,write", Permission::Write),
            ("write", Permission::Write),
            ("admin", Permission::None),
            ("read,write,admin", Permission::Write),
        ];
        for (text, permission) in cases {
            let scopes = Scopes::parse(text).expect(text);
            assert_eq!((scopes.names().join(","), scopes.permission()), (text.to_owned(), permission));
        }
        assert_eq!(Scopes::parse("write, read"), Scopes::parse("read,write"));
        for text in ["", ",", "read,", "Read", "read,read", "root", "*"] {
            assert_eq!(Scopes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_identity_allows_what_its_grants_say() {
        let mut identity = Identity::anonymous("u");
        assert_eq!((identity.permission("a"), identity.is_admin()), (None, false));
        identity.grants = Some(vec![Grant::parse("a:write").unwrap()]);
        assert_eq!(identity.permission("a"), Some(Permission::Write));
        assert_eq!(identity.permission("b"), Some(Permission::None));
    }
}
