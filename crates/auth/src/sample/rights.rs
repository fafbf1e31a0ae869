//! What each account may do, in what is there and in what is not.

use std::collections::BTreeMap;

use super::*;

/// What was recorded of a request, as far as it is compared.
fn expected(row: &Value) -> Outcome {
    Outcome {
        status: row["auth_status"].as_u64().unwrap(),
        granted: texts(&row["granted"]),
        message: row.get("auth_body").and_then(message_in),
    }
}

#[tokio::test]
async fn every_account_has_the_rights_that_quay_gave_it_in_every_repository() {
    let sample = Sample::restored().await;
    let rows = recorded("rights");
    assert_eq!(rows.len(), 13 * 8);
    for row in &rows {
        let (account, repository) = (text(&row["account"]), text(&row["repository"]));
        let outcome = sample.ask_all(account, repository).await;
        assert_eq!(outcome, expected(row), "{account} {repository}");
        if account.contains("wrong") {
            sample.open_bob().await;
        }
    }
}

#[tokio::test]
async fn new_names_are_made_for_whom_quay_made_them_with_the_same_permissions() {
    let sample = Sample::restored().await;
    let rows = recorded("namespaces");
    assert_eq!(rows.len(), 13 * 8 * 2);
    let mut quays = BTreeMap::new();
    for (number, row) in rows.iter().enumerate() {
        let account = text(&row["account"]);
        let name = text(&row["repository"]).replace("<new>", &format!("new{number}"));
        let scope = format!("repository:{name}:{}", text(&row["scope"]));
        let outcome = sample.ask(sample.credentials(account), &[&scope]).await;
        assert_eq!(outcome, expected(row), "{account} {scope}");
        if account.contains("wrong") {
            sample.open_bob().await;
        }
        if row["repository_created_by_token_request"] == true {
            quays.insert(name, row["created"].clone());
        }
    }
    assert_eq!(sample.made(), quays);
    // Beside them stand the rows that Quay's search expects.
    for table in ["repositorysearchscore", "repositoryactioncount"] {
        let missing = format!(
            "SELECT count(*) FROM repository r WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE t.repository_id = r.id)"
        );
        assert_eq!(sample.server.psql(&missing), "0", "{table}");
    }
}

impl Sample {
    /// The repositories that are new, as `rights.json` describes them.
    fn made(&self) -> BTreeMap<String, Value> {
        let rows = self.server.psql(
            r#"SELECT json_object_agg(name, description) FROM (
                   SELECT n.username || '/' || r.name AS name,
                          json_build_object(
                              'visibility', v.name, 'state', r.state,
                              'permissions', string_agg(coalesce(u.username, 'team ' || t.name) || ':' || o.name, ', ' ORDER BY u.username)
                          ) AS description
                   FROM repository r
                   JOIN visibility v ON v.id = r.visibility_id
                   JOIN "user" n ON n.id = r.namespace_user_id
                   JOIN repositorypermission p ON p.repository_id = r.id
                   JOIN role o ON o.id = p.role_id
                   LEFT JOIN "user" u ON u.id = p.user_id
                   LEFT JOIN team t ON t.id = p.team_id
                   WHERE r.name LIKE 'new%'
                   GROUP BY n.username, r.name, v.name, r.state) AS made"#,
        );
        serde_json::from_str(&rows).unwrap()
    }
}

#[tokio::test]
async fn what_one_account_makes_is_the_others_as_far_as_quay_said() {
    let sample = Sample::restored().await;
    let rows = recorded("namespaces_in_this_order");
    assert_eq!(rows.len(), 12);
    for row in &rows {
        let account = text(&row["account"]);
        let scope = format!(
            "repository:{}:{}",
            text(&row["repository"]),
            text(&row["scope"])
        );
        let outcome = sample.ask(sample.credentials(account), &[&scope]).await;
        assert_eq!(outcome, expected(row), "{account} {scope}");
    }
}

#[tokio::test]
async fn a_listing_shows_a_user_what_quay_showed() {
    let sample = Sample::restored().await;
    let list = async |username: &str| {
        let account = sample
            .database
            .find_account(username)
            .await
            .unwrap()
            .unwrap();
        let viewer = roadstead_metadata::CatalogViewer::Account(account.id);
        sample.database.catalog(&viewer, None, 100).await.unwrap()
    };
    assert_eq!(list("bob").await, ["acme/app", "acme/public"]);
    // By rights of hers only; as a superuser with full access she sees the others too, as Quay's listing does not.
    let contents: Value = serde_json::from_str(&read("contents.json")).unwrap();
    let mut quays = texts(&contents["catalog"]["repositories"]);
    // Cached from there after the listing was recorded.
    quays.push("cache/public".to_owned());
    quays.sort_unstable();
    assert_eq!(list("admin").await, quays);
    assert_eq!(list("acme+puller").await, ["acme/app"]);
    assert_eq!(list("carol").await, [""; 0]);
}

#[tokio::test]
async fn what_was_changed_in_a_copy_of_the_sample_counts_as_it_did_for_quay() {
    let sample = Sample::restored().await;
    let all = "repository:acme/app:pull,push,*";
    let ask = async |account, scope| sample.ask(sample.credentials(account), &[scope]).await;
    let app = "$app (token of alice)";
    let oauth = "$oauthtoken (token of admin)";
    for (what, change, account, scope) in [
        (
            "OAuth token with scope repo:read only, pull,push,* asked (superuser admin)",
            "UPDATE oauthaccesstoken SET scope = 'repo:read'",
            oauth,
            all,
        ),
        (
            "OAuth token with scope repo:read only, push to a new repository",
            "",
            oauth,
            "repository:acme/new-oauth:pull,push",
        ),
        (
            "OAuth token expired",
            "UPDATE oauthaccesstoken SET expires_at = '2026-11-22 13:00:00'",
            oauth,
            "repository:acme/app:pull",
        ),
        (
            "READ_ONLY repository, admin asks pull,push,*",
            "UPDATE repository SET state = 1 WHERE name = 'app'",
            "admin",
            all,
        ),
        (
            "app token of a disabled user",
            r#"UPDATE "user" SET enabled = false WHERE username = 'alice'"#,
            app,
            "repository:acme/app:pull",
        ),
        (
            "app token expired",
            "UPDATE appspecificauthtoken SET expiration = '2026-11-22 13:00:00'",
            app,
            "repository:acme/app:pull",
        ),
        (
            "robot of a disabled organization",
            r#"UPDATE "user" SET enabled = false WHERE username = 'acme'"#,
            "acme+ci",
            "repository:acme/app:pull",
        ),
        (
            "bob asks pull in a disabled organization",
            "",
            "bob",
            "repository:acme/app:pull",
        ),
    ] {
        if !change.is_empty() {
            sample.server.psql(change);
        }
        let row = errors::row("changed copy of the sample", what);
        assert_eq!(ask(account, scope).await, errors::expected(&row), "{what}");
    }
}
