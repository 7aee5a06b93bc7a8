//! Tokens that must not pass: forged, confused, malformed. RFC 8725 section 2 has most of them; the rest is from advisories of libraries.

use crate::issuer::{CLAIMS, P256, RSA, b64, check, header, hs256, jwk, keys, public_pem, sign, signed};
use aws_lc_rs::{hmac, signature::KeyPair};
use identity::{Algorithm, Key, KeySet, Rules};

const H: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[test]
fn headers() {
    let long = |name: &str| format!(r#"{{"alg":"HS256","{name}":"{}"}}"#, "x".repeat(257));
    let deep = format!(r#"{{"alg":"HS256","x":{}1{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    let (long_kid, key) = (long("kid"), jwk(Algorithm::RS256, ""));
    let embedded = format!(r#"{{"alg":"RS256","jwk":{key}}}"#);
    let cases = [
        ("plain", H, "ok u1"),
        ("without typ", r#"{"alg":"HS256"}"#, "ok u1"),
        ("white space", "{ \"alg\" :\r\n\"HS256\" }", "ok u1"),
        ("typ in another case", r#"{"alg":"HS256","typ":"jwt"}"#, "ok u1"),
        ("access token", r#"{"alg":"HS256","typ":"at+jwt"}"#, "ok u1"),
        ("access token, long form", r#"{"alg":"HS256","typ":"application/at+JWT"}"#, "ok u1"),
        ("unknown member", r#"{"alg":"HS256","x5t":"a","__proto__":{"alg":"none"}}"#, "ok u1"),
        ("any kid for a key without id", r#"{"alg":"HS256","kid":"2024-01"}"#, "ok u1"),
        ("kid with a path", r#"{"alg":"HS256","kid":"../../dev/null"}"#, "ok u1"),
        ("kid with SQL", r#"{"alg":"HS256","kid":"' OR 1=1 --"}"#, "ok u1"),
        ("none", r#"{"alg":"none"}"#, "unsigned"),
        ("None", r#"{"alg":"None"}"#, "unsigned"),
        ("NONE", r#"{"alg":"NONE"}"#, "unsigned"),
        ("nOnE", r#"{"alg":"nOnE"}"#, "unsigned"),
        ("none with escapes", r#"{"alg":"\u006eone"}"#, "unsigned"),
        ("none with a space", r#"{"alg":"none "}"#, "unknown-algorithm"),
        ("no alg", r#"{"typ":"JWT"}"#, "no-algorithm"),
        ("alg null", r#"{"alg":null}"#, "no-algorithm"),
        ("alg as list", r#"{"alg":["HS256"]}"#, "no-algorithm"),
        ("alg as number", r#"{"alg":256}"#, "no-algorithm"),
        ("alg empty", r#"{"alg":""}"#, "unknown-algorithm"),
        ("alg in another case", r#"{"alg":"hs256"}"#, "unknown-algorithm"),
        ("alg of SHA-1", r#"{"alg":"HS1"}"#, "unknown-algorithm"),
        ("alg of encryption", r#"{"alg":"RSA-OAEP"}"#, "unknown-algorithm"),
        ("alg with a line break", r#"{"alg":"HS256\nlevel=ERROR \u001b[31m"}"#, "unknown-algorithm"),
        ("HS384 for HS256", r#"{"alg":"HS384"}"#, "wrong-algorithm"),
        ("RS256 for HS256", r#"{"alg":"RS256"}"#, "wrong-algorithm"),
        ("alg twice", r#"{"alg":"HS256","alg":"HS256"}"#, "duplicate-name"),
        ("alg and none", r#"{"alg":"HS256","alg":"none"}"#, "duplicate-name"),
        ("alg twice, escaped", r#"{"alg":"HS256","\u0061lg":"none"}"#, "duplicate-name"),
        ("kid twice", r#"{"alg":"HS256","kid":"a","kid":"b"}"#, "duplicate-name"),
        ("twice inside", r#"{"alg":"HS256","x":{"a":1,"a":2}}"#, "duplicate-name"),
        ("embedded key", embedded.as_str(), "embedded-key"),
        ("jwk of HS256", r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#, "embedded-key"),
        ("jku", r#"{"alg":"HS256","jku":"https://evil.example/keys"}"#, "embedded-key"),
        ("x5u", r#"{"alg":"HS256","x5u":"https://evil.example/cert"}"#, "embedded-key"),
        ("x5c", r#"{"alg":"HS256","x5c":["MIIB"]}"#, "embedded-key"),
        ("jwk null", r#"{"alg":"HS256","jwk":null}"#, "embedded-key"),
        ("crit", r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, "unknown-crit"),
        ("crit of b64", r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, "unknown-crit"),
        ("crit with a line break", r#"{"alg":"HS256","crit":["a\nb"]}"#, "unknown-crit"),
        ("crit empty", r#"{"alg":"HS256","crit":[]}"#, "malformed-crit"),
        ("crit null", r#"{"alg":"HS256","crit":null}"#, "malformed-crit"),
        ("crit as text", r#"{"alg":"HS256","crit":"b64"}"#, "malformed-crit"),
        ("crit with a number", r#"{"alg":"HS256","crit":["a",1]}"#, "malformed-crit"),
        ("crit names one twice", r#"{"alg":"HS256","crit":["a","b","a"]}"#, "malformed-crit"),
        ("crit twice", r#"{"alg":"HS256","crit":["a"],"crit":["b"]}"#, "duplicate-name"),
        ("b64", r#"{"alg":"HS256","b64":false}"#, "unsupported-header"),
        ("zip", r#"{"alg":"HS256","zip":"DEF"}"#, "unsupported-header"),
        ("enc", r#"{"alg":"HS256","enc":"A256GCM"}"#, "unsupported-header"),
        ("typ of another kind", r#"{"alg":"HS256","typ":"dpop+jwt"}"#, "wrong-type"),
        ("typ null", r#"{"alg":"HS256","typ":null}"#, "wrong-type"),
        ("typ empty", r#"{"alg":"HS256","typ":""}"#, "wrong-type"),
        ("kid null", r#"{"alg":"HS256","kid":null}"#, "malformed-key-id"),
        ("kid as number", r#"{"alg":"HS256","kid":1}"#, "malformed-key-id"),
        ("kid empty", r#"{"alg":"HS256","kid":""}"#, "malformed-key-id"),
        ("kid with NUL", r#"{"alg":"HS256","kid":"a\u0000"}"#, "malformed-key-id"),
        ("kid too long", long_kid.as_str(), "malformed-key-id"),
        ("a list", r#"["HS256"]"#, "not-json"),
        ("a text", r#""HS256""#, "not-json"),
        ("not JSON", "alg=HS256", "not-json"),
        ("more after it", r#"{"alg":"HS256"}{"alg":"none"}"#, "not-json"),
        ("byte order mark", "\u{feff}{\"alg\":\"HS256\"}", "not-json"),
        ("a comment", r#"{"alg":"HS256"/**/}"#, "not-json"),
        ("deep", deep.as_str(), "too-deep"),
    ];
    for (name, header, expected) in cases {
        check(name, &hs256(header, CLAIMS), &keys(Algorithm::HS256), &Rules::default(), expected);
    }
}

#[test]
fn forms() {
    let good = hs256(H, CLAIMS);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { panic!("{good}") };
    let join = |parts: &[&str]| parts.join(".");
    let whole = sign(Algorithm::HS256, join(&[header, claims]).as_bytes());
    let huge = |bytes: usize| {
        let filler = "x".repeat(bytes);
        hs256(H, &format!(r#"{{"userId":"u1","exp":1800000600,"x":"{filler}"}}"#))
    };
    let mut other_bits = signature.to_string();
    let last = other_bits.pop().unwrap();
    // The last letter of 32 bytes has two bits that mean nothing; they must be zero.
    other_bits.push(char::from(last as u8 + 1));
    let cases = [
        ("nothing", String::new(), "wrong-part-count"),
        ("one part", "abc".to_owned(), "wrong-part-count"),
        ("two parts", join(&[header, claims]), "wrong-part-count"),
        ("four parts", join(&[header, claims, signature, "AAAA"]), "wrong-part-count"),
        ("five parts", join(&[header, "", claims, claims, signature]), "wrong-part-count"),
        ("a dot more", format!("{good}."), "wrong-part-count"),
        ("only dots", "..".to_owned(), "empty-part"),
        ("four thousand dots", ".".repeat(4_000), "wrong-part-count"),
        ("no header", join(&["", claims, signature]), "empty-part"),
        ("no claims", hs256(H, ""), "empty-part"),
        ("no signature", join(&[header, claims, ""]), "empty-part"),
        ("none without signature", join(&[&b64(r#"{"alg":"none"}"#), claims, ""]), "unsigned"),
        ("none with signature", join(&[&b64(r#"{"alg":"none"}"#), claims, signature]), "unsigned"),
        ("signature padded", format!("{good}="), "not-base64url"),
        ("header padded", join(&[&format!("{header}="), claims, signature]), "not-base64url"),
        ("garbage after it", format!("{good}!"), "not-base64url"),
        ("a space before it", format!(" {good}"), "not-base64url"),
        ("a line break after it", format!("{good}\n"), "not-base64url"),
        ("a NUL after it", format!("{good}\0"), "not-base64url"),
        ("letters after it", format!("{good}AAAA"), "bad-signature"),
        ("bits after the end", join(&[header, claims, &other_bits]), "not-base64url"),
        ("standard base64", format!("+/{}", &good[2..]), "not-base64url"),
        ("cut by one", good[..good.len() - 1].to_owned(), "not-base64url"),
        ("cut by a byte", join(&[header, claims, &b64(&whole[..31])]), "bad-signature"),
        ("one byte of signature", join(&[header, claims, "AA"]), "bad-signature"),
        ("zeros as signature", join(&[header, claims, &b64([0; 32])]), "bad-signature"),
        (
            "claims of another",
            join(&[header, &b64(r#"{"userId":"root","exp":1800000600}"#), signature]),
            "bad-signature",
        ),
        ("header of another", join(&[&b64(r#"{"alg":"HS256"}"#), claims, signature]), "bad-signature"),
        ("Bearer", format!("Bearer {good}"), "not-base64url"),
        ("letters that are not ASCII", format!("é{good}"), "not-base64url"),
        ("8 KiB fit", huge(5_900), "ok u1"),
        ("more than 8 KiB", huge(6_200), "token-too-long"),
        ("a megabyte", "a".repeat(1 << 20), "token-too-long"),
    ];
    for (name, token, expected) in cases {
        check(name, &token, &keys(Algorithm::HS256), &Rules::default(), expected);
    }
    let keys = KeySet::secret(Algorithm::HS256, b"another secret that is long enough").unwrap();
    check("another secret", &good, &keys, &Rules::default(), "bad-signature");
}

/// The public key is known to everybody: whoever can make the server take it as a secret signs what they like.
#[test]
fn public_keys_are_never_secrets() {
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let pem = public_pem(algorithm).unwrap();
        let raw = if algorithm == Algorithm::ES256 { P256.public_key().as_ref() } else { RSA.public_key().as_ref() };
        let secrets: [&[u8]; 4] = [pem.as_bytes(), pem.trim_end().as_bytes(), raw, &[]];
        for secret in secrets {
            for (name, mac) in
                [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
            {
                let message = format!("{}.{}", b64(format!(r#"{{"alg":"{name}"}}"#)), b64(CLAIMS));
                let forged = hmac::sign(&hmac::Key::new(mac, secret), message.as_bytes());
                let token = format!("{message}.{}", b64(forged));
                check(name, &token, &keys(algorithm), &Rules::default(), "wrong-algorithm");
            }
        }
        assert!(KeySet::secret(Algorithm::HS256, pem.as_bytes()).is_err());
    }
}

/// Signatures that verify under broken arithmetic: zeros (CVE-2022-21449), the group's order, points of small order.
#[test]
fn signatures_out_of_thin_air() {
    const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&P256_ORDER[2 * at..2 * at + 2], 16).unwrap()).collect();
    let one = [vec![0; 31], vec![1]].concat();
    let identity_point = [vec![1], vec![0; 31]].concat();
    let der = |bytes: &[u8]| [b"0\x06\x02\x01\x00\x02\x01\x00", bytes].concat();
    let cases = [
        (Algorithm::ES256, vec![0; 64]),
        (Algorithm::ES256, [order.clone(), order.clone()].concat()),
        (Algorithm::ES256, [one.clone(), vec![0; 32]].concat()),
        (Algorithm::ES256, [vec![0; 32], one.clone()].concat()),
        (Algorithm::ES256, [one, order].concat()),
        (Algorithm::ES256, vec![0xff; 64]),
        (Algorithm::ES256, der(b"")),
        (Algorithm::ES256, vec![0; 96]),
        (Algorithm::ES256, vec![0; 63]),
        (Algorithm::ES384, vec![0; 96]),
        (Algorithm::ES384, vec![0; 64]),
        (Algorithm::ES384, vec![0xff; 96]),
        (Algorithm::EdDSA, vec![0; 64]),
        (Algorithm::EdDSA, [identity_point, vec![0; 32]].concat()),
        (Algorithm::EdDSA, vec![0xff; 64]),
        (Algorithm::EdDSA, vec![0; 32]),
        (Algorithm::RS256, vec![0; 256]),
        (Algorithm::RS256, [vec![0; 255], vec![1]].concat()),
        (Algorithm::RS256, vec![0xff; 256]),
        (Algorithm::RS256, RSA.public_key().modulus().big_endian_without_leading_zero().to_vec()),
        (Algorithm::PS256, vec![0; 256]),
        (Algorithm::PS256, vec![0; 255]),
        (Algorithm::PS256, vec![0; 257]),
    ];
    for (algorithm, signature) in cases {
        let token = format!("{}.{}.{}", b64(header(algorithm)), b64(CLAIMS), b64(&signature));
        check(&format!("{algorithm} {signature:x?}"), &token, &keys(algorithm), &Rules::default(), "bad-signature");
    }
}

/// An ECDSA signature has a fixed width; the form that TLS uses is another text for the same signature.
#[test]
fn ecdsa_signatures_in_the_form_of_tls_are_refused() {
    let message = format!("{}.{}", b64(header(Algorithm::ES256)), b64(CLAIMS));
    let fixed = sign(Algorithm::ES256, message.as_bytes());
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let sign: &[u8] = if bytes[zeros] >= 0x80 { &[0] } else { &[] };
        let body = [sign, &bytes[zeros..]].concat();
        [vec![2, body.len() as u8], body].concat()
    };
    let body = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    let der = [vec![0x30, body.len() as u8], body].concat();
    check("fixed", &format!("{message}.{}", b64(&fixed)), &keys(Algorithm::ES256), &Rules::default(), "ok u1");
    check("DER", &format!("{message}.{}", b64(der)), &keys(Algorithm::ES256), &Rules::default(), "bad-signature");
}

#[test]
fn key_ids_choose_exactly_one_key() {
    let secret = |text: &[u8], id: &str| Key::secret(Algorithm::HS256, text).unwrap().with_id(id).unwrap();
    let theirs = secret(b"the secret of somebody else, 32+ bytes", "theirs");
    let rsa = Key::pem(Algorithm::RS256, &public_pem(Algorithm::RS256).unwrap()).unwrap();
    let named =
        KeySet::new(vec![theirs.clone(), secret(crate::issuer::SECRET, "ours"), rsa.clone().with_id("rsa").unwrap()]);
    let (named, single) = (named.unwrap(), KeySet::new(vec![secret(crate::issuer::SECRET, "ours")]).unwrap());
    let mixed = KeySet::new(vec![theirs, Key::secret(Algorithm::HS256, crate::issuer::SECRET).unwrap(), rsa]).unwrap();
    let cases = [
        ("ours", &named, r#"{"alg":"HS256","kid":"ours"}"#, "ok u1"),
        ("without kid, all of the algorithm", &named, r#"{"alg":"HS256"}"#, "ok u1"),
        ("of another", &named, r#"{"alg":"HS256","kid":"theirs"}"#, "bad-signature"),
        ("of a key with another algorithm", &named, r#"{"alg":"HS256","kid":"rsa"}"#, "wrong-algorithm"),
        ("without kid, no key of the algorithm", &named, r#"{"alg":"ES256"}"#, "wrong-algorithm"),
        ("unknown", &named, r#"{"alg":"HS256","kid":"who"}"#, "unknown-key"),
        ("in another case", &named, r#"{"alg":"HS256","kid":"Ours"}"#, "unknown-key"),
        ("beginning of one", &named, r#"{"alg":"HS256","kid":"our"}"#, "unknown-key"),
        ("with a space", &named, r#"{"alg":"HS256","kid":"ours "}"#, "unknown-key"),
        ("path", &named, r#"{"alg":"HS256","kid":"../ours"}"#, "unknown-key"),
        ("file of zeros", &named, r#"{"alg":"HS256","kid":"/dev/null"}"#, "unknown-key"),
        ("SQL", &named, r#"{"alg":"HS256","kid":"x' UNION SELECT 'a"}"#, "unknown-key"),
        ("command", &named, r#"{"alg":"HS256","kid":"|sleep 9"}"#, "unknown-key"),
        ("one key with id, no kid", &single, r#"{"alg":"HS256"}"#, "ok u1"),
        ("one key with id, another kid", &single, r#"{"alg":"HS256","kid":"who"}"#, "unknown-key"),
        ("unknown, but a key is for all", &mixed, r#"{"alg":"HS256","kid":"who"}"#, "ok u1"),
        ("named before those for all", &mixed, r#"{"alg":"HS256","kid":"theirs"}"#, "bad-signature"),
        ("none of those for all", &mixed, r#"{"alg":"ES256","kid":"who"}"#, "unknown-key"),
        ("not signed by those for all", &mixed, r#"{"alg":"RS256","kid":"who"}"#, "unknown-key"),
        ("without kid, not signed by any", &mixed, r#"{"alg":"RS256"}"#, "bad-signature"),
    ];
    for (name, keys, header, expected) in cases {
        check(name, &hs256(header, CLAIMS), keys, &Rules::default(), expected);
    }
    let forged = format!("{}.{}.{}", b64(r#"{"alg":"HS256","kid":"who"}"#), b64(CLAIMS), b64([0; 32]));
    check("a kid, and no key has an id", &forged, &keys(Algorithm::HS256), &Rules::default(), "bad-signature");
    let rs256 = r#"{"alg":"RS256","kid":"rsa"}"#;
    check("RSA", &signed(Algorithm::RS256, rs256, CLAIMS), &named, &Rules::default(), "ok u1");
    check("PS256 with it", &signed(Algorithm::PS256, rs256, CLAIMS), &named, &Rules::default(), "bad-signature");
}
