//! The cookie with a session's token: how a browser is to keep it. Called when somebody signs up, in or out. Reading it is `accounts`' business.

use super::Request;
use crate::origins;
use hyper::header::{HOST, ORIGIN};

/// Its name; the one with a prefix is only read, as other servers have set it.
const NAME: &str = "better-auth.session_token";
const SECURE_NAME: &str = "__Secure-better-auth.session_token";

impl Request {
    /// What lets the browser keep a token. None: the page's origin could not use the cookie, and has the token in the answer.
    /// `max_age_s`: for so long; none: until the browser closes.
    pub(super) fn cookie(&self, token: &str, max_age_s: Option<u64>) -> Option<String> {
        let (origin, host) = (self.asked.header(ORIGIN), self.asked.header(HOST));
        let allowed = &self.asked.entrance.config.origins.allowed;
        let may = origin.is_none() || origins::may_use_cookies(allowed, origin, host);
        may.then(|| cookie(NAME, token, max_age_s, is_other_site(origin, host), self.is_https()))
    }

    /// What makes the browser forget it, under both names.
    pub(super) fn no_cookies(&self) -> Vec<String> {
        let is_other_site = is_other_site(self.asked.header(ORIGIN), self.asked.header(HOST));
        let mut cookies = vec![cookie(NAME, "", Some(0), is_other_site, self.is_https())];
        if self.is_https() {
            cookies.push(cookie(SECURE_NAME, "", Some(0), is_other_site, true));
        }
        cookies
    }

    /// Whether the client has come by TLS, here or at a trusted proxy.
    fn is_https(&self) -> bool {
        let by_proxy = || origins::is_https(self.asked.header("x-forwarded-proto"));
        self.asked.entrance.config.tls.certificate.is_some() || (self.asked.proxied && by_proxy())
    }
}

fn cookie(name: &str, token: &str, max_age_s: Option<u64>, is_other_site: bool, is_https: bool) -> String {
    let site = match (is_other_site, is_https) {
        // Browsers send such a cookie over TLS only.
        (true, _) => "SameSite=None; Secure",
        (false, true) => "SameSite=Lax; Secure",
        (false, false) => "SameSite=Lax",
    };
    let max_age = max_age_s.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    format!("{name}={token}; HttpOnly; Path=/; {site}{max_age}")
}

/// Whether a page comes from another host, whose requests are of another site for a browser. Ports make no difference to that.
fn is_other_site(origin: Option<&str>, host: Option<&str>) -> bool {
    let own = origin.and_then(|origin| origin.split_once("://")).map(|(_, authority)| name_of(authority));
    own.is_some_and(|own| !host.is_some_and(|host| name_of(host).eq_ignore_ascii_case(own)))
}

/// A host without its port.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        let cases = [
            (None, Some(60), false, "n=t; HttpOnly; Path=/; SameSite=Lax; Max-Age=60"),
            (None, None, true, "n=t; HttpOnly; Path=/; SameSite=Lax; Secure"),
            (Some("http://h:1"), None, false, "n=t; HttpOnly; Path=/; SameSite=Lax"),
            (Some("http://H"), None, false, "n=t; HttpOnly; Path=/; SameSite=Lax"),
            (Some("https://other"), Some(60), false, "n=t; HttpOnly; Path=/; SameSite=None; Secure; Max-Age=60"),
            (Some("https://h.other"), None, true, "n=t; HttpOnly; Path=/; SameSite=None; Secure"),
        ];
        for (origin, max_age_s, is_https, expected) in cases {
            let other = is_other_site(origin, Some("h:1234"));
            assert_eq!(cookie("n", "t", max_age_s, other, is_https), expected, "{origin:?}");
        }
        for (authority, name) in [("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("h", "h"), ("h:1", "h")] {
            assert_eq!(name_of(authority), name);
        }
    }
}
