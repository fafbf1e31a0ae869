//! Tokens that nobody with a key of this service has signed.

use jsonwebtoken::{Algorithm, EncodingKey};

use super::*;

#[tokio::test]
async fn a_changed_token_is_refused() {
    let world = world().await;
    let token = sign(&header(), &claims());
    let parts: Vec<&str> = token.split('.').collect();
    let mut more = claims();
    more["access"][0]["name"] = json!("acme/secret");
    let more = URL_SAFE_NO_PAD.encode(more.to_string());
    let changed = format!("{}.{more}.{}", parts[0], parts[2]);
    assert_refused!(world, changed, TokenError::Signature);
    let other = sign(&header(), &json!({"sub": "admin"}));
    let signature = other.rsplit('.').next().unwrap();
    assert_refused!(
        world,
        format!("{}.{}.{signature}", parts[0], parts[1]),
        TokenError::Signature
    );
    let mut bytes = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    for index in [0, 100, bytes.len() - 1] {
        bytes[index] ^= 1;
        let broken = format!(
            "{}.{}.{}",
            parts[0],
            parts[1],
            URL_SAFE_NO_PAD.encode(&bytes)
        );
        assert_refused!(world, broken, TokenError::Signature);
        bytes[index] ^= 1;
    }
    assert_refused!(
        world,
        format!("{}.{}.", parts[0], parts[1]),
        TokenError::Signature
    );
}

#[tokio::test]
async fn a_token_that_another_key_signed_under_this_ones_id_is_refused() {
    let world = world().await;
    let token = jsonwebtoken::encode(&header(), &claims(), &private_key(1).signing).unwrap();
    assert_refused!(world, token, TokenError::Signature);
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let world = world().await;
    let kid = &private_key(0).kid;
    for algorithm in ["none", "None", "NONE", ""] {
        let header = json!({"typ": "JWT", "alg": algorithm, "kid": kid});
        for signature in [&b""[..], b"x"] {
            assert_refused!(
                world,
                forged(&header, signature),
                TokenError::Malformed { .. }
            );
        }
    }
    let header = json!({"typ": "JWT", "kid": kid});
    assert_refused!(world, forged(&header, b""), TokenError::Malformed { .. });
}

#[tokio::test]
async fn a_token_signed_with_the_public_key_as_a_password_is_refused() {
    let world = world().await;
    let key = private_key(0);
    let jwk: Value = serde_json::from_str(&key.jwk).unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        for password in [key.jwk.as_bytes(), &modulus, b""] {
            let header = Header {
                alg: algorithm,
                ..header()
            };
            let token =
                jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(password))
                    .unwrap();
            assert_refused!(world, token, TokenError::Algorithm);
        }
    }
}

#[tokio::test]
async fn other_algorithms_are_refused_though_the_key_is_right() {
    let world = world().await;
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let header = Header {
            alg: algorithm,
            ..header()
        };
        assert_refused!(world, sign(&header, &claims()), TokenError::Algorithm);
    }
}

#[tokio::test]
async fn a_key_in_the_header_is_not_used() {
    let world = world().await;
    let mut header = header();
    header.kid = None;
    header.jwk = serde_json::from_str(&private_key(1).jwk).unwrap();
    let token = jsonwebtoken::encode(&header, &claims(), &private_key(1).signing).unwrap();
    assert_refused!(world, token, TokenError::MissingKeyId);
}
