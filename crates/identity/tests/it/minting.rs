//! Tokens that we make ourselves: `verify` accepts them, and so does another implementation.

use crate::issuer::{NOW_S, SECRET, keys};
use identity::{
    Algorithm, ClaimNames, Grant, Key, KeySet, Minted, Permission, RoomPattern, Rules, SigningKey, mint, verify,
};

fn minted() -> Minted {
    Minted { user: "u1".to_owned(), ttl_s: 600, ..Minted::default() }
}

fn full() -> Minted {
    Minted {
        user: "Zoë".to_owned(),
        name: Some("Zoë Z.".to_owned()),
        firm: Some("f1".to_owned()),
        grants: Some(vec![Grant::parse("team/*:write").unwrap(), Grant::parse("a:b:read").unwrap()]),
        ttl_s: 3_600,
        audience: Some("concord".to_owned()),
        issuer: Some("concord token".to_owned()),
        kid: Some("k1".to_owned()),
    }
}

#[test]
fn what_is_minted_verifies() {
    let rules = Rules {
        audience: Some(vec!["concord".to_owned()]),
        issuer: Some(vec!["concord token".to_owned()]),
        ..Rules::default()
    };
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let key = SigningKey::secret(algorithm, SECRET).unwrap();
        let identity = verify(
            &mint(&key, &minted(), &ClaimNames::default(), NOW_S).unwrap(),
            &keys(algorithm),
            &Rules::default(),
            NOW_S,
        )
        .unwrap();
        assert_eq!((&*identity.user, identity.name, identity.firm, identity.grants), ("u1", None, None, None));
        assert_eq!((identity.issued_at_s, identity.expires_at_s), (Some(NOW_S), Some(NOW_S + 600)));

        let named = KeySet::new(vec![Key::secret(algorithm, SECRET).unwrap().with_id("k1").unwrap()]).unwrap();
        let identity =
            verify(&mint(&key, &full(), &ClaimNames::default(), NOW_S).unwrap(), &named, &rules, NOW_S).unwrap();
        assert_eq!((&*identity.user, identity.name, identity.firm), ("Zoë", full().name, full().firm));
        assert_eq!(identity.grants, full().grants);
    }
}

/// What jsonwebtoken, with its own rules, reads in it.
#[test]
fn another_implementation_accepts_what_is_minted() {
    let key = SigningKey::secret(Algorithm::HS256, SECRET).unwrap();
    let token = mint(&key, &full(), &ClaimNames::default(), NOW_S).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_audience(&["concord"]);
    validation.set_issuer(&["concord token"]);
    validation.validate_exp = false;
    let secret = jsonwebtoken::DecodingKey::from_secret(SECRET);
    let read = jsonwebtoken::decode::<serde_json::Value>(&token, &secret, &validation).unwrap();
    assert_eq!(read.header.kid.as_deref(), Some("k1"));
    let rooms = r#"[{"name":"team/*","permission":"write"},{"name":"a:b","permission":"read"}]"#;
    assert_eq!(read.claims["rooms"].to_string(), rooms);
    assert_eq!(read.claims["exp"], NOW_S + 3_600);
}

#[test]
fn what_could_not_verify_is_not_minted() {
    let key = SigningKey::secret(Algorithm::HS256, SECRET).unwrap();
    let none = Grant { pattern: RoomPattern::all(), permission: Permission::None };
    let cases = [
        (Minted { user: String::new(), ..minted() }, "the user \"\" is empty; give 1 to 256 bytes"),
        (Minted { user: "a\nb".to_owned(), ..minted() }, r#"the user "a\nb" has control characters"#),
        (Minted { user: "x".repeat(257), ..minted() }, "is longer than 256 bytes"),
        (Minted { firm: Some(String::new()), ..minted() }, "the firm \"\" is empty"),
        (Minted { name: Some("\t".to_owned()), ..minted() }, r#"the name "\t" has control characters"#),
        (Minted { kid: Some(String::new()), ..minted() }, "the key id \"\" is empty"),
        (Minted { ttl_s: 0, ..minted() }, "a token cannot live for 0 s; give a time such as 15m"),
        (Minted { ttl_s: u64::MAX, ..minted() }, "a token cannot live for 18446744073709551615 s"),
        (Minted { ttl_s: 253_402_300_800 - NOW_S, ..minted() }, "a token cannot live for"),
        (Minted { grants: Some(vec![none]), ..minted() }, "the grant *:none allows nothing"),
    ];
    for (token, expected) in cases {
        let error = mint(&key, &token, &ClaimNames::default(), NOW_S).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?}, expected {expected:?}");
    }
}
