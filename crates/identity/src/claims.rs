//! What a token claims, once its signature is known to be good: times, issuer, audience, user, rooms. Called by `verify` only, and by
//! `inspect` to say what is wrong. A claim that is not as it must be refuses the token: nothing is guessed, and nothing widens.

use crate::{
    Credential, Grant, Identity, Permission, RoomPattern, TokenError,
    text::{problem, quoted},
    time::YEAR_9999_S,
};
use serde_json::{Map, Value};

/// Grants of one token: few enough to look through for each room. A token of 8 KiB has place for 180, so this holds should it grow.
const GRANTS_MAX: usize = 1_000;

/// What a token must say, besides being signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// By how many seconds the clocks of issuer and server may differ.
    pub leeway_s: u64,
    /// One of these must be in `aud`. `None`: whatever it says.
    pub audience: Option<Vec<String>>,
    /// `iss` must be one of these. `None`: whatever it says.
    pub issuer: Option<Vec<String>>,
    /// Where the rest is found.
    pub claims: ClaimNames,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { leeway_s: 30, audience: None, issuer: None, claims: ClaimNames::default() }
    }
}

/// The names of the claims that say who somebody is. A name is looked up as it is: a dot in it has no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Their id: the first of these that is present counts.
    pub user: Vec<String>,
    /// What to show: the first of these that says something counts.
    pub name: Vec<String>,
    /// Their organisation.
    pub firm: String,
    /// Their role.
    pub role: String,
    /// Their address.
    pub email: String,
    /// What they may do where: `[{"name": "team/*", "permission": "write"}]`.
    pub rooms: String,
}

impl Default for ClaimNames {
    fn default() -> ClaimNames {
        ClaimNames {
            user: vec!["userId".to_owned(), "user_id".to_owned(), "sub".to_owned()],
            name: vec!["name".to_owned(), "user_name".to_owned()],
            firm: "firmId".to_owned(),
            role: "role".to_owned(),
            email: "email".to_owned(),
            rooms: "rooms".to_owned(),
        }
    }
}

/// Who the claims name, when they hold at `now_s`.
pub(crate) fn identity(claims: &Map<String, Value>, rules: &Rules, now_s: u64) -> Result<Identity, TokenError> {
    let (expires_at_s, issued_at_s) = check_times(claims, rules.leeway_s, now_s)?;
    check_issuer(claims.get("iss"), rules.issuer.as_deref())?;
    check_audience(claims.get("aud"), rules.audience.as_deref())?;
    let identity = Identity::from_claims(claims, &rules.claims, Credential::Token)?;
    Ok(Identity { issued_at_s, expires_at_s: Some(expires_at_s), ..identity })
}

impl Identity {
    /// Who these claims name. Looks at no times: they are a token's, which was checked, or what an application says of a session.
    pub fn from_claims(
        claims: &Map<String, Value>,
        names: &ClaimNames,
        credential: Credential,
    ) -> Result<Identity, TokenError> {
        Ok(Identity {
            user: user(claims, &names.user)?.into(),
            name: name(claims, &names.name)?,
            firm: required_text(claims, &names.firm)?.map(str::to_owned),
            role: shown(claims, &names.role)?,
            email: shown(claims, &names.email)?,
            grants: claims.get(&names.rooms).map(|rooms| grants(rooms, &names.rooms)).transpose()?,
            scopes: None,
            credential,
            issued_at_s: None,
            expires_at_s: None,
        })
    }
}

/// `exp` and `iat`, when the token is of this time. It is good before `exp`, not at it (RFC 7519 section 4.1.4).
fn check_times(claims: &Map<String, Value>, leeway_s: u64, now_s: u64) -> Result<(u64, Option<u64>), TokenError> {
    let expires_at_s = time(claims, "exp")?.ok_or(TokenError::NoExpiry)?;
    let not_before_s = time(claims, "nbf")?;
    // Rounded down: it must not look younger than it is to whoever takes back what was issued until some second.
    let issued_at_s =
        time(claims, "iat")?.map(|at_s| claims["iat"].as_f64().map_or(at_s, |seconds| seconds.floor() as u64));
    let latest_s = now_s.saturating_add(leeway_s);
    if now_s >= expires_at_s.saturating_add(leeway_s) {
        return Err(TokenError::Expired { at_s: expires_at_s });
    }
    if let Some(at_s) = not_before_s.filter(|at_s| *at_s > latest_s) {
        return Err(TokenError::NotYetValid { at_s });
    }
    if let Some(at_s) = issued_at_s.filter(|at_s| *at_s > latest_s) {
        return Err(TokenError::IssuedInFuture { at_s });
    }
    Ok((expires_at_s, issued_at_s))
}

