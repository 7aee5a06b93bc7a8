//! What a person is told about a token, word for word.

use crate::issuer::{CLAIMS, NOW_S, b64, header, hs256, keys};
use identity::{Algorithm, Rules, inspect};

fn check(name: &str, token: &str, with_keys: bool, expected: &str) {
    let keys = keys(Algorithm::HS256);
    let text = inspect(token, with_keys.then_some(&keys), &Rules::default(), NOW_S);
    assert_eq!(text, expected, "{name}");
    let signature = token.rsplit('.').next().filter(|part| part.len() > 20);
    assert!(signature.is_none_or(|signature| !text.contains(signature)), "{name}: {text}");
}

#[test]
fn good_tokens() {
    let claims = r#"{"userId":"u1","name":"Ann","exp":1800000720,"iat":1799989200,"nbf":1800000000,"aud":["a","b"],"jti":"7",
        "rooms":[{"name":"team/*","permission":"write"}],"extra":{"a":[1,null,"\u007f\u202e\u0085\n'"]}}"#;
    let said = r#"header
  alg: "HS256"   (how it says that it is signed; the key decides how it is checked)
  kid: "2026-01"   (which key signed it)
claims
  aud: ["a","b"]   (whom it is for)
  exp: 1800000720   (expires 2027-01-15T08:12:00Z, in 12 min)
  extra: {"a":[1,null,"\u{7f}\u{202e}\u{85}\n'"]}
  iat: 1799989200   (issued 2027-01-15T05:00:00Z, 3 h ago)
  jti: "7"   (its own id; not looked at)
  name: "Ann"   (what to show)
  nbf: 1800000000   (not valid before 2027-01-15T08:00:00Z, this second)
  rooms: [{"name":"team/*","permission":"write"}]   (what it allows in which rooms)
  userId: "u1"   (the user's id)
signature
  43 characters, not shown
verdict
"#;
    let token = hs256(r#"{"alg":"HS256","kid":"2026-01"}"#, claims);
    let accepted = "  accepted: user \"u1\", rooms: \"team/*:write\"\n";
    check("with keys", &token, true, &format!("{said}{accepted}"));
    let unchecked =
        "  signature not checked, no keys were given; the rest is in order: user \"u1\", rooms: \"team/*:write\"\n";
    check("without keys", &token, false, &format!("{said}{unchecked}"));
}

#[test]
fn refused_and_broken_tokens() {
    let head = "header\n  alg: \"HS256\"   (how it says that it is signed; the key decides how it is checked)\n  typ: \"JWT\"   (what it is)\n";
    let good = hs256(&header(Algorithm::HS256), CLAIMS);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{message}.{}", b64([7; 32]));
    let claims =
        "claims\n  exp: 1800000600   (expires 2027-01-15T08:10:00Z, in 10 min)\n  userId: \"u1\"   (the user's id)\n";
    let expired =
        hs256(&header(Algorithm::HS256), r#"{"sub":"a\u001b[2J\nverdict","exp":1799996400,"x\ny":"<\u202e>"}"#);
    let broken = format!("{}.%%%.{signature}", b64(r#"{"alg":"none"}"#));
    let cases = [
        (
            "forged",
            forged,
            format!(
                "{head}{claims}signature\n  43 characters, not shown\nverdict\n  refused (bad-signature): the token's signature is wrong: it was made with another key, or the token was changed\n"
            ),
        ),
        (
            "expired, and full of tricks",
            expired,
            format!(
                "{head}claims\n  exp: 1799996400   (expires 2027-01-15T07:00:00Z, 60 min ago)\n  sub: \"a\\u{{1b}}[2J\\nverdict\"   (the user's id)\n  \"x\\ny\": \"<\\u{{202e}}>\"\nsignature\n  43 characters, not shown\nverdict\n  refused (token-expired): the token expired at 2027-01-15T07:00:00Z\n"
            ),
        ),
        (
            "broken",
            broken,
            "header\n  alg: \"none\"   (how it says that it is signed; the key decides how it is checked)\nclaims\n  not readable: the token's claims part is not base64url without padding\nsignature\n  43 characters, not shown\nverdict\n  refused (unsigned): the token is not signed: its algorithm is \"none\"\n"
                .to_owned(),
        ),
        (
            "not a token",
            "hello".to_owned(),
            "not readable: a signed token has 3 parts separated by dots, this has 1\nverdict\n  refused (wrong-part-count): a signed token has 3 parts separated by dots, this has 1\n"
                .to_owned(),
        ),
        (
            "an API key",
            "concord_abcdefghijkl_secret".to_owned(),
            "this is an API key, not a token: it says nothing by itself; look its id up in the list of keys\n".to_owned(),
        ),
    ];
    for (name, token, expected) in cases {
        check(name, &token, true, &expected);
    }
    let without = inspect(&hs256(&header(Algorithm::HS256), "{}"), None, &Rules::default(), NOW_S);
    assert!(
        without
            .ends_with("refused with any key (no-expiry): the token has no exp claim; it must say when it expires\n")
    );
}
