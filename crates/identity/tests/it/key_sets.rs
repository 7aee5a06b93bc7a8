//! Which keys are taken, and what is said of those that are not. The PEM files in `testdata` are public keys made with openssl.

use crate::issuer::{CLAIMS, SECRET, b64, check, header, jwk, keys, public_pem, signed};
use identity::{Algorithm, Key, KeySet, Rules, SigningKey};

/// `expected` is `ok ALGORITHMS` with ids, or a part of the reason. A reason never shows a key.
fn check_set(name: &str, set: Result<KeySet, identity::KeySetError>, expected: &str) {
    let found = match set {
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(&b64(SECRET)) && text.len() < 400, "{name}: {text}");
            text
        }
        Ok(set) => {
            let key = |key: &Key| match key.id() {
                Some(id) => format!("{id}:{}", key.algorithm()),
                None => key.algorithm().to_string(),
            };
            format!("ok {}", set.keys().iter().map(key).collect::<Vec<_>>().join(" "))
        }
    };
    assert!(found.contains(expected), "{name}: {found:?}, expected {expected:?}");
}

#[test]
fn secrets_are_at_least_as_long_as_the_hash() {
    let ascii = |bytes: usize| vec![b'x'; bytes];
    let cases = [
        (Algorithm::HS256, ascii(32), "ok HS256"),
        (Algorithm::HS256, ascii(31), "the secret has 31 bytes, HS256 needs at least 32"),
        (Algorithm::HS256, ascii(0), "make one with: openssl rand -base64 48"),
        (Algorithm::HS384, ascii(48), "ok HS384"),
        (Algorithm::HS384, ascii(47), "needs at least 48"),
        (Algorithm::HS512, ascii(64), "ok HS512"),
        (Algorithm::HS512, ascii(63), "needs at least 64"),
        (Algorithm::HS512, ascii(5_000), "ok HS512"),
        (Algorithm::RS256, ascii(64), "RS256 needs an RSA public key, not a secret"),
        (Algorithm::EdDSA, ascii(64), "EdDSA needs an Ed25519 public key, not a secret"),
        (Algorithm::HS256, public_pem(Algorithm::RS256).unwrap().into_bytes(), "the secret is the text of a PEM key"),
    ];
    for (algorithm, secret, expected) in cases {
        check_set(expected, KeySet::secret(algorithm, &secret), expected);
        assert_eq!(SigningKey::secret(algorithm, &secret).is_ok(), expected.starts_with("ok"), "{expected}");
    }
}

#[test]
fn public_keys_in_pem() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256, RS384, RS512};
    let rsa = include_str!("../testdata/rsa2048.pem");
    let p256 = include_str!("../testdata/prime256v1.pem");
    let p384 = include_str!("../testdata/secp384r1.pem");
    let ed25519 = include_str!("../testdata/ed25519.pem");
    let certificate = include_str!("../testdata/certificate.pem");
    let private = |label: &str| format!("-----BEGIN {label}-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END {label}-----\n");
    let privates = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"];
    for label in privates {
        check_set(
            label,
            KeySet::pem(RS256, &private(label)),
            "this is a PRIVATE key; give the server only the public half",
        );
    }
    let (both, two) = (format!("{rsa}{}", private("PRIVATE KEY")), format!("{p256}{p384}"));
    let cut = &rsa[..200];
    let commented = format!("the key of the login server\r\n\r\n{}", ed25519.replace('\n', "\r\n"));
    let cases = [
        (RS256, rsa, "ok RS256"),
        (RS384, rsa, "ok RS384"),
        (RS512, rsa, "ok RS512"),
        (PS256, rsa, "ok PS256"),
        (RS256, include_str!("../testdata/rsa2048-pkcs1.pem"), "ok RS256"),
        (ES256, p256, "ok ES256"),
        (ES384, p384, "ok ES384"),
        (EdDSA, ed25519, "ok EdDSA"),
        (EdDSA, commented.as_str(), "ok EdDSA"),
        (RS256, include_str!("../testdata/rsa1024.pem"), "the RSA key has 1024 bits, 2048 to 8192 are allowed"),
        (RS256, p256, "this is not an RSA public key, which RS256 needs, or not a valid one"),
        (ES256, rsa, "not a public key on the curve P-256"),
        (ES256, p384, "not a public key on the curve P-256"),
        (ES384, p256, "not a public key on the curve P-384"),
        (ES256, include_str!("../testdata/prime256v1-compressed.pem"), "not a public key on the curve P-256"),
        (ES256, include_str!("../testdata/secp256k1.pem"), "not a public key on the curve P-256"),
        (ES384, include_str!("../testdata/secp521r1.pem"), "not a public key on the curve P-384"),
        (ES256, ed25519, "not a public key on the curve P-256"),
        (EdDSA, p256, "not an Ed25519 public key"),
        (EdDSA, include_str!("../testdata/ed448.pem"), "not an Ed25519 public key"),
        (EdDSA, include_str!("../testdata/x25519.pem"), "not an Ed25519 public key"),
        (HS256, rsa, "HS256 needs a secret, not a public key"),
        (RS256, certificate, "this is a certificate; take the public key out of it"),
        (RS256, both.as_str(), "this is a PRIVATE key"),
        (ES256, two.as_str(), "this is not one public key in PEM"),
        (RS256, cut, "not an RSA public key"),
        (RS256, "", "this is not one public key in PEM"),
        (RS256, "ssh-rsa AAAAB3NzaC1yc2E user@host", "this is not one public key in PEM"),
        (RS256, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", "not an RSA public key"),
    ];
    for (algorithm, text, expected) in cases {
        check_set(expected, KeySet::pem(algorithm, text), expected);
    }
}

