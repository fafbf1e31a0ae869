//! Quay and we at the same time, on one database: tokens of either open the other, and either works off the other's queue rows. Quay's
//! part is played by its own key and by rows as it writes them.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadstead_client::Client;
use roadstead_oci::{Algorithm, Digest, Reference, RepositoryName};
use roadstead_testkit::{ImageKind, RegistrySettings, TestImage, eventually};
use roadstead_tests::call;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};

use crate::sample::{Sample, fixture};

/// What a signature with SHA-256 has before the hash: RFC 8017 section 9.2, note 1.
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A blob of `acme/app` that Quay has copied to both locations.
const BASE: &str = "sha256:5969b468a847973527d11ae2ad276e8e79e99e1f4be4f1011dfd4b7ad4554ea1";

fn signed_hash(text: &str) -> Vec<u8> {
    let hash = Digest::of(Algorithm::Sha256, text.as_bytes());
    let bytes = hash.hex().as_bytes().chunks(2).map(|pair| {
        let pair = str::from_utf8(pair).unwrap();
        u8::from_str_radix(pair, 16).unwrap()
    });
    SHA256_PREFIX.into_iter().chain(bytes).collect()
}

/// A token as Quay makes it (`token_examples` of `rights.json`), signed with Quay's key.
fn quays_token(sample: &Sample, settings: &RegistrySettings) -> String {
    let rights = fs::read_to_string(fixture("rights.json")).unwrap();
    let rights: Value = serde_json::from_str(&rights).unwrap();
    let mut claims = rights["token_examples"]["bob, acme/app:pull,push,* asked"]["claims"].clone();
    let now = sample
        .database
        .number("SELECT extract(epoch FROM clock_timestamp())::bigint");
    claims["aud"] = settings.address.to_string().into();
    claims["iat"] = now.into();
    claims["nbf"] = now.into();
    claims["exp"] = (now + 3600).into();
    let kid = fs::read_to_string(fixture("quay.kid")).unwrap();
    let header = json!({"alg": "RS256", "kid": kid.trim(), "typ": "JWT"});
    signed_by_quay(header, claims)
}

/// A token of this header and these claims, signed with Quay's key.
pub(crate) fn signed_by_quay(header: Value, claims: Value) -> String {
    let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = parts.join(".");
    let key = fs::read_to_string(fixture("quay.pem")).unwrap();
    let key = RsaPrivateKey::from_pkcs1_pem(&key).unwrap();
    let signature = key
        .sign(Pkcs1v15Sign::new_unprefixed(), &signed_hash(&signed))
        .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn status_with(settings: &RegistrySettings, token: &str, path: &str) -> u16 {
    let client = Client::new(&settings.url(), None).unwrap();
    let reply = call("GET", path)
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "application/vnd.oci.image.manifest.v1+json")
        .send(&client)
        .await;
    reply.status.as_u16()
}

#[tokio::test]
async fn a_token_that_quay_signed_opens_us_until_its_key_ends() {
    let sample = Sample::restore();
    for (statement, (pulls, pushes)) in [
        // As the sample has it: the key's life is over.
        ("SELECT 1", (401, 401)),
        (
            "UPDATE servicekey SET expiration_date = now() AT TIME ZONE 'UTC' + interval '1 hour'",
            (200, 401),
        ),
        ("UPDATE servicekey SET approval_id = NULL", (401, 401)),
    ] {
        sample.database.run(statement);
        let settings = sample.settings();
        let registry = settings.start().await;
        let token = quays_token(&sample, &settings);
        let pulled = status_with(&settings, &token, "/v2/acme/app/manifests/v1").await;
        assert_eq!(pulled, pulls, "after `{statement}`");
        // It grants a pull of one repository, and no more.
        let other = status_with(&settings, &token, "/v2/geo/data/manifests/multi").await;
        assert_eq!(other, pushes, "after `{statement}`");
        assert!(registry.stop().await.success());
    }
}

