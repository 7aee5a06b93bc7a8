//! A token explained to a person: what each part says, what that means, and whether it would be accepted, with the reason. Called by
//! `concord token --inspect`. Works on broken tokens too, and never writes a signature or what could pass for a credential.

use crate::{
    Identity, KeySet, Rules, TokenError, claims, looks_like_api_key,
    text::quoted,
    time::{YEAR_9999_S, relative, rfc3339},
    token::{Header, Parts, object, verify},
};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Lines about the token: `header`, `claims`, `signature`, `verdict`, each value on a line of its own. Without `keys` the signature
/// is not checked, and the verdict says so.
pub fn inspect(token: &str, keys: Option<&KeySet>, rules: &Rules, now_s: u64) -> String {
    if looks_like_api_key(token) {
        return "this is an API key, not a token: it says nothing by itself; look its id up in the list of keys\n"
            .to_owned();
    }
    let mut text = String::new();
    match Parts::split(token) {
        Err(error) => line(&mut text, &format!("not readable: {error}")),
        Ok(parts) => {
            section(&mut text, "header", &object("header", parts.header), |name, _| header_meaning(name));
            section(&mut text, "claims", &object("claims", parts.claims), |name, value| {
                claim_meaning(name, value, rules, now_s)
            });
            line(&mut text, &format!("signature\n  {} characters, not shown", parts.signature.len()));
        }
    }
    line(&mut text, &format!("verdict\n  {}", verdict(token, keys, rules, now_s)));
    text
}

fn section(
    text: &mut String,
    title: &str,
    object: &Result<Map<String, Value>, TokenError>,
    meaning: impl Fn(&str, &Value) -> Option<String>,
) {
    line(text, title);
    match object {
        Err(error) => line(text, &format!("  not readable: {error}")),
        Ok(object) => object.iter().for_each(|(name, value)| {
            let meaning = meaning(name, value).map_or(String::new(), |meaning| format!("   ({meaning})"));
            line(text, &format!("  {}: {}{meaning}", bare(name), shown(value)));
        }),
    }
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}

/// A name without quotes where it cannot be mistaken for anything else.
fn bare(name: &str) -> String {
    let plain = name.len() <= 64
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:#".contains(&byte));
    if plain { name.to_owned() } else { quoted(name) }
}

/// A value on one line: strings as they are shown everywhere, the rest as JSON with escapes, shortened.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 400;
    match value {
        Value::String(text) => quoted(text),
        other => {
            let json = other.to_string();
            let short: String = json.chars().take(CHARS_MAX).flat_map(escaped).collect();
            if json.chars().nth(CHARS_MAX).is_some() { format!("{short}...") } else { short }
        }
    }
}

/// What JSON leaves as it is and a terminal would obey; quotes and backslashes stay.
fn escaped(c: char) -> Vec<char> {
    if matches!(c, '"' | '\\' | '\'') { vec![c] } else { c.escape_debug().collect() }
}

fn header_meaning(name: &str) -> Option<String> {
    let meaning = match name {
        "alg" => "how it says that it is signed; the key decides how it is checked",
        "typ" => "what it is",
        "kid" => "which key signed it",
        "jwk" | "jku" | "x5u" | "x5c" => "a key that it brings along: never used, tokens with it are refused",
        "crit" => "extensions that must be understood: none is",
        _ => return None,
    };
    Some(meaning.to_owned())
}

fn claim_meaning(name: &str, value: &Value, rules: &Rules, now_s: u64) -> Option<String> {
    let names = &rules.claims;
    let fixed = match name {
        "exp" => return Some(format!("expires {}", time(value, now_s))),
        "iat" => return Some(format!("issued {}", time(value, now_s))),
        "nbf" => return Some(format!("not valid before {}", time(value, now_s))),
        "iss" => "who issued it",
        "aud" => "whom it is for",
        "jti" => "its own id; not looked at",
        "scope" | "scp" | "scopes" => "not looked at: what a token allows is in its rooms",
        name if names.user.iter().any(|user| user == name) => "the user's id",
        name if names.name.iter().any(|shown| shown == name) => "what to show",
        name if name == names.firm => "the organisation",
        name if name == names.role => "the role, for logs only",
        name if name == names.email => "the address, for logs only",
        name if name == names.rooms => "what it allows in which rooms",
        _ => return None,
    };
    Some(fixed.to_owned())
}

fn time(value: &Value, now_s: u64) -> String {
    match value.as_f64() {
        Some(seconds) if (0.0..=YEAR_9999_S as f64).contains(&seconds) => {
            let time_s = seconds.ceil() as u64;
            format!("{}, {}", rfc3339(time_s), relative(time_s, now_s))
        }
        _ => "never: this is not a time in seconds since 1970".to_owned(),
    }
}

fn verdict(token: &str, keys: Option<&KeySet>, rules: &Rules, now_s: u64) -> String {
    match keys {
        Some(keys) => match verify(token, keys, rules, now_s) {
            Ok(identity) => format!("accepted: {}", summary(&identity)),
            Err(error) => format!("refused ({}): {error}", error.code()),
        },
        None => match without_signature(token, rules, now_s) {
            Ok(identity) => {
                format!("signature not checked, no keys were given; the rest is in order: {}", summary(&identity))
            }
            Err(error) => format!("refused with any key ({}): {error}", error.code()),
        },
    }
}

/// Everything that `verify` checks, but for the signature.
fn without_signature(token: &str, rules: &Rules, now_s: u64) -> Result<Identity, TokenError> {
    let parts = Parts::split(token)?;
    Header::read(&object("header", parts.header)?)?;
    claims::identity(&object("claims", parts.claims)?, rules, now_s)
}

fn summary(identity: &Identity) -> String {
    let grants = identity.grants.as_ref().map(|grants| match grants.len() {
        0 => "no room at all".to_owned(),
        1..=10 => grants.iter().map(|grant| quoted(&grant.to_string())).collect::<Vec<_>>().join(", "),
        count => format!("{count} grants"),
    });
    format!("user {}, rooms: {}", quoted(&identity.user), grants.unwrap_or_else(|| "by their own rules".to_owned()))
}
