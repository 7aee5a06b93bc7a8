//! Presence between what clients of the sessions dialect say, what the room keeps, and what they are told.
//!
//! The room keeps one JSON object for each presence id and shows it to the Yjs dialects as it is. What a client here says is kept as `user`, `cursor` and the
//! members of its `state`; what comes from a Yjs dialect is shown here whole, in `state`. Called by the sessions dialect only. Knows no clocks and no room.

use super::object::{Object, Writer, quoted, text};
use room::{Person, Shown};

/// Members of a kept object that are not its client's `state`. Whoever uses these names within `state` has it kept once more, whole, as the last of them.
const OWN: [&str; 3] = ["user", "cursor", WHOLE];
const WHOLE: &str = "state";
/// Whole numbers beyond this are not exact in a page.
const WHOLE_NUMBER_MAX: f64 = 9_007_199_254_740_991.0;

/// What the room keeps of an awareness message, with `user.id` as the server knows it. The error says what is wrong with the message.
pub(super) fn kept(said: &Object<'_>, person: &Person) -> Result<String, &'static str> {
    let mut out = Writer::new();
    out.member("user", &user(said.get_some("user"), person)?);
    if let Some(cursor) = said.get_some("cursor") {
        let object = Object::read(cursor).ok_or("cursor is not an object")?;
        if !["line", "column"].iter().all(|part| object.get(part).is_some_and(is_whole_number)) {
            return Err("cursor.line and cursor.column are not both whole numbers from 0 on");
        }
        out.member("cursor", cursor);
    }
    if let Some(state) = said.get_some("state") {
        let members = Object::read(state).ok_or("state is not an object")?;
        let (own, others): (Vec<_>, Vec<_>) = members.members().partition(|(name, _)| OWN.contains(name));
        others.into_iter().for_each(|(name, value)| out.member(name, value));
        if !own.is_empty() {
            out.member(WHOLE, state);
        }
    }
    Ok(out.finish())
}

fn user(said: Option<&str>, person: &Person) -> Result<String, &'static str> {
    let object = said.map(|said| Object::read(said).ok_or("user is not an object")).transpose()?;
    let member = |name| object.as_ref().and_then(|object| object.get_some(name));
    let is_text = |value: &str| value.starts_with('"');
    if !member("color").is_none_or(is_text) {
        return Err("user.color is not a text");
    }
    let name = match member("name") {
        Some(name) => text(name).ok_or("user.name is not a text")?,
        None => person.name.to_string(),
    };
    let mut out = Writer::new();
    out.text("id", &person.id);
    out.text("name", &name);
    let rest = object.iter().flat_map(Object::members).filter(|(name, _)| !["id", "name"].contains(name));
    rest.for_each(|(name, value)| out.member(name, value));
    Ok(out.finish())
}

fn is_whole_number(value: &str) -> bool {
    let number = value.parse().ok().filter(|_| value.starts_with(|first: char| first == '-' || first.is_ascii_digit()));
    number.is_some_and(|number: f64| (0.0..=WHOLE_NUMBER_MAX).contains(&number) && number.fract() == 0.0)
}

/// The object of an awareness message: states by presence id.
pub(super) fn shown(states: &[Shown]) -> String {
    let mut out = Writer::new();
    for state in states {
        out.member(&state.id.to_string(), &one(state).unwrap_or_else(|| "null".to_owned()));
    }
    out.finish()
}

/// One state as clients here are told of it. None: nothing is there, or nothing that could be read.
fn one(Shown { id, state, by_guest }: &Shown) -> Option<String> {
    let json = std::str::from_utf8(state.as_deref()?).ok()?.trim_ascii();
    let object = Object::read(json)?;
    let mut out = Writer::new();
    out.member("client_id", &id.to_string());
    if *by_guest {
        object.get("user").into_iter().for_each(|user| out.member("user", user));
        object.get("cursor").into_iter().for_each(|cursor| out.member("cursor", cursor));
        match object.get(WHOLE) {
            Some(state) => out.member("state", state),
            None => {
                let mut state = Writer::new();
                let others = object.members().filter(|(name, _)| !OWN.contains(name));
                others.for_each(|(name, value)| state.member(name, value));
                if !state.is_empty() {
                    out.member("state", &state.finish());
                }
            }
        }
    } else {
        object.get("user").and_then(named).into_iter().for_each(|user| out.member("user", &user));
        out.member("state", json);
    }
    Some(out.finish())
}

