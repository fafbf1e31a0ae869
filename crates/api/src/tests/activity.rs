//! What others hear of what happens here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use roadstead_auth::FieldKey;
use serde_json::{Value, json};

use super::accounts::ADMIN;
use super::world::{APP, World, basic};
use crate::{ActivityListener, ClientEvent};

#[derive(Debug, Default)]
struct Heard {
    rights_changed: AtomicUsize,
    events: Mutex<Vec<String>>,
}

impl ActivityListener for Heard {
    fn rights_changed(&self) {
        self.rights_changed.fetch_add(1, Ordering::Relaxed);
    }

    fn client_event(&self, username: &str, event: &ClientEvent<'_>) {
        let told = format!("{username} {}", event.action);
        self.events.lock().unwrap().push(told);
    }
}

async fn listened() -> (World, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let world = World::with(|settings| {
        settings.listener = Some(Arc::<Heard>::clone(&heard));
        settings.auth.field_key = Some(FieldKey::new("a key for tests").unwrap());
    })
    .await;
    (world, heard)
}

#[tokio::test]
async fn everybody_looks_again_at_rights_when_they_may_have_changed_and_not_otherwise() {
    let (world, heard) = listened().await;
    world.push_image("v1").await;
    let path = format!("/repository/{APP}/tag/v1");
    world
        .given(ADMIN, ("DELETE", &path), Value::Null, 204)
        .await;
    assert_eq!(heard.rights_changed.load(Ordering::Relaxed), 0);
    world.user("alice").await;
    assert_eq!(heard.rights_changed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_token_is_told_of_under_the_name_of_its_account() {
    let (world, heard) = listened().await;
    let document = json!({ "title": "laptop" });
    let made = world
        .given(ADMIN, ("POST", "/user/apptoken"), document, 200)
        .await;
    let by_token = basic("$app", made["token"]["token_code"].as_str().unwrap());
    heard.events.lock().unwrap().clear();
    let answer = world
        .request("GET", &format!("/v2/auth?scope=repository:{APP}:pull"))
        .with("authorization", &by_token)
        .anonymously()
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(*heard.events.lock().unwrap(), ["admin pull_start"]);
}