/// A time in whole seconds, rounded up: no whole second lies between it and what the claim says. After the year 9999 it is
/// milliseconds taken for seconds, and the token would never expire.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, TokenError> {
    let bad = |problem| Err(TokenError::BadTime { claim, problem });
    let Some(value) = claims.get(claim) else { return Ok(None) };
    match value.as_f64() {
        None => bad("is not a number"),
        Some(seconds) if !(seconds >= 0.0 && seconds.is_finite()) => bad("is negative"),
        Some(seconds) if seconds > YEAR_9999_S as f64 => bad("lies after the year 9999, as milliseconds would"),
        Some(seconds) => Ok(Some(seconds.ceil() as u64)),
    }
}

fn check_issuer(issuer: Option<&Value>, accepted: Option<&[String]>) -> Result<(), TokenError> {
    let Some(accepted) = accepted else { return Ok(()) };
    match issuer {
        None => Err(TokenError::NoIssuer),
        Some(Value::String(found)) if accepted.contains(found) => Ok(()),
        Some(Value::String(found)) => Err(TokenError::WrongIssuer { found: quoted(found) }),
        Some(_) => Err(bad("iss", "is not a text")),
    }
}

fn check_audience(audience: Option<&Value>, accepted: Option<&[String]>) -> Result<(), TokenError> {
    let Some(accepted) = accepted else { return Ok(()) };
    let found: Option<Vec<&str>> = match audience {
        None => return Err(TokenError::NoAudience),
        Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
        Some(item) => item.as_str().map(|item| vec![item]),
    };
    let found = found.ok_or_else(|| bad("aud", "is neither a text nor a list of texts"))?;
    if found.iter().any(|item| accepted.iter().any(|accepted| accepted == item)) {
        return Ok(());
    }
    Err(TokenError::WrongAudience { found: found.first().map_or_else(|| "nobody".to_owned(), |first| quoted(first)) })
}

/// The first of the claims that is present, which must be a text that can be an author.
fn user<'a>(claims: &'a Map<String, Value>, names: &[String]) -> Result<&'a str, TokenError> {
    let present = names.iter().find(|name| claims.contains_key(*name));
    match present.map(|name| required_text(claims, name)).transpose()?.flatten() {
        Some(user) => Ok(user),
        None => Err(TokenError::NoUser { claims: names.join(" or ") }),
    }
}

/// The first of the claims that says something.
fn name(claims: &Map<String, Value>, names: &[String]) -> Result<Option<String>, TokenError> {
    names.iter().find_map(|claim| shown(claims, claim).transpose()).transpose()
}

/// A claim that something is decided by: a text where it is present.
fn required_text<'a>(claims: &'a Map<String, Value>, claim: &str) -> Result<Option<&'a str>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) => problem(text).map_or(Ok(Some(text)), |problem| Err(bad(claim, problem))),
        Some(_) => Err(bad(claim, "is not a text")),
    }
}

/// A claim that is only shown: what is empty or not a text is as good as absent.
fn shown(claims: &Map<String, Value>, claim: &str) -> Result<Option<String>, TokenError> {
    match claims.get(claim) {
        Some(Value::String(text)) if !text.is_empty() => {
            required_text(claims, claim).map(|text| text.map(str::to_owned))
        }
        _ => Ok(None),
    }
}

fn grants(rooms: &Value, claim: &str) -> Result<Vec<Grant>, TokenError> {
    let rooms = rooms.as_array().ok_or_else(|| bad(claim, "is not a list"))?;
    if rooms.len() > GRANTS_MAX {
        return Err(bad(claim, "has more than 1000 entries"));
    }
    rooms.iter().map(|entry| grant(entry).map_err(|problem| bad(claim, problem))).collect()
}

/// `{"name": PATTERN, "permission": "read" or "write"}` and nothing else: another member could be a condition.
fn grant(entry: &Value) -> Result<Grant, &'static str> {
    let entry = entry.as_object().ok_or("has an entry that is not an object")?;
    let text = |member: &str| entry.get(member).and_then(Value::as_str);
    let pattern = text("name").ok_or("has an entry without a name")?;
    let permission = text("permission").ok_or("has an entry without a permission")?;
    if entry.len() != 2 {
        return Err("has an entry with members other than name and permission");
    }
    Ok(Grant {
        pattern: RoomPattern::parse(pattern).ok_or("has a name that is empty or has a * before its end")?,
        permission: Permission::parse(permission).ok_or("has a permission other than read and write")?,
    })
}

fn bad(claim: &str, problem: &'static str) -> TokenError {
    TokenError::BadClaim { claim: claim.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn grants_are_bounded() {
        let rooms = |count| Value::Array(vec![json!({"name": "a", "permission": "read"}); count]);
        assert_eq!(grants(&rooms(GRANTS_MAX), "rooms").map(|grants| grants.len()), Ok(GRANTS_MAX));
        assert_eq!(grants(&rooms(GRANTS_MAX + 1), "rooms"), Err(bad("rooms", "has more than 1000 entries")));
    }
}