/// The user of a state of another dialect, if it has a name. Not its id: that is nothing that the server has checked.
fn named(user: &str) -> Option<String> {
    let object = Object::read(user)?;
    let name = text(object.get("name")?)?;
    let mut out = Writer::new();
    out.member("name", &quoted(&name));
    let rest = object.members().filter(|(name, _)| !["id", "name"].contains(name));
    rest.for_each(|(name, value)| out.member(name, value));
    Some(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Person {
        Person { id: "ann".into(), name: "Ann \"A\"".into() }
    }

    #[test]
    fn what_a_client_says_is_shown_again_as_it_was() {
        let (me, you) =
            (r#""user":{"id":"ann","name":"Ann \"A\""}"#, r#""user":{"id":"ann","name":"B","color":"red","x":[1]}"#);
        let (whole, flat) = (r#"{"a":1,"user":2,"b":{ "c":3}}"#, r#""a":1,"b":{ "c":3}"#);
        let cases = [
            ("{}", format!("{{{me}}}"), me.to_owned()),
            (r#"{"user":null,"cursor":null,"state":null}"#, format!("{{{me}}}"), me.to_owned()),
            (
                r#"{"user":{"id":"bob","color":null},"client_id":9}"#,
                format!("{{{},\"color\":null}}}}", &me[..me.len() - 1]),
                format!("{},\"color\":null}}", &me[..me.len() - 1]),
            ),
            (r#"{"user":{"color":"red","id":"bob","x":[1],"name":"B"}}"#, format!("{{{you}}}"), you.to_owned()),
            (
                r#"{"cursor":{"line":42, "column":1e1,"more":true}}"#,
                format!("{{{me},\"cursor\":{{\"line\":42, \"column\":1e1,\"more\":true}}}}"),
                format!("{me},\"cursor\":{{\"line\":42, \"column\":1e1,\"more\":true}}"),
            ),
            (r#"{"state":{}}"#, format!("{{{me}}}"), me.to_owned()),
            (
                r#"{"state":{"a":1,"b":[]}}"#,
                format!("{{{me},\"a\":1,\"b\":[]}}"),
                format!("{me},\"state\":{{\"a\":1,\"b\":[]}}"),
            ),
            (
                &format!("{{\"state\":{whole}}}"),
                format!("{{{me},{flat},\"state\":{whole}}}"),
                format!("{me},\"state\":{whole}"),
            ),
            (
                r#"{"state":{"state":1}}"#,
                format!("{{{me},\"state\":{{\"state\":1}}}}"),
                format!("{me},\"state\":{{\"state\":1}}"),
            ),
        ];
        for (said, kept_as, shown_as) in cases {
            let object = Object::read(said).expect("an object");
            let json = kept(&object, &ann()).unwrap_or_else(|error| panic!("{said}: {error}"));
            assert_eq!(json, kept_as, "{said}");
            let state = Shown { id: 7, state: Some(json.into()), by_guest: true };
            assert_eq!(shown(&[state]), format!("{{\"7\":{{\"client_id\":7,{shown_as}}}}}"), "{said}");
        }
    }

    #[test]
    fn wrong_kinds_are_refused_with_the_reason() {
        let numbers = "cursor.line and cursor.column are not both whole numbers from 0 on";
        let cases = [
            (r#"{"user":"ann"}"#, "user is not an object"),
            (r#"{"user":[]}"#, "user is not an object"),
            (r#"{"user":{"name":7}}"#, "user.name is not a text"),
            (r#"{"user":{"name":"\ud800"}}"#, "user.name is not a text"),
            (r#"{"user":{"color":16711680}}"#, "user.color is not a text"),
            (r#"{"cursor":5}"#, "cursor is not an object"),
            (r#"{"cursor":{}}"#, numbers),
            (r#"{"cursor":{"line":1}}"#, numbers),
            (r#"{"cursor":{"line":1,"column":-1}}"#, numbers),
            (r#"{"cursor":{"line":1.5,"column":1}}"#, numbers),
            (r#"{"cursor":{"line":"1","column":1}}"#, numbers),
            (r#"{"cursor":{"line":null,"column":1}}"#, numbers),
            (r#"{"cursor":{"line":1e300,"column":1}}"#, numbers),
            (r#"{"cursor":{"line":true,"column":1}}"#, numbers),
            (r#"{"state":"typing"}"#, "state is not an object"),
            (r#"{"state":[1]}"#, "state is not an object"),
        ];
        for (said, expected) in cases {
            assert_eq!(kept(&Object::read(said).expect("an object"), &ann()), Err(expected), "{said}");
        }
    }

    #[test]
    fn what_other_dialects_say_is_shown_whole() {
        let cases = [
            (Some("{}"), r#"{"client_id":9,"state":{}}"#),
            (
                Some(r#" {"cursor":{"line":1,"column":2}} "#),
                r#"{"client_id":9,"state":{"cursor":{"line":1,"column":2}}}"#,
            ),
            (
                Some(r#"{"user":{"id":"ann","color":"red","name":"Y"}}"#),
                r#"{"client_id":9,"user":{"name":"Y","color":"red"},"state":{"user":{"id":"ann","color":"red","name":"Y"}}}"#,
            ),
            (Some(r#"{"user":{"color":"red"}}"#), r#"{"client_id":9,"state":{"user":{"color":"red"}}}"#),
            (Some(r#"{"user":{"name":1}}"#), r#"{"client_id":9,"state":{"user":{"name":1}}}"#),
            (Some(r#"{"user":"Y"}"#), r#"{"client_id":9,"state":{"user":"Y"}}"#),
            (Some("not JSON"), "null"),
            (None, "null"),
        ];
        for (state, expected) in cases {
            let state = Shown { id: 9, state: state.map(|json| json.as_bytes().to_vec().into()), by_guest: false };
            assert_eq!(shown(&[state]), format!("{{\"9\":{expected}}}"));
        }
        assert_eq!(shown(&[]), "{}");
    }
}
