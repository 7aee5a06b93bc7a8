//! Who comes first for a draft owns it: what json-yjs asks of a newcomer beside what the gate does.
//!
//! Called by `upgrade` for json-yjs connections that the gate has let in. What follows from a registration for all who come
//! later is the ledger's business.

use crate::auth::{Admission, Draft, Refusal};
use crate::config::DraftsConfig;
use crate::connections::Reached;
use crate::errand;
use crate::upgrade::Entrance;
use crate::worker::{What, Whom};
use identity::RoomPattern;
use room::{Access, Closing};

/// Why a newcomer may not enter a draft.
pub(crate) enum Barred {
    /// As the dialect says it.
    Closing(Closing),
    /// It makes too many.
    Limit(Reached),
    /// It is worth coming back.
    Later(&'static str),
}

const UNAVAILABLE: &str = "access to this draft cannot be checked now; try again later";

/// Registers a draft that is nobody's to the newcomer, where it is to be, and says again what that may do.
pub(crate) async fn claim(entrance: &Entrance, admission: Admission, room: &str) -> Result<Admission, Barred> {
    let owner = admission.standing.as_ref().and_then(|standing| Some((standing, Draft::made_by(&standing.identity)?)));
    // Nobody is known while authentication is off.
    let Some((standing, draft)) = owner else { return Ok(admission) };
    if entrance.ledger().is_draft(room) {
        return Ok(admission);
    }
    let exists = errand::exists(&entrance.workers.shared, room).await;
    let exists = exists.map_err(|_| Barred::Closing(Closing::Internal))?;
    let DraftsConfig { auto_create, claim_existing } = entrance.config.drafts;
    if !exists && !auto_create {
        return Err(Barred::Closing(Closing::NotFound));
    }
    // Who may only read makes nothing.
    if exists && !claim_existing || admission.access == Access::Read {
        return Ok(admission);
    }
    entrance.connections.may_make_room(&admission.author).map_err(Barred::Limit)?;
    let (ledger, name) = (entrance.ledger().clone(), room.to_owned());
    let (by, now_ms) = (admission.author.clone(), entrance.clock.now_ms());
    let registered = tokio::task::spawn_blocking(move || ledger.register_if_absent(&name, draft, &by, now_ms)).await;
    match registered {
        Ok(Ok(true)) => {
            // Whoever is in it through another dialect may have to go.
            let whom = Whom { room: Some(RoomPattern::exact(room)), ..Whom::default() };
            entrance.workers.command(whom, What::Confirm).await;
        }
        Ok(Ok(false)) => {}
        Ok(Err(error)) => {
            tracing::error!(action = "store.error", %error, "cannot register a draft");
            return Err(Barred::Closing(Closing::Internal));
        }
        Err(_) => return Err(Barred::Closing(Closing::Internal)),
    }
    // Somebody of another firm may have been first.
    entrance.gate().confirm(standing, room).await.map_err(|refusal| match refusal {
        Refusal::Closing(closing) => Barred::Closing(closing),
        Refusal::Origin => Barred::Closing(Closing::Forbidden),
        Refusal::Later(_) => Barred::Later(UNAVAILABLE),
    })
}
