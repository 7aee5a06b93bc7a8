//! Tokens of documents: their form, what they say, and that nothing but them is accepted.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use identity::document_token::DOCUMENT_TOKEN_BYTES_MAX;
use identity::{Credential, DocumentKey, DocumentToken, DocumentTokenError, Permission, is_same_secret};
use std::sync::Arc;

const NOW_MS: u64 = 1_700_000_000_123;
const SECRET: &[u8] = b"a signing key of the tests, which is long enough";

fn key() -> DocumentKey {
    DocumentKey::new(SECRET)
}

fn token(document: &str, user: Option<&str>) -> DocumentToken {
    DocumentToken {
        document: document.to_owned(),
        permission: Permission::Write,
        user: user.map(Arc::from),
        issued_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + 3_600_000,
    }
}

#[test]
fn a_token_is_these_bytes() {
    // EXPECTED was made with another implementation of HMAC and base64.
    let structure =
        [&[1, 1][..], &NOW_MS.to_le_bytes(), &(NOW_MS + 3_600_000).to_le_bytes(), &[3], b"abc", b"u1"].concat();
    let text = key().issue(&token("abc", Some("u1"))).expect("legal");
    let (id, part) = text.split_once('.').expect("a dot");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
    assert_eq!((id, id.len()), (key().id(), 8));
    assert_eq!(bytes[..structure.len()], structure);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), &structure);
    assert_eq!(bytes[structure.len()..], *tag.as_ref());
    assert_eq!(text, EXPECTED);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "legal in a URL: {text}");
}

const EXPECTED: &str = "Hmj6KSPY.AQF7aOXPiwEAAPtWHNCLAQAAA2FiY3UxDEAl4S02RJEUktfuHwdU_TIvTigpTGKmu3zVFG7P5eE";

#[test]
fn what_is_issued_is_verified() {
    let long = "d".repeat(128);
    let user = "ä".repeat(128);
    for document in ["a", "abc", &long] {
        for user in [None, Some("u"), Some(&*user)] {
            for permission in [Permission::Read, Permission::Write] {
                let token = DocumentToken { permission, ..token(document, user) };
                let text = key().issue(&token).expect("legal");
                assert!(text.len() <= DOCUMENT_TOKEN_BYTES_MAX, "{} bytes", text.len());
                assert_eq!(key().verify(&text, document, NOW_MS), Ok(token.clone()), "{text}");
                let identity = token.identity("kind/room");
                assert_eq!(identity.permission("kind/room"), Some(permission));
                assert_eq!(identity.permission(document), Some(Permission::None), "nowhere else");
                assert_eq!(&*identity.user, user.unwrap_or("anonymous"));
                assert_eq!(identity.credential, Credential::Document { is_named: user.is_some() });
                assert_eq!(identity.is_one_user(), user.is_some());
                assert_eq!((identity.firm, identity.issued_at_s), (None, Some(NOW_MS / 1_000)));
            }
        }
    }
}

#[test]
fn what_a_token_cannot_say_is_not_issued() {
    let (long, long_user) = ("d".repeat(129), "u".repeat(257));
    let cases = [
        token("", None),
        token(&long, None),
        token("a", Some("")),
        token("a", Some("line\nbreak")),
        token("a", Some(&long_user)),
        DocumentToken { permission: Permission::None, ..token("a", None) },
    ];
    for case in cases {
        assert_eq!(key().issue(&case), Err(DocumentTokenError::Format), "{case:?}");
    }
}

#[test]
fn each_refusal_has_its_text() {
    let good = key().issue(&token("abc", None)).expect("legal");
    let (id, part) = good.split_once('.').expect("a dot");
    let other = DocumentKey::new(b"another key of the tests, which is long enough").issue(&token("abc", None));
    let other = other.expect("legal");
    let other_part = other.split_once('.').expect("a dot").1;
    let expires_ms = NOW_MS + 3_600_000;
    let too_long = format!("{id}.{}", "A".repeat(DOCUMENT_TOKEN_BYTES_MAX));
    let format = "The token is not a valid format";
    let signature = "The token signature is invalid";
    let expired = "The token is expired";
    let resource = "The token is not valid for the requested resource";
    let cases: &[(&str, &str, u64, Option<&str>)] = &[
        (&good, "abc", NOW_MS, None),
        (&good, "abc", expires_ms, None),
        (&good, "abc", expires_ms + 1, Some(expired)),
        (&good, "abc", u64::MAX, Some(expired)),
        (&good, "abd", NOW_MS, Some(resource)),
        (&good, "", NOW_MS, Some(resource)),
        (&good, "abcd", NOW_MS, Some(resource)),
        (&other, "abc", NOW_MS, Some(signature)),
        (&format!("{id}.{other_part}"), "abc", NOW_MS, Some(signature)),
        (&format!("x.{part}"), "abc", NOW_MS, Some(signature)),
        (&format!(".{part}"), "abc", NOW_MS, Some(signature)),
        (part, "abc", NOW_MS, Some(format)),
        ("", "abc", NOW_MS, Some(format)),
        (".", "abc", NOW_MS, Some(format)),
        ("garbage", "abc", NOW_MS, Some(format)),
        ("ä.ö", "abc", NOW_MS, Some(format)),
        (&format!("{good}="), "abc", NOW_MS, Some(format)),
        (&format!("{good} "), "abc", NOW_MS, Some(format)),
        (&format!("{good}.{part}"), "abc", NOW_MS, Some(format)),
        (&too_long, "abc", NOW_MS, Some(format)),
    ];
    for (text, document, now_ms, expected) in cases {
        let refused = key().verify(text, document, *now_ms).err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), *expected, "{text} for {document:?} at {now_ms}");
    }
}

