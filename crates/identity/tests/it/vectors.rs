//! Tokens that others made: the examples of RFC 7515 (appendix A) and RFC 8037 (appendix A.4), and the algorithms with one token each.

use crate::issuer::{CLAIMS, check, header, jwk, keys, signed};
use identity::{Algorithm, ClaimNames, KeySet, Rules, verify};

/// Payload of the examples in RFC 7515: issued by "joe", expires at 1300819380.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

#[test]
fn examples_of_the_specifications_verify() {
    let claims = ClaimNames { user: vec!["iss".to_owned()], ..ClaimNames::default() };
    let rules = Rules { claims, ..Rules::default() };
    // Key, header, signature.
    let cases = [
        (
            r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#,
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#,
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ];
    for (key, header, signature) in cases {
        let keys = KeySet::jwks(key).unwrap();
        let identity = verify(&format!("{header}.{JOE}.{signature}"), &keys, &rules, 1_300_819_379);
        assert_eq!(identity.map(|identity| identity.user.to_string()), Ok("joe".to_owned()), "{header}");
    }
    // What RFC 8037 signs is a sentence: that the claims are what is wrong with it says that the signature is good.
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    check("RFC 8037", token, &KeySet::jwks(key).unwrap(), &rules, "not-json");
}

#[test]
fn every_algorithm_verifies_its_own_tokens_and_no_others() {
    for signer in Algorithm::ALL {
        let token = signed(signer, &header(signer), CLAIMS);
        let alg = format!(r#""alg":"{signer}","#);
        let from_jwk = KeySet::jwks(&jwk(signer, &alg)).unwrap();
        check("its JSON Web Key", &token, &from_jwk, &Rules::default(), "ok u1");
        for key in Algorithm::ALL {
            let expected = if key == signer { "ok u1" } else { "wrong-algorithm" };
            check(&format!("{signer} for {key}"), &token, &keys(key), &Rules::default(), expected);
            // The header says what the key wants; the signature is of another algorithm.
            let expected = if key == signer { "ok u1" } else { "bad-signature" };
            let token = signed(signer, &header(key), CLAIMS);
            check(&format!("{signer} as {key}"), &token, &keys(key), &Rules::default(), expected);
        }
    }
}
