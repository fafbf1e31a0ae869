//! Service keys and tokens: Quay takes ours and we take Quay's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use serde_json::json;

use super::*;
use crate::access::TokenError;
use crate::token::ALGORITHM;

/// What Quay's instance would sign: the claims of a recorded token, under its own key.
fn signed_by_quay(claims: &Value) -> String {
    let key = rsa::RsaPrivateKey::from_pkcs1_pem(&read("quay.pem")).unwrap();
    let header = Header {
        kid: Some(read("quay.kid").trim().to_owned()),
        ..Header::new(ALGORITHM)
    };
    let key = EncodingKey::from_rsa_der(key.to_pkcs1_der().unwrap().as_bytes());
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

fn recorded_claims(example: &str) -> Value {
    let all: Value = serde_json::from_str(&read("rights.json")).unwrap();
    all["token_examples"][example]["claims"].clone()
}

#[tokio::test]
async fn a_token_that_quay_signed_is_good_until_its_key_ends() {
    let sample = Sample::restored().await;
    let claims = recorded_claims("acme+ci");
    let token = signed_by_quay(&claims);
    let access = sample.authenticator.verify(&token).await.unwrap();
    assert_eq!(access.username(), Some("acme+ci"));
    assert!(access.allows(&"acme/app".parse().unwrap(), Action::Push));
    assert!(!access.allows(&"acme/app".parse().unwrap(), Action::Admin));
    assert!(!access.allows(&"acme/public".parse().unwrap(), Action::Pull));

    // The key ends at 13:44:32, the token would have lived until 14:14:42.
    sample.clock.advance(std::time::Duration::from_mins(30));
    let refused = sample.authenticator.verify(&token).await.unwrap_err();
    assert!(matches!(refused, TokenError::EndedKey), "{refused}");
}

#[tokio::test]
async fn a_mirrors_robot_pushes_and_nobody_else_with_the_same_token() {
    let sample = Sample::restored().await;
    let name = "acme/mirrored".parse().unwrap();
    let found = sample
        .database
        .find_repository(&RepositoryPath {
            namespace: "acme".to_owned(),
            name: "mirrored".to_owned(),
        })
        .await
        .unwrap();
    for (bearer, may) in [("acme+mirror", true), ("acme+ci", false), ("admin", false)] {
        let mut claims = recorded_claims("acme+ci");
        claims["sub"] = json!(bearer);
        if !bearer.contains('+') {
            claims["context"] = json!({});
        }
        claims["access"] =
            json!([{"type": "repository", "name": "acme/mirrored", "actions": ["push", "pull"]}]);
        let access = sample
            .authenticator
            .verify(&signed_by_quay(&claims))
            .await
            .unwrap();
        assert_eq!(
            sample
                .authenticator
                .may(&access, Action::Push, &name, found.as_ref())
                .await
                .unwrap(),
            may,
            "{bearer}"
        );
    }
}

#[tokio::test]
async fn our_tokens_have_the_claims_of_quays() {
    let sample = Sample::restored().await;
    for (example, account, scope) in [
        (
            "bob, acme/app:pull,push,* asked",
            "bob",
            "repository:acme/app:pull,push,*",
        ),
        (
            "anonymous, acme/public:pull",
            "anonymous",
            "repository:acme/public:pull",
        ),
        ("acme+ci", "acme+ci", "repository:acme/app:pull,push,*"),
        (
            "$app",
            "$app (token of alice)",
            "repository:alice/tools:pull",
        ),
        (
            "$oauthtoken",
            "$oauthtoken (token of admin)",
            "repository:alice/tools:pull",
        ),
    ] {
        let request = TokenRequest {
            credentials: sample.credentials(account),
            scopes: vec![scope],
            service: Some(HOST),
        };
        let token = sample.authenticator.token(request).await.unwrap().token;
        let payload = token.value.expose().split('.').nth(1).unwrap();
        let mut claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let mut quays = recorded_claims(example);
        // Ours says too which of a robot's tokens it was issued on.
        let credential = claims["context"]
            .as_object_mut()
            .unwrap()
            .remove("roadstead_credential");
        assert_eq!(credential.is_some(), account == "acme+ci", "{credential:?}");
        // The later examples were recorded a second after the first.
        for (claim, seconds) in [("iat", 0), ("nbf", 0), ("exp", 3600)] {
            quays[claim] = json!(RECORDED + seconds);
        }
        assert_eq!(claims, quays, "{example}");
        assert_eq!(
            sample
                .authenticator
                .verify(token.value.expose())
                .await
                .unwrap()
                .username(),
            sample
                .credentials(account)
                .is_some()
                .then(|| text(&claims["sub"]))
        );
    }
}

#[tokio::test]
async fn our_key_is_written_as_quay_writes_its_own() {
    let sample = Sample::restored().await;
    sample.authenticator.keys().prepare().await.unwrap();
    let rows = sample.server.psql(
        "SELECT json_agg(to_jsonb(k) || jsonb_build_object('approval', to_jsonb(a)) ORDER BY k.id)
         FROM servicekey k JOIN servicekeyapproval a ON a.id = k.approval_id",
    );
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let [quays, ours] = rows.try_into().expect("Quay's key and ours, both approved");

    for column in ["service", "rotation_duration"] {
        assert_eq!(ours[column], quays[column], "{column}");
    }
    for column in ["approval_type", "approver_id", "notes"] {
        assert_eq!(
            ours["approval"][column], quays["approval"][column],
            "{column}"
        );
    }
    let form = |jwk: &Value| {
        let key: Value = serde_json::from_str(text(jwk)).unwrap();
        text(jwk)
            .replace(text(&key["n"]), "N")
            .replace(text(&key["kid"]), "KID")
    };
    assert_eq!(form(&ours["jwk"]), form(&quays["jwk"]));
    assert_eq!(text(&ours["kid"]).len(), text(&quays["kid"]).len());
    let members = |row: &Value| -> Vec<String> {
        let metadata: serde_json::Map<String, Value> =
            serde_json::from_str(text(&row["metadata"])).unwrap();
        metadata.keys().cloned().collect()
    };
    assert_eq!(members(&ours), members(&quays));
    let time = |column: &str| {
        let time: chrono::NaiveDateTime = text(&ours[column]).parse().unwrap();
        time.and_utc()
    };
    assert_eq!(
        time("expiration_date") - time("created_date"),
        chrono::TimeDelta::from_std(KEY_LIFE).unwrap()
    );
}

#[tokio::test]
async fn the_samples_key_reads_all_of_its_encrypted_fields_and_another_none() {
    let sample = Sample::restored().await;
    let unreadable = sample.authenticator.check_encrypted_fields().await.unwrap();
    assert_eq!(unreadable, []);
    let mut columns: Vec<String> = sample
        .database
        .encrypted_columns(1)
        .await
        .unwrap()
        .iter()
        .map(|column| format!("{}.{}", column.table, column.column))
        .collect();
    columns.sort_unstable();
    assert_eq!(
        columns,
        [
            "appspecificauthtoken.token_secret",
            "oauthapplication.secure_client_secret",
            "repomirrorconfig.external_registry_password",
            "repomirrorconfig.external_registry_username",
            "robotaccounttoken.token",
        ]
    );
}
