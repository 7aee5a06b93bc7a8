//! What signed claims must say. Everything here has a good signature.

use crate::issuer::{CLAIMS, NOW_S, check, header, hs256, keys};
use identity::{Algorithm, ClaimNames, Credential, Permission, Rules, TokenError, verify};

fn check_claims(name: &str, claims: &str, rules: &Rules, expected: &str) {
    check(name, &hs256(&header(Algorithm::HS256), claims), &keys(Algorithm::HS256), rules, expected);
}

/// With `userId` and `exp` besides.
fn with(claims: &str) -> String {
    format!(r#"{{"userId":"u1","exp":1800000600,{claims}}}"#)
}

#[test]
fn times() {
    // now is 1800000000, the leeway 30 s
    let cases = [
        (r#""exp":1800000600"#, "ok u1"),
        (r#""exp":1800000000"#, "ok u1"),
        (r#""exp":1799999971"#, "ok u1"),
        (r#""exp":1799999970"#, "token-expired"),
        (r#""exp":1799999970.001"#, "ok u1"),
        (r#""exp":1799999969.999"#, "token-expired"),
        (r#""exp":1.8000006e9"#, "ok u1"),
        (r#""exp":253402300799"#, "ok u1"),
        (r#""exp":0"#, "token-expired"),
        (r#""exp":-0"#, "token-expired"),
        (r#""exp":-1"#, "bad-time"),
        (r#""exp":-1e300"#, "bad-time"),
        (r#""exp":1800000600000"#, "bad-time"),
        (r#""exp":253402300800"#, "bad-time"),
        (r#""exp":9223372036854775808"#, "bad-time"),
        (r#""exp":18446744073709551616"#, "bad-time"),
        (r#""exp":1e308"#, "bad-time"),
        (r#""exp":1e400"#, "not-json"),
        (r#""exp":-1e400"#, "not-json"),
        (r#""exp":NaN"#, "not-json"),
        (r#""exp":Infinity"#, "not-json"),
        (r#""exp":"1800000600""#, "bad-time"),
        (r#""exp":"never""#, "bad-time"),
        (r#""exp":null"#, "bad-time"),
        (r#""exp":true"#, "bad-time"),
        (r#""exp":[1800000600]"#, "bad-time"),
        (r#""exp":{"$gt":0}"#, "bad-time"),
        (r#""Exp":1800000600"#, "no-expiry"),
        (r#""exp":1800000600,"exp":1900000000"#, "duplicate-name"),
        (r#""exp":1,"\u0065xp":1900000000"#, "duplicate-name"),
        (r#""exp":1800000600,"nbf":1800000030"#, "ok u1"),
        (r#""exp":1800000600,"nbf":1800000030.5"#, "not-yet-valid"),
        (r#""exp":1800000600,"nbf":1800000031"#, "not-yet-valid"),
        (r#""exp":1800000600,"nbf":"1""#, "bad-time"),
        (r#""exp":1800000600,"nbf":null"#, "bad-time"),
        (r#""exp":1800000600,"iat":1800000030"#, "ok u1"),
        (r#""exp":1800000600,"iat":1800000031"#, "issued-in-future"),
        (r#""exp":1800000600,"iat":-5"#, "bad-time"),
        (r#""exp":1800000600,"iat":"now""#, "bad-time"),
        (r#""exp":1800000600,"iat":1800000000000"#, "bad-time"),
    ];
    for (times, expected) in cases {
        check_claims(times, &format!(r#"{{"userId":"u1",{times}}}"#), &Rules::default(), expected);
    }
    let strict = Rules { leeway_s: 0, ..Rules::default() };
    check_claims("last second", r#"{"userId":"u1","exp":1800000001}"#, &strict, "ok u1");
    check_claims("at it, not before it", r#"{"userId":"u1","exp":1800000000}"#, &strict, "token-expired");
    check_claims("from it on", r#"{"userId":"u1","exp":1800000001,"nbf":1800000000}"#, &strict, "ok u1");
    let endless = Rules { leeway_s: u64::MAX, ..Rules::default() };
    check_claims("leeway without end", r#"{"userId":"u1","exp":1}"#, &endless, "ok u1");
    let token = hs256(&header(Algorithm::HS256), CLAIMS);
    let late = verify(&token, &keys(Algorithm::HS256), &Rules::default(), u64::MAX);
    assert_eq!(late, Err(TokenError::Expired { at_s: NOW_S + 600 }));
    assert_eq!(late.unwrap_err().to_string(), "the token expired at 2027-01-15T08:10:00Z");
}

#[test]
fn audiences_and_issuers() {
    let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let audience = Rules { audience: list(&["concord", "wiki"]), ..Rules::default() };
    let issuer = Rules { issuer: list(&["https://login.example"]), ..Rules::default() };
    let nobody = Rules { audience: Some(Vec::new()), ..Rules::default() };
    let (any, cases) = (
        Rules::default(),
        [
            (r#""aud":"concord""#, &audience, "ok u1"),
            (r#""aud":["x","wiki"]"#, &audience, "ok u1"),
            (r#""aud":"x""#, &audience, "wrong-audience"),
            (r#""aud":"Concord""#, &audience, "wrong-audience"),
            (r#""aud":"concord.evil.example""#, &audience, "wrong-audience"),
            (r#""aud":"concord wiki""#, &audience, "wrong-audience"),
            (r#""aud":["x","y"]"#, &audience, "wrong-audience"),
            (r#""aud":[]"#, &audience, "wrong-audience"),
            (r#""aud":"""#, &audience, "wrong-audience"),
            (r#""aud":["concord",1]"#, &audience, "bad-claim"),
            (r#""aud":[["concord"]]"#, &audience, "bad-claim"),
            (r#""aud":null"#, &audience, "bad-claim"),
            (r#""aud":{"concord":true}"#, &audience, "bad-claim"),
            (r#""x":1"#, &audience, "no-audience"),
            (r#""aud":"concord""#, &nobody, "wrong-audience"),
            (r#""iss":"https://login.example""#, &issuer, "ok u1"),
            (r#""iss":"https://login.example/""#, &issuer, "wrong-issuer"),
            (r#""iss":"https://login.example.evil""#, &issuer, "wrong-issuer"),
            (r#""iss":"a\nb""#, &issuer, "wrong-issuer"),
            (r#""iss":["https://login.example"]"#, &issuer, "bad-claim"),
            (r#""iss":null"#, &issuer, "bad-claim"),
            (r#""x":1"#, &issuer, "no-issuer"),
        ],
    );
    for (claims, rules, expected) in cases {
        check_claims(claims, &with(claims), rules, expected);
    }
    check_claims("whatever they are", &with(r#""aud":"x","iss":"y""#), &any, "ok u1");
}

#[test]
fn users() {
    let long = |bytes: usize| format!(r#""userId":"{}""#, "x".repeat(bytes));
    let (longest, too_long) = (long(256), long(257));
    let ok_longest = format!("ok {}", "x".repeat(256));
    let wide = format!(r#""userId":"{}""#, "ä".repeat(129));
    let cases = [
        (r#""userId":"u1""#, "ok u1"),
        (r#""sub":"s1""#, "ok s1"),
        (r#""sub":"s1","userId":"u1""#, "ok u1"),
        (r#""user_id":"w1""#, "ok w1"),
        (r#""sub":"s1","user_id":"w1""#, "ok w1"),
        (r#""user_id":"w1","userId":"u1""#, "ok u1"),
        (r#""userId":"Zoë 漢字 👩‍👩‍👧""#, "ok Zoë 漢字 👩‍👩‍👧"),
        (r#""userId":"\u00e9""#, "ok é"),
        (r#""userId":"auth0|62a:x/y@z""#, "ok auth0|62a:x/y@z"),
        (r#""userId":"u1","__proto__":{"userId":"root"},"constructor":1"#, "ok u1"),
        (longest.as_str(), ok_longest.as_str()),
        (too_long.as_str(), "bad-claim"),
        (wide.as_str(), "bad-claim"),
        (r#""userId":"""#, "bad-claim"),
        (r#""userId":"","sub":"s1""#, "bad-claim"),
        (r#""userId":null,"sub":"s1""#, "bad-claim"),
        (r#""userId":7"#, "bad-claim"),
        (r#""userId":["u1"]"#, "bad-claim"),
        (r#""userId":{"id":"u1"}"#, "bad-claim"),
        (r#""userId":"u\n1""#, "bad-claim"),
        (r#""userId":"u1\u0000""#, "bad-claim"),
        (r#""userId":"\u001b[2J""#, "bad-claim"),
        (r#""userId":"u\u0085""#, "bad-claim"),
        (r#""userId":"\ud800""#, "not-json"),
        (r#""userId":"u1","userId":"root""#, "duplicate-name"),
        (r#""userid":"u1""#, "no-user"),
        (r#""name":"Ann""#, "no-user"),
        (r#""userId":"u1","firmId":"f1""#, "ok u1"),
        (r#""userId":"u1","firmId":"""#, "bad-claim"),
        (r#""userId":"u1","firmId":null"#, "bad-claim"),
        (r#""userId":"u1","firmId":7"#, "bad-claim"),
        (r#""userId":"u1","name":7,"role":["a"],"email":null"#, "ok u1"),
        (r#""userId":"u1","name":"","role":"""#, "ok u1"),
        (r#""userId":"u1","name":"a\tb""#, "bad-claim"),
    ];
    for (claims, expected) in cases {
        check_claims(claims, &format!(r#"{{"exp":1800000600,{claims}}}"#), &Rules::default(), expected);
    }
    for (claims, expected) in [("", "empty-part"), ("[]", "not-json"), ("null", "not-json"), ("{}", "no-expiry")] {
        check_claims(claims, claims, &Rules::default(), expected);
    }
    let deep = with(&format!(r#""x":{}{}"#, "[".repeat(2_000), "]".repeat(2_000)));
    check_claims("deep", &deep, &Rules::default(), "too-deep");
    let renamed = ClaimNames { user: vec!["https://x.example/id".to_owned()], ..ClaimNames::default() };
    let rules = Rules { claims: renamed, ..Rules::default() };
    check_claims("a name of its own", &with(r#""https://x.example/id":"u9""#), &rules, "ok u9");
    check_claims("and only that", &with(r#""sub":"u9""#), &rules, "no-user");
}

#[test]
fn rooms() {
    let entry = r#"{"name":"a","permission":"read"}"#;
    let many = |count: usize| format!("[{}]", vec![entry; count].join(","));
    let (most, too_many) = (many(180), many(200));
    let cases = [
        ("[]", "ok u1"),
        (r#"[{"name":"team/*","permission":"write"},{"name":"a","permission":"read"}]"#, "ok u1"),
        (most.as_str(), "ok u1"),
        (too_many.as_str(), "token-too-long"),
        ("null", "bad-claim"),
        ("{}", "bad-claim"),
        (r#""*""#, "bad-claim"),
        (r#"["team/*"]"#, "bad-claim"),
        (r#"[null]"#, "bad-claim"),
        (r#"[{"name":"a"}]"#, "bad-claim"),
        (r#"[{"permission":"read"}]"#, "bad-claim"),
        (r#"[{"name":"","permission":"read"}]"#, "bad-claim"),
        (r#"[{"name":"a*b","permission":"read"}]"#, "bad-claim"),
        (r#"[{"name":"**","permission":"read"}]"#, "bad-claim"),
        (r#"[{"name":["a"],"permission":"read"}]"#, "bad-claim"),
        (r#"[{"name":"a","permission":"Write"}]"#, "bad-claim"),
        (r#"[{"name":"a","permission":"none"}]"#, "bad-claim"),
        (r#"[{"name":"a","permission":"admin"}]"#, "bad-claim"),
        (r#"[{"name":"a","permission":null}]"#, "bad-claim"),
        (r#"[{"name":"a","permission":["write"]}]"#, "bad-claim"),
        (r#"[{"name":"a","permission":"write","until":1}]"#, "bad-claim"),
        (r#"[{"name":"a","permission":"read","permission":"write"}]"#, "duplicate-name"),
        (r#"[{"name":"a","permission":"read"},{"name":"b"}]"#, "bad-claim"),
    ];
    for (rooms, expected) in cases {
        check_claims(rooms, &with(&format!(r#""rooms":{rooms}"#)), &Rules::default(), expected);
    }
}

#[test]
fn a_name_is_the_first_that_says_something() {
    let cases = [
        (r#""name":"Ann""#, Some("Ann")),
        (r#""user_name":"Bob""#, Some("Bob")),
        (r#""user_name":"Bob","name":"Ann""#, Some("Ann")),
        (r#""user_name":"Bob","name":"""#, Some("Bob")),
        (r#""user_name":"Bob","name":7"#, Some("Bob")),
        (r#""user_name":"""#, None),
        (r#""username":"Bob""#, None),
    ];
    for (claims, expected) in cases {
        let token = hs256(&header(Algorithm::HS256), &with(claims));
        let identity = verify(&token, &keys(Algorithm::HS256), &Rules::default(), NOW_S).unwrap();
        assert_eq!(identity.name.as_deref(), expected, "{claims}");
    }
}

#[test]
fn an_identity_is_what_the_claims_say() {
    let claims = r#"{"userId":"user-123","firmId":"firm-456","role":"attorney","email":"a@firm.example","name":"Ann","iat":1799999000.2,
        "exp":1800000600.5,"rooms":[{"name":"team/*","permission":"write"},{"name":"team/1","permission":"read"}],"scope":"admin","admin":true}"#;
    let token = hs256(&header(Algorithm::HS256), claims);
    let identity = verify(&token, &keys(Algorithm::HS256), &Rules::default(), NOW_S).unwrap();
    assert_eq!((&*identity.user, identity.firm.as_deref()), ("user-123", Some("firm-456")));
    assert_eq!((identity.role.as_deref(), identity.email.as_deref()), (Some("attorney"), Some("a@firm.example")));
    assert_eq!((identity.name.as_deref(), &identity.credential), (Some("Ann"), &Credential::Token));
    assert_eq!((identity.issued_at_s, identity.expires_at_s), (Some(1_799_999_000), Some(1_800_000_601)));
    assert_eq!((identity.scopes, identity.is_admin()), (None, false));
    let rooms = [("team/1", Permission::Write), ("team/", Permission::Write), ("other", Permission::None)];
    for (room, permission) in rooms {
        assert_eq!(identity.permission(room), Some(permission), "{room}");
    }
    let silent = verify(&hs256(&header(Algorithm::HS256), CLAIMS), &keys(Algorithm::HS256), &Rules::default(), NOW_S);
    assert_eq!(silent.unwrap().permission("other"), None);
}
