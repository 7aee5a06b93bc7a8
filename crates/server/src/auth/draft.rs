//! Whose draft a room is, and what that lets people do: the firm that it belongs to, its owner, and whom the owner works with.
//!
//! Kept by the ledger, asked at every door of every dialect, written by the admin API and by whoever makes a draft. Caps what a credential allows, and
//! never widens it.

use identity::{Identity, Permission};
use serde::{Deserialize, Serialize};

/// Of each name, as in a token.
const NAME_BYTES_MAX: usize = 256;

/// To whom a room belongs: `{"firmId":"f","ownerId":"u","collaborators":[{"userId":"u2","permission":"edit"}]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Draft {
    /// Nobody of another firm enters, whatever else is said.
    pub firm_id: String,
    /// Who may read and write in any case.
    pub owner_id: String,
    /// Who else may enter. `None`: everybody of the firm, for reading and writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collaborators: Option<Vec<Collaborator>>,
}

/// Somebody whom the owner works with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Collaborator {
    /// Who.
    pub user_id: String,
    /// What they may do.
    pub permission: CollaboratorPermission,
}

/// What somebody may do in another's draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollaboratorPermission {
    /// Read.
    View,
    /// Read: comments are not part of the document.
    Comment,
    /// Read and write.
    Edit,
}

impl Draft {
    /// A draft of whoever makes it, open to the whole firm. `None`: it is not known to which firm they belong.
    pub(crate) fn made_by(identity: &Identity) -> Option<Self> {
        let firm_id = identity.firm.clone()?;
        Some(Self { firm_id, owner_id: identity.user.to_string(), collaborators: None })
    }

    /// What somebody may do in it at most.
    pub(crate) fn permission(&self, identity: &Identity) -> Permission {
        if identity.firm.as_deref() != Some(self.firm_id.as_str()) {
            return Permission::None;
        }
        if *identity.user == *self.owner_id {
            return Permission::Write;
        }
        let Some(collaborators) = &self.collaborators else { return Permission::Write };
        let listed = collaborators.iter().find(|listed| *identity.user == *listed.user_id);
        match listed.map(|listed| listed.permission) {
            Some(CollaboratorPermission::Edit) => Permission::Write,
            Some(CollaboratorPermission::View | CollaboratorPermission::Comment) => Permission::Read,
            None => Permission::None,
        }
    }

    /// Why it cannot be registered as it is.
    pub(crate) fn problem(&self) -> Option<String> {
        let collaborators = self.collaborators.iter().flatten();
        let users = || collaborators.clone().map(|listed| &listed.user_id);
        let is_name = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if ![&self.firm_id, &self.owner_id].into_iter().chain(users()).all(is_name) {
            let why = "firmId, ownerId and userId are texts of 1 to 256 bytes without control characters";
            return Some(why.to_owned());
        }
        let mut sorted: Vec<_> = users().collect();
        sorted.sort_unstable();
        let twice = sorted.windows(2).find(|two| two[0] == two[1])?;
        Some(format!("the user {:?} is listed twice", twice[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Credential;

    fn somebody(user: &str, firm: Option<&str>, credential: Credential) -> Identity {
        Identity { firm: firm.map(str::to_owned), credential, ..Identity::anonymous(user) }
    }

    #[test]
    fn a_draft_lets_in_whom_it_says() {
        let draft = |text: &str| serde_json::from_str::<Draft>(text).expect("a draft");
        let open = draft(r#"{"firmId":"f","ownerId":"o","collaborators":null}"#);
        let closed = draft(r#"{"firmId":"f","ownerId":"o","collaborators":[]}"#);
        let listed = draft(
            r#"{"firmId":"f","ownerId":"o","collaborators":[{"userId":"v","permission":"view"},
                {"userId":"c","permission":"comment"},{"userId":"e","permission":"edit"}]}"#,
        );
        use Permission::{None as No, Read, Write};
        let cases = [
            (&open, "o", Some("f"), Write),
            (&open, "x", Some("f"), Write),
            (&open, "o", Some("g"), No),
            (&open, "o", Some("F"), No),
            (&open, "o", None, No),
            (&closed, "o", Some("f"), Write),
            (&closed, "x", Some("f"), No),
            (&listed, "o", Some("f"), Write),
            (&listed, "v", Some("f"), Read),
            (&listed, "c", Some("f"), Read),
            (&listed, "e", Some("f"), Write),
            (&listed, "x", Some("f"), No),
            (&listed, "e", Some("g"), No),
            (&listed, "e", None, No),
        ];
        for (draft, user, firm, permission) in cases {
            for credential in [Credential::Token, Credential::Session, Credential::Key("k".into())] {
                assert_eq!(
                    draft.permission(&somebody(user, firm, credential)),
                    permission,
                    "{user} {firm:?} {draft:?}"
                );
            }
        }
    }

    #[test]
    fn names_are_those_of_tokens() {
        let draft = |firm: &str, users: &[&str]| Draft {
            firm_id: firm.to_owned(),
            owner_id: "o".to_owned(),
            collaborators: Some(
                users
                    .iter()
                    .map(|user| Collaborator { user_id: (*user).to_owned(), permission: CollaboratorPermission::View })
                    .collect(),
            ),
        };
        assert_eq!(draft("f", &["a", "b"]).problem(), None);
        for bad in [draft("", &[]), draft("f\n", &[]), draft(&"f".repeat(257), &[]), draft("f", &["a", ""])] {
            assert!(bad.problem().is_some_and(|why| why.contains("1 to 256 bytes")), "{bad:?}");
        }
        assert_eq!(draft("f", &["a", "b", "a"]).problem().as_deref(), Some("the user \"a\" is listed twice"));
        for text in [
            r#"{"firmId":"f"}"#,
            r#"{"firmId":"f","ownerId":7}"#,
            r#"{"firmId":"f","ownerId":"o","more":1}"#,
            r#"{"firmId":"f","ownerId":"o","collaborators":[{"userId":"a","permission":"admin"}]}"#,
        ] {
            assert!(serde_json::from_str::<Draft>(text).is_err(), "{text}");
        }
    }
}
