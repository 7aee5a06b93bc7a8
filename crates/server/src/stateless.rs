//! Stateless messages that go to the application instead of to the other clients of a document (`hocuspocus.stateless_url`).
//!
//! Called by workers. The application may answer the sender, or everybody in the document, or nobody. Keeps nothing; without an answer nobody is told.

use crate::auth::{Signed, described_identity};
use crate::config::Config;
use crate::fetch::{Fetcher, Lane};
use identity::Identity;
use room::{Access, Author};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Where they go.
pub(crate) struct Stateless(Signed);

/// What the application answers.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Reply {
    pub(crate) to: Recipient,
    pub(crate) payload: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Recipient {
    Sender,
    All,
}

/// Who has sent one, as it is at that moment.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) author: Author,
    pub(crate) access: Access,
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Stateless {
    /// None: they are relayed by the rooms.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let url = config.hocuspocus.stateless_url.clone()?;
        let fetcher = Arc::new(Fetcher::new(Duration::from_millis(config.auth.time_out_ms)));
        Some(Self(Signed::new(url, config.auth.webhook_secret.as_str(), fetcher)))
    }

    /// Hands one over. None: there is nothing to be answered.
    pub(crate) async fn hand_over(&self, sender: &Sender, document: &str, payload: &str) -> Option<Reply> {
        let identity = match &sender.identity {
            Some(identity) => described_identity(identity),
            None => json!({ "userId": &*sender.author }),
        };
        let permission = if sender.access == Access::Write { "write" } else { "read" };
        let body = json!({ "identity": identity, "permission": permission, "document": document, "payload": payload });
        let answer = match self.0.ask(body.to_string().into(), Lane::Members).await {
            Ok(fetched) if fetched.status == 200 => {
                serde_json::from_slice(&fetched.body).map_err(|error| error.to_string())
            }
            Ok(fetched) if fetched.status == 204 => return None,
            Ok(fetched) => Err(format!("it answered {}", fetched.status)),
            Err(error) => Err(error),
        };
        answer
            .inspect_err(|error| {
                tracing::warn!(action = "stateless.unavailable", error, "cannot ask hocuspocus.stateless_url");
            })
            .ok()
    }
}