#[tokio::test]
async fn a_token_of_ours_is_such_as_quay_verifies() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    let client = Client::new(&settings.url(), None).unwrap();
    let service = settings.address.to_string();
    let basic =
        base64::engine::general_purpose::STANDARD.encode(format!("bob:{}", sample.secret("bob")));
    let path = format!("/v2/auth?service={service}&scope=repository:acme/app:pull,push,*");
    let reply = call("GET", path)
        .header("authorization", format!("Basic {basic}"))
        .send(&client)
        .await
        .expect(200);
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let [header, claims] = signed
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect::<Vec<Value>>()
        .try_into()
        .unwrap();

    // The key is found by its id, is approved and has not ended; the signature is its.
    let kid = header["kid"].as_str().unwrap();
    let jwk = sample.database.value(&format!(
        "SELECT s.jwk FROM servicekey s JOIN servicekeyapproval a ON a.id = s.approval_id
         WHERE s.kid = '{kid}' AND s.service = 'quay' AND s.expiration_date > now() AT TIME ZONE 'UTC'"
    ));
    let jwk: Value = serde_json::from_str(&jwk).unwrap();
    let number = |member: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap());
        BigUint::from_bytes_be(&bytes.unwrap())
    };
    let key = RsaPublicKey::new(number("n"), number("e")).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify(
        Pkcs1v15Sign::new_unprefixed(),
        &signed_hash(signed),
        &signature,
    )
    .unwrap();

    // The claims are those that Quay makes of the same request, but for time and place.
    let rights = fs::read_to_string(fixture("rights.json")).unwrap();
    let rights: Value = serde_json::from_str(&rights).unwrap();
    let quays = &rights["token_examples"]["bob, acme/app:pull,push,* asked"];
    assert_eq!(header["alg"], quays["header"]["alg"]);
    assert_eq!(header["typ"], quays["header"]["typ"]);
    assert_eq!(claims["aud"], service.as_str());
    for claim in ["iss", "sub", "access", "context"] {
        assert_eq!(claims[claim], quays["claims"][claim], "{claim}");
    }
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn copies_that_quay_queued_are_made_by_us() {
    let sample = Sample::restore();
    let database = &sample.database;
    let uuid = database.value(&format!(
        "SELECT uuid FROM imagestorage WHERE content_checksum = '{BASE}'"
    ));
    database.run(&format!(
        "DELETE FROM imagestorageplacement p USING imagestorage s, imagestoragelocation l
         WHERE s.id = p.storage_id AND l.id = p.location_id AND s.uuid = '{uuid}' AND l.name = 'eu_west'"
    ));
    let digest: Digest = BASE.parse().unwrap();
    fs::remove_file(sample.store("eu_west").path(&digest)).unwrap();
    let done = database.value(&format!(
        "SELECT uuid FROM imagestorage WHERE content_checksum <> '{BASE}' LIMIT 1"
    ));
    // As Quay leaves them: one for every push of the blob, one of which a worker took and died over; one whose work is done; one of
    // a blob that is gone.
    let now = "now() AT TIME ZONE 'UTC'";
    for (uuid, available, expires, retries) in [
        (uuid.as_str(), true, "NULL".to_owned(), 5),
        (uuid.as_str(), true, "NULL".to_owned(), 5),
        (
            uuid.as_str(),
            false,
            format!("{now} - interval '1 minute'"),
            4,
        ),
        (done.as_str(), true, "NULL".to_owned(), 5),
        (
            "00000000-0000-4000-8000-000000000000",
            true,
            "NULL".to_owned(),
            5,
        ),
    ] {
        database.run(&format!(
            "INSERT INTO queueitem (queue_name, body, available_after, available, processing_expires, retries_remaining, state_id)
             VALUES ('imagestoragereplication/{uuid}/', '{{\"namespace_user_id\": 5, \"storage_id\": \"{uuid}\"}}',
                     {now} - interval '1 hour', {available}, {expires}, {retries}, gen_random_uuid()::text)"
        ));
    }

    let settings = sample.settings();
    let registry = settings.start().await;
    eventually("every queued copy is done with", async || {
        (queued_copies(&sample) == 0).then_some(())
    })
    .await;
    assert!(registry.stop().await.success());
    // The placement is there again, and what it promises.
    sample.world().assert_sound();
    assert!(sample.store("eu_west").objects().contains_key(&digest));
}

#[tokio::test]
async fn copies_that_we_queued_are_left_to_quay_once_it_has_taken_them() {
    let sample = Sample::restore();
    let database = &sample.database;
    let mut settings = sample.settings();
    settings.arguments.push("--no-replicator".to_owned());
    let registry = settings.start().await;
    let image = TestImage::new(7, ImageKind::Oci, &[1234]);
    let repository: RepositoryName = "acme/app".parse().unwrap();
    let tag: Reference = "copied-by-quay".parse().unwrap();
    let client = sample.client(&settings, "acme+ci");
    image.push(&client, &repository, &tag).await.unwrap();
    assert!(registry.stop().await.success());

    // Quay's own conditions for a row that it may take.
    let available = database.number(
        "SELECT count(*) FROM queueitem WHERE queue_name ILIKE 'imagestoragereplication/%' AND retries_remaining = 5
           AND available_after <= now() AT TIME ZONE 'UTC' AND (available OR processing_expires <= now() AT TIME ZONE 'UTC')",
    );
    assert_eq!(available, 2, "config and layer");
    sample.world().assert_sound();

    // Quay takes them, and we start: nobody copies but Quay.
    database.run(
        "UPDATE queueitem SET available = false, retries_remaining = 4, state_id = gen_random_uuid()::text,
                processing_expires = now() AT TIME ZONE 'UTC' + interval '20 minutes'
         WHERE queue_name LIKE 'imagestoragereplication/%'",
    );
    let settings = sample.settings();
    let registry = settings.start().await;
    let client = sample.client(&settings, "acme+ci");
    image.pull(&client, &repository, &tag).await.unwrap();
    assert_eq!(queued_copies(&sample), 2);
    for digest in &image.blobs {
        let target = sample.store("eu_west").path(digest);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(sample.store("us_east").path(digest), target).unwrap();
        database.run(&format!(
            "INSERT INTO imagestorageplacement (storage_id, location_id)
             SELECT s.id, l.id FROM imagestorage s, imagestoragelocation l
             WHERE s.content_checksum = '{digest}' AND l.name = 'eu_west'"
        ));
    }
    database.run("DELETE FROM queueitem WHERE queue_name LIKE 'imagestoragereplication/%'");
    let status = settings.admin().replication_status().await;
    assert_eq!(status["complete"], true, "{status}");
    assert!(registry.stop().await.success());
    sample.world().assert_sound();
}

fn queued_copies(sample: &Sample) -> i64 {
    sample
        .database
        .number("SELECT count(*) FROM queueitem WHERE queue_name LIKE 'imagestoragereplication/%'")
}