#[test]
fn json_web_keys() {
    let es256 = jwk(Algorithm::ES256, r#""kid":"e","#);
    let rsa = |members: &str| jwk(Algorithm::RS256, members);
    let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let foreign = [
        r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}"#.to_owned(),
        r#"{"kty":"EC","crv":"P-521","x":"AAAA","y":"AAAA","kid":"e"}"#.to_owned(),
        r#"{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"X25519","x":"AAAA"}"#.to_owned(),
        rsa(r#""use":"enc","kid":"e","#),
        rsa(r#""alg":"RSA-OAEP","#),
        rsa(r#""alg":"PS512","#),
        rsa(r#""key_ops":["encrypt"],"#),
    ];
    let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
    let all_kinds = set(&[&foreign.join(","), &es256]);
    let shifted = format!(r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#, b64([1; 33]), b64([1; 31]));
    let off_curve = format!(r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#, b64([1; 32]), b64([1; 32]));
    let weak = format!(r#"{{"kty":"RSA","kid":"w","n":"{}","e":"AQAB"}}"#, b64([0xff; 128]));
    let weak_padded = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, b64([vec![0; 128], vec![0xff; 128]].concat()));
    let padded = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, b64([vec![0], vec![0xff; 256]].concat()));
    let exponent = |e: &[u8]| format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, b64([0xff; 256]), b64(e));
    let private = rsa(r#""d":"AQAB","#);
    let hundred: Vec<String> = (0..101).map(|id| jwk(Algorithm::EdDSA, &format!(r#""kid":"{id}","#))).collect();
    let hundred: Vec<&str> = hundred.iter().map(String::as_str).collect();
    let cases = [
        (es256.clone(), "ok e:ES256"),
        (jwk(Algorithm::ES384, ""), "ok ES384"),
        (jwk(Algorithm::EdDSA, ""), "ok EdDSA"),
        (rsa(""), "ok RS256"),
        (rsa(r#""alg":"PS256","use":"sig","key_ops":["verify"],"x5c":["a"],"#), "ok PS256"),
        (jwk(Algorithm::HS256, ""), "ok HS256"),
        (jwk(Algorithm::HS256, r#""alg":"HS512","key_ops":["sign"],"#), "ok HS512"),
        (set(&[&es256, &rsa(r#""kid":"r","#)]), "ok e:ES256 r:RS256"),
        (all_kinds, "ok e:ES256"),
        (set(&hundred[..100]), "ok 0:EdDSA"),
        (set(&hundred), "there are 101 keys, at most 100"),
        (set(&[foreign[0]; 101]), "there are 101 keys, at most 100"),
        (set(&foreign), "none of the 8 keys can be used"),
        (set(&[]), "none of the 0 keys can be used"),
        (set(&[&es256, &es256]), "two keys have the id \"e\""),
        (set(&[&es256, &weak]), "key 2 of the set, \"w\": the RSA key has 1024 bits"),
        (padded, "ok RS256"),
        (weak_padded, "the RSA key has 1024 bits"),
        (exponent(&[1]), "not an RSA public key"),
        (exponent(&[2]), "not an RSA public key"),
        (exponent(&[0xff; 200]), "not an RSA public key"),
        (private, "key 1 of the set, which has no id: it is a PRIVATE key"),
        (shifted, "x and y differ in length"),
        (off_curve, "not a public key on the curve P-256"),
        (jwk(Algorithm::ES256, r#""alg":"ES384","#), "alg does not fit kty and crv"),
        (rsa(r#""alg":"HS256","#), "alg does not fit kty and crv"),
        (jwk(Algorithm::HS256, r#""alg":"RS256","#), "alg does not fit kty and crv"),
        (rsa(r#""alg":256,"#), "alg is not a string"),
        (rsa(r#""key_ops":"verify","#), "key_ops is not a list of strings"),
        (rsa(r#""kid":7,"#), "kid is not a string"),
        (rsa(r#""kid":"","#), "the key id is empty"),
        (rsa(r#""kid":"a\nb","#), "the key id has control characters"),
        (r#"{"kty":"oct","k":"c2hvcnQ"}"#.to_owned(), "the secret has 5 bytes"),
        (r#"{"kty":"oct","k":"AAA="}"#.to_owned(), "k is not base64url"),
        (r#"{"kty":"oct"}"#.to_owned(), "k is missing"),
        (r#"{"kty":"EC","x":"AAAA"}"#.to_owned(), "crv is missing"),
        (r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#.to_owned(), "not a public key on the curve P-256"),
        (r#"{"kty":7}"#.to_owned(), "kty is not a string"),
        ("{}".to_owned(), "kty is missing"),
        (r#"{"keys":{}}"#.to_owned(), "\"keys\" is not a list"),
        (r#"{"keys":["a"]}"#.to_owned(), "one of the keys is not an object"),
        (r#"{"keys":[],"keys":[]}"#.to_owned(), "the name \"keys\" comes twice"),
        (rsa(r#""kid":"a","kid":"b","#), "the name \"kid\" comes twice"),
        ("[]".to_owned(), "it is not an object"),
        ("<html>".to_owned(), "it is not JSON"),
        (String::new(), "it is not JSON"),
        (" ".repeat((1 << 20) + 1), "longer than 1 MiB"),
    ];
    for (text, expected) in cases {
        check_set(&text[..text.len().min(200)], KeySet::jwks(&text), expected);
    }
}

/// A key that is a point of small order verifies signatures that anybody can make. The list is libsodium's
/// (`ge25519_has_small_order`), each with both signs.
#[test]
fn ed25519_keys_of_small_order_are_refused() {
    let y = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for hex in y {
        let mut point: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
        for _ in 0..2 {
            let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, b64(&point));
            check_set(hex, KeySet::jwks(&jwk), "not an Ed25519 public key");
            point[31] ^= 0x80;
        }
    }
}

#[test]
fn sets_are_merged() {
    let named =
        |id: &str| KeySet::new(vec![Key::secret(Algorithm::HS256, SECRET).unwrap().with_id(id).unwrap()]).unwrap();
    let both = named("a").merge(keys(Algorithm::ES256)).unwrap();
    check("of one", &signed(Algorithm::ES256, &header(Algorithm::ES256), CLAIMS), &both, &Rules::default(), "ok u1");
    check(
        "of the other",
        &signed(Algorithm::HS256, &header(Algorithm::HS256), CLAIMS),
        &both,
        &Rules::default(),
        "ok u1",
    );
    check_set("twins", named("a").merge(named("a")), "two keys have the id \"a\"");
    check_set("no twins", named("a").merge(named("b")), "ok a:HS256 b:HS256");
    let many = KeySet::new(vec![Key::secret(Algorithm::HS256, SECRET).unwrap(); 100]).unwrap();
    check_set("more than a set may have", many.merge(named("a")), "there are 101 keys, at most 100 are allowed");
    check_set("nothing", KeySet::new(Vec::new()), "none of the 0 keys");
}

#[test]
fn keys_are_not_printed() {
    let printed = format!("{:?} {:?}", keys(Algorithm::HS256), SigningKey::secret(Algorithm::HS256, SECRET).unwrap());
    assert!(!printed.contains("0123") && !printed.contains("48, 49, 50") && !printed.contains("[30"), "{printed}");
    assert_eq!(
        printed,
        "KeySet { keys: [Key { id: None, algorithm: HS256, .. }] } SigningKey { algorithm: HS256, .. }"
    );
}