/// A structure that this key has signed, and that no token has.
#[test]
fn a_signature_alone_is_not_enough() {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let whole = |structure: &[u8]| {
        let signed = [structure, hmac::sign(&mac, structure).as_ref()].concat();
        format!("{}.{}", key().id(), BASE64_URL_SAFE_NO_PAD.encode(signed))
    };
    let head = |version, permission, length: u8| {
        [&[version, permission][..], &NOW_MS.to_le_bytes(), &u64::MAX.to_le_bytes(), &[length]].concat()
    };
    assert!(key().verify(&whole(&[head(1, 1, 1), b"a".to_vec()].concat()), "a", NOW_MS).is_ok());
    for wrong in [
        Vec::new(),
        head(1, 1, 0),
        head(1, 1, 2),
        [head(0, 1, 1), b"a".to_vec()].concat(),
        [head(2, 1, 1), b"a".to_vec()].concat(),
        [head(1, 2, 1), b"a".to_vec()].concat(),
        [head(1, 1, 1), b"\xff".to_vec()].concat(),
        [head(1, 1, 1), b"a\xff".to_vec()].concat(),
        [head(1, 1, 1), b"a\n".to_vec()].concat(),
        [head(1, 1, 1), b"a".to_vec(), vec![b'u'; 257]].concat(),
        [head(1, 1, 129), vec![b'a'; 129]].concat(),
    ] {
        assert_eq!(key().verify(&whole(&wrong), "a", NOW_MS), Err(DocumentTokenError::Format), "{wrong:?}");
    }
}

fn refused(text: &str, original: &str, what: &str) {
    if text != original {
        let result = key().verify(text, "abc", NOW_MS);
        let forged = matches!(result, Ok(_) | Err(DocumentTokenError::Expired | DocumentTokenError::Resource));
        assert!(!forged, "{what}: {text} got past the signature");
    }
}

#[test]
fn no_bit_of_a_token_can_be_flipped_and_no_part_is_one() {
    let good = key().issue(&token("abc", Some("u1"))).expect("legal");
    for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] ^= 1 << bit;
        // With the highest bit it is no text any more, and never gets this far.
        if let Ok(text) = String::from_utf8(bytes) {
            refused(&text, &good, &format!("bit {bit} of byte {at}"));
        }
    }
    for end in 0..good.len() {
        refused(&good[..end], &good, "cut");
        refused(&good[end + 1..], &good, "beheaded");
        refused(&format!("{}{}", &good[..end], &good[end + 1..]), &good, "a letter left out");
    }
}

#[test]
fn random_changes_are_never_accepted() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let good = key().issue(&token("abc", Some("u1"))).expect("legal");
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n";
    for round in 0..5_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..random.usize(1..=4) {
            let (at, letter) = (random.usize(0..bytes.len()), LETTERS[random.usize(0..LETTERS.len())]);
            match random.u8(0..6) {
                _ if bytes.len() < 8 => bytes.extend_from_slice(good.as_bytes()),
                0 => bytes[at] = letter,
                1 => _ = bytes.remove(at),
                2 => bytes.insert(at, letter),
                3 => _ = bytes.drain(at..(at + random.usize(1..40)).min(bytes.len())),
                4 => bytes.rotate_left(at),
                _ => bytes.swap(at, 9),
            }
        }
        let text = String::from_utf8(bytes).expect("ASCII");
        refused(&text, &good, &format!("SEED={seed} round {round}"));
    }
}

#[test]
fn secrets_are_the_same_or_not() {
    for (shown, secret, same) in [
        ("a backend's secret", "a backend's secret", true),
        ("a backend's secreT", "a backend's secret", false),
        ("a backend's secret ", "a backend's secret", false),
        ("", "a backend's secret", false),
        ("a backend's secret", "", false),
    ] {
        assert_eq!(is_same_secret(shown, secret), same, "{shown:?}");
    }
}

#[test]
fn keys_are_told_apart_and_not_shown() {
    assert_ne!(key().id(), DocumentKey::new(b"another").id());
    assert!(!format!("{:?}", key()).contains("signing key"), "{:?}", key());
}
