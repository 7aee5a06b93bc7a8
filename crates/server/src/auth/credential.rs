//! What a request shows to prove who it comes from. Looks at the places in the order that the protocol documents give; the first that is there counts,
//! whatever is in it: a bad token beside a good one is a bad token. Verifies nothing.

use crate::request::RequestHead;
use std::fmt;

/// Query parameters that carry a token, in this order.
const PARAMETERS: [&str; 3] = ["token", "auth", "access_token"];

/// What a visitor shows.
#[derive(PartialEq, Eq)]
pub(super) enum Credential {
    /// A token or an API key.
    Token(String),
    /// A token in the cookie that the configuration names. Browsers send it by themselves.
    TokenCookie(String),
    /// Cookies for the application to judge.
    Session(SessionCookie),
    /// Nothing.
    Missing,
}

/// What the application is asked about a session with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionCookie {
    /// The whole header.
    pub(crate) cookie: String,
    /// The page's origin.
    pub(crate) origin: String,
}

impl Credential {
    /// What `head` shows. `token_cookie`: the name of the cookie with a token. `sessions`: the application can be asked about cookies.
    pub(super) fn of(head: &RequestHead, token_cookie: Option<&str>, sessions: bool) -> Self {
        let parameter = PARAMETERS.iter().find_map(|name| head.query_value(name).filter(|value| !value.is_empty()));
        if let Some(token) =
            parameter.or_else(|| head.header("authorization").and_then(bearer_token).map(str::to_owned))
        {
            return Self::Token(token);
        }
        let Some(cookie) = head.header("cookie") else { return Self::Missing };
        if let Some(token) = token_cookie.and_then(|name| cookie_value(cookie, name)) {
            return Self::TokenCookie(token.to_owned());
        }
        match sessions {
            true => {
                let origin = head.header("origin").unwrap_or_default().to_owned();
                Self::Session(SessionCookie { cookie: cookie.to_owned(), origin })
            }
            false => Self::Missing,
        }
    }
}

/// The token of the header `Authorization: Bearer …`.
pub(crate) fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then_some(token.trim())
}

pub(crate) fn cookie_value<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    cookies.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then_some(value.trim())
    })
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(***)",
            Self::TokenCookie(_) => "TokenCookie(***)",
            Self::Session(_) => "Session(***)",
            Self::Missing => "Missing",
        })
    }
}

impl fmt::Debug for SessionCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCookie").field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::parse;

    #[test]
    fn the_first_place_with_a_credential_counts() {
        let token = |text: &str| Credential::Token(text.to_owned());
        let session = |cookie: &str, origin: &str| {
            Credential::Session(SessionCookie { cookie: cookie.to_owned(), origin: origin.to_owned() })
        };
        let cases = [
            ("/r?token=a&auth=b", "Authorization: Bearer c\r\n", token("a")),
            ("/r?access_token=c&auth=b", "", token("b")),
            ("/r?access_token=c", "", token("c")),
            ("/r?token=a%2Bb&token=x", "", token("a+b")),
            ("/r?token=", "Authorization: bearer  d \r\n", token("d")),
            ("/r?Token=a", "", Credential::Missing),
            ("/r", "Authorization: Basic x\r\n", Credential::Missing),
            ("/r", "Authorization: Bearer\r\nCookie: jwt=e\r\n", Credential::TokenCookie("e".to_owned())),
            ("/r?token=a", "Cookie: jwt=e\r\n", token("a")),
            ("/r", "Cookie: a=1; jwt=e; jwt=f\r\n", Credential::TokenCookie("e".to_owned())),
            ("/r", "Cookie: xjwt=e\r\nOrigin: https://a\r\n", session("xjwt=e", "https://a")),
            ("/r", "Cookie: s=1\r\n", session("s=1", "")),
            ("/r", "", Credential::Missing),
        ];
        for (target, headers, expected) in cases {
            let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            let head = parse(request.as_bytes()).expect("legal").expect("whole");
            let found = Credential::of(&head, Some("jwt"), true);
            assert!(found == expected, "{request}: {found:?}");
            assert!(!matches!(Credential::of(&head, None, false), Credential::TokenCookie(_) | Credential::Session(_)));
        }
    }
}
