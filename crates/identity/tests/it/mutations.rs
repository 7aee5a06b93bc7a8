//! Tokens that were changed: bit by bit, and at random from a printed seed. None may verify, and none may panic.

use crate::issuer::{CLAIMS, NOW_S, header, keys, signed};
use identity::{Algorithm, KeySet, Rules, TokenError, inspect, verify};

fn refused(token: &str, original: &str, keys: &KeySet, what: &str) {
    if token != original {
        let result = verify(token, keys, &Rules::default(), NOW_S);
        assert!(result.is_err(), "{what}: {token} was accepted");
    }
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    for algorithm in [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA] {
        let (keys, token) = (keys(algorithm), signed(algorithm, &header(algorithm), CLAIMS));
        for (at, bit) in (0..token.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // With the highest bit it is no text any more, and never gets this far.
            if let Ok(text) = String::from_utf8(bytes) {
                refused(&text, &token, &keys, &format!("{algorithm}, bit {bit} of byte {at}"));
            }
        }
        for end in 0..token.len() {
            refused(&token[..end], &token, &keys, "cut");
            refused(&token[end + 1..], &token, &keys, "beheaded");
        }
    }
}

#[test]
fn random_changes_are_never_accepted() {
    for algorithm in [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        println!("SEED={seed} {algorithm}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (keys, token) = (keys(algorithm), signed(algorithm, &header(algorithm), CLAIMS));
        for round in 0..2_000 {
            let changed = change(&token, &mut random);
            refused(&changed, &token, &keys, &format!("SEED={seed} round {round}"));
            inspect(&changed, Some(&keys), &Rules::default(), NOW_S);
        }
    }
}

/// One to four changes: a letter replaced, left out, put in or doubled, a piece cut out or moved, two parts swapped.
fn change(token: &str, random: &mut fastrand::Rng) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0{\"\xc3\xa4";
    let mut bytes = token.as_bytes().to_vec();
    for _ in 0..random.usize(1..=4) {
        let (at, letter) = (random.usize(0..bytes.len().max(1)), LETTERS[random.usize(0..LETTERS.len())]);
        match random.u8(0..7) {
            _ if bytes.len() < 4 => bytes.extend_from_slice(token.as_bytes()),
            0 => bytes[at] = letter,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, letter),
            3 => bytes.insert(at, bytes[at]),
            4 => drop(bytes.drain(at..(at + random.usize(1..40)).min(bytes.len()))),
            5 => bytes.rotate_left(at),
            _ => {
                let mut parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'.').collect();
                random.shuffle(&mut parts);
                bytes = parts.join(&b'.');
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is signed may still be anything: random claims and headers never panic, and fail with a reason.
#[test]
fn random_json_with_a_good_signature_never_panics() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let (mut random, keys) = (fastrand::Rng::with_seed(seed), keys(Algorithm::HS256));
    let claims =
        r#"{"userId":"u1","exp":1800000600,"nbf":1.5e9,"aud":["a"],"rooms":[{"name":"a/*","permission":"read"}]}"#;
    for _ in 0..2_000 {
        let (header, claims) = (change(&header(Algorithm::HS256), &mut random), change(claims, &mut random));
        let token = signed(Algorithm::HS256, &header, &claims);
        let (result, text) =
            (verify(&token, &keys, &Rules::default(), NOW_S), inspect(&token, Some(&keys), &Rules::default(), NOW_S));
        let verdict = if result.is_ok() { "accepted: user" } else { "refused (" };
        assert!(text.contains(verdict), "SEED={seed}: {text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "SEED={seed}: {text:?}");
        assert_ne!(result, Err(TokenError::BadSignature), "SEED={seed}");
    }
}
