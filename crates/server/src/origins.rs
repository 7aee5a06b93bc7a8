//! Which pages may connect: the header `Origin` against `origins.allowed`. A page cannot choose what its browser sends there; other programs can, so an
//! origin keeps strangers' pages out, and proves nothing about who asks.
//!
//! Entries: `*` (all), an origin as browsers send it, one with `*.` before its host (every subdomain, at any depth, but not the host itself), and
//! `null`, which is what sandboxed frames and local files send.

/// Whether a request with this `Origin` may be answered. Programs that are not browsers send none.
pub fn may_connect(allowed: &[String], origin: Option<&str>) -> bool {
    origin.is_none_or(|origin| allowed.iter().any(|entry| entry == "*" || fits(entry, origin)))
}

/// Whether cookies that came with it count. `*` is not enough: it says that any page may connect, not that any page may act as the user.
pub fn may_use_cookies(allowed: &[String], origin: Option<&str>, host: Option<&str>) -> bool {
    let Some(origin) = origin.filter(|origin| !origin.eq_ignore_ascii_case("null")) else { return false };
    is_same_host(origin, host) || is_listed(allowed, origin)
}

/// Whether cookies of this server are for a page of another site.
pub(crate) fn is_another_site(allowed: &[String], origin: Option<&str>, host: Option<&str>) -> bool {
    origin.is_some_and(|origin| !is_same_host(origin, host) && is_listed(allowed, origin))
}

/// Whether a page is of the host that it asks.
pub(crate) fn is_same_host(origin: &str, host: Option<&str>) -> bool {
    let own = origin.split_once("://").map(|(_, authority)| authority);
    own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
}

/// Whether a proxy says that the client has come by TLS: the last of those that say something is the nearest.
pub(crate) fn is_https(forwarded_proto: Option<&str>) -> bool {
    let nearest = forwarded_proto.and_then(|list| list.rsplit(',').next());
    nearest.is_some_and(|proto| ["https", "wss"].contains(&proto.trim().to_ascii_lowercase().as_str()))
}

fn is_listed(allowed: &[String], origin: &str) -> bool {
    allowed.iter().any(|entry| entry != "*" && fits(entry, origin))
}

/// The headers that let a page read a response (CORS), each with its line end.
pub(crate) fn cors_headers(allowed: &[String], origin: Option<&str>) -> String {
    match origin {
        Some(origin) if is_listed(allowed, origin) => {
            format!(
                "access-control-allow-origin: {origin}\r\naccess-control-allow-credentials: true\r\nvary: origin\r\n"
            )
        }
        Some(origin) if may_connect(allowed, Some(origin)) => "access-control-allow-origin: *\r\n".to_owned(),
        _ => String::new(),
    }
}

/// The same where pages act as their users: never `*`, but the page's own origin if it may connect.
pub(crate) fn cors_headers_by_name(allowed: &[String], origin: Option<&str>) -> String {
    match origin.filter(|origin| may_connect(allowed, Some(origin))) {
        Some(origin) if !allowed.iter().any(|entry| entry != "*" && fits(entry, origin)) => {
            format!("access-control-allow-origin: {origin}\r\nvary: origin\r\n")
        }
        _ => cors_headers(allowed, origin),
    }
}

/// What a page's browser is told before it asks for anything that is not simple.
pub(crate) fn preflight_response() -> Vec<u8> {
    format!("HTTP/1.1 204 No Content\r\n{PREFLIGHT_HEADERS}connection: close\r\n\r\n").into_bytes()
}

/// The headers of that answer, each with its line end.
pub(crate) const PREFLIGHT_HEADERS: &str = "access-control-allow-methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n\
     access-control-allow-headers: authorization, content-type, x-nano-key\r\naccess-control-max-age: 600\r\n";

/// Whether an entry names this origin: scheme, host and port, all of them.
fn fits(entry: &str, origin: &str) -> bool {
    let Some((scheme, host)) = entry.split_once("://*.") else { return entry.eq_ignore_ascii_case(origin) };
    let Some((own_scheme, own_host)) = origin.split_once("://") else { return false };
    // `get`: where the cut would be inside of a character, it is no host of a browser.
    let cut = own_host.len().checked_sub(host.len() + 1).filter(|cut| *cut > 0);
    let Some((sub, rest)) = cut.and_then(|cut| Some((own_host.get(..cut)?, own_host.get(cut..)?))) else {
        return false;
    };
    own_scheme.eq_ignore_ascii_case(scheme)
        && rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(host))
        && sub.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let lists: [Vec<String>; 3] =
            [&["*"][..], &["https://app.example", "https://*.docs.example:8443"], &["null", "https://app.example"]]
                .map(|list| list.iter().map(|&entry| entry.to_owned()).collect());
        // Origin; whether it may connect and use cookies by each list, at the host api.example.
        let cases: &[(Option<&str>, [bool; 3], [bool; 3])] = &[
            (None, [true, true, true], [false, false, false]),
            (Some("https://app.example"), [true, true, true], [false, true, true]),
            (Some("https://App.Example"), [true, true, true], [false, true, true]),
            (Some("http://app.example"), [true, false, false], [false, false, false]),
            (Some("https://app.example:444"), [true, false, false], [false, false, false]),
            (Some("https://app.example.evil.example"), [true, false, false], [false, false, false]),
            (Some("https://evilapp.example"), [true, false, false], [false, false, false]),
            (Some("https://a.docs.example:8443"), [true, true, false], [false, true, false]),
            (Some("https://a.b.docs.example:8443"), [true, true, false], [false, true, false]),
            (Some("https://docs.example:8443"), [true, false, false], [false, false, false]),
            (Some("https://.docs.example:8443"), [true, false, false], [false, false, false]),
            (Some("https://evildocs.example:8443"), [true, false, false], [false, false, false]),
            (Some("https://a.docs.example"), [true, false, false], [false, false, false]),
            (Some("https://x@a.docs.example:8443"), [true, false, false], [false, false, false]),
            (Some("https://evil.example/.docs.example:8443"), [true, false, false], [false, false, false]),
            (Some("null"), [true, false, true], [false, false, false]),
            (Some(""), [true, false, false], [false, false, false]),
            (Some("https://api.example"), [true, false, false], [true, true, true]),
            (Some("https://api.example:1"), [true, false, false], [false, false, false]),
            (Some("https://äapi.docs.example:8443"), [true, false, false], [false, false, false]),
        ];
        for (origin, connect, cookies) in cases {
            assert_eq!(lists.each_ref().map(|list| may_connect(list, *origin)), *connect, "{origin:?}");
            let host = Some("api.example");
            assert_eq!(lists.each_ref().map(|list| may_use_cookies(list, *origin, host)), *cookies, "{origin:?}");
        }
        assert!(!may_use_cookies(&lists[0], Some("https://api.example"), None));
        // Who is listed by name may have answers with cookies; others are told so by their name, or not at all.
        for (list, origin, lines) in [
            (&lists[0], Some("https://app.example"), 2),
            (&lists[1], Some("https://app.example"), 3),
            (&lists[1], Some("https://a.docs.example:8443"), 3),
            (&lists[1], Some("https://evil.example"), 0),
            (&lists[0], None, 0),
        ] {
            let headers = cors_headers_by_name(list, origin);
            assert_eq!(headers.lines().count(), lines, "{headers}");
            assert!(!headers.contains('*') && headers.contains("credentials") == (lines == 3), "{headers}");
            assert!(
                lines == 0 || headers.contains(&format!("origin: {}\r\n", origin.unwrap_or_default())),
                "{headers}"
            );
        }
    }
}
