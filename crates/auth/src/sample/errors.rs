//! Wrong passwords, wrong tokens and odd requests: the same texts as that Quay's.

use std::time::Duration;

use super::*;

/// A row of the list of errors.
pub(super) fn row(group: &str, what: &str) -> Value {
    let rows = recorded("errors");
    let found = rows
        .into_iter()
        .find(|row| row["group"] == group && row["what"] == what);
    found.unwrap_or_else(|| panic!("{group}: {what} was recorded"))
}

/// What was recorded of a request for a token.
pub(super) fn expected(row: &Value) -> Outcome {
    Outcome {
        status: row["status"].as_u64().unwrap(),
        granted: row.get("granted").map(texts).unwrap_or_default(),
        message: row.get("body").and_then(message_in),
    }
}

impl Sample {
    /// Sends a recorded request again, with this password.
    async fn again(&self, group: &str, what: &str, password: Option<&str>) {
        let row = row(group, what);
        let scopes = texts(&row["request"]["scope"]);
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let user = row["request"]["user"].as_str();
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some(credentials(user, password)),
            _ => None,
        };
        let mut outcome = self.ask(credentials, &scopes).await;
        let mut expected = expected(&row);
        if expected.status == 429 {
            // Ours says what to do.
            outcome.message = None;
        }
        if expected.status == 401 && outcome.message.is_none() {
            // The text for those who send nothing is the interface's.
            expected.message = None;
        }
        assert_eq!(outcome, expected, "{group}: {what}");
    }
}

#[tokio::test]
async fn wrong_passwords_are_answered_as_quay_answered_them() {
    let sample = Sample::restored().await;
    const GROUP: &str = "wrong password";
    let again = async |what, password| sample.again(GROUP, what, Some(password)).await;
    again("first, with scope", "wrong").await;
    again("at once again: wrong password inside the back-off", "wrong").await;
    again(
        "at once again: RIGHT password inside the back-off (0.5 s after 1 failure)",
        "bobpass123",
    )
    .await;
    sample.clock.advance(Duration::from_millis(700));
    again(
        "right password after the back-off (0.7 s after 1 failure)",
        "bobpass123",
    )
    .await;
    sample.server.psql(&format!(
        r#"UPDATE "user" SET invalid_login_attempts = 12, last_invalid_login = to_timestamp({RECORDED}) AT TIME ZONE 'UTC'
           WHERE username = 'bob'"#
    ));
    again("RIGHT password after 12 failures", "bobpass123").await;
    for (what, password) in [
        ("without scope", "wrong"),
        ("empty password", ""),
        (
            "public repository, wrong password (no anonymous fallback)",
            "wrong",
        ),
        ("an organization name as user", "wrong"),
        ("organization, second try at once", "wrong"),
    ] {
        if !what.contains("second") {
            sample.open_bob().await;
        }
        again(what, password).await;
    }
}

#[tokio::test]
async fn disabled_and_unknown_users_are_answered_as_quay_answered_them() {
    let sample = Sample::restored().await;
    for (group, what, password) in [
        (
            "disabled user",
            "right password, with scope",
            "carolpass123",
        ),
        (
            "disabled user",
            "right password, without scope",
            "carolpass123",
        ),
        (
            "disabled user",
            "right password, public repository",
            "carolpass123",
        ),
        ("disabled user", "wrong password", "wrong"),
        ("unknown user", "with scope", "wrong"),
        ("unknown user", "without scope", "wrong"),
        ("unknown user", "non-ascii name", "wrong"),
        (
            "tokens",
            "e-mail address as user name, right password",
            "alicepass123",
        ),
        ("tokens", "user name in upper case", "alicepass123"),
    ] {
        sample.again(group, what, Some(password)).await;
    }
}

#[tokio::test]
async fn wrong_tokens_are_answered_as_quay_answered_them() {
    let sample = Sample::restored().await;
    const ROBOT: &str = "robot with a wrong token";
    let robot = |name: &str| text(&sample.secrets.robots[name]).to_owned();
    let app = text(&sample.secrets.app_token["code"]).to_owned();
    let half = format!("{}{}", app.get(..60).unwrap(), "A".repeat(60));
    sample.again(ROBOT, "existing robot", Some("wrong")).await;
    sample
        .again(ROBOT, "token of another robot", Some(&robot("acme+puller")))
        .await;
    sample.again(ROBOT, "empty token", Some("")).await;
    sample
        .again(ROBOT, "unknown robot of a known namespace", Some("wrong"))
        .await;
    sample
        .again(
            ROBOT,
            "unknown robot of an unknown namespace",
            Some("wrong"),
        )
        .await;
    let right = "right token at once after ten more failures: no back-off";
    sample.again(ROBOT, right, Some(&robot("acme+ci"))).await;
    sample.again("tokens", "$app wrong", Some("wrong")).await;
    sample
        .again("tokens", "$app right name part, wrong secret", Some(&half))
        .await;
    sample
        .again("tokens", "$app token under the user name alice", Some(&app))
        .await;
    sample
        .again("tokens", "$oauthtoken wrong", Some("wrong"))
        .await;
    sample.again("tokens", "$token wrong", Some("wrong")).await;
}

/// Where ours answers differently on purpose: the recorded request, and what ours grants instead.
const OURS: &[(&str, &str, &[&str])] = &[
    // Clients that follow Docker's specification of tokens send these, and Quay's answer of 400 is an error to them.
    (
        "token endpoint",
        "two scopes in one parameter, blank between",
        &["pull", "pull"],
    ),
    ("token endpoint", "scope registry:catalog:*", &[]),
    ("token endpoint", "action delete", &[]),
    ("token endpoint", "action pull,delete", &["pull"]),
    // Quay's answer is 500, by an error in it.
    ("non-existing repository", "scope * alone, admin", &[]),
];

#[tokio::test]
async fn requests_with_a_right_password_are_granted_what_quay_granted() {
    let sample = Sample::restored().await;
    let mut compared = 0;
    for row in recorded("errors") {
        let (group, what) = (text(&row["group"]), text(&row["what"]));
        let asked = row["request"]["path"] == "/v2/auth" && row["request"]["method"] == "GET";
        let group_is_meant = [
            "token endpoint",
            "scope without rights",
            "non-existing repository",
            "repository in MIRROR state",
        ]
        .contains(&group);
        if !asked || !group_is_meant {
            continue;
        }
        compared += 1;
        if let Some((.., granted)) = OURS.iter().find(|ours| (ours.0, ours.1) == (group, what)) {
            let scopes = texts(&row["request"]["scope"]);
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let user = row["request"]["user"].as_str().unwrap();
            let outcome = sample.ask(sample.credentials(user), &scopes).await;
            assert_eq!(
                (outcome.status, outcome.granted),
                (200, texts(&Value::from(granted.to_vec())))
            );
            continue;
        }
        let user = row["request"]["user"].as_str();
        let password = user.and_then(|user| sample.credentials(user));
        let password = password.as_ref().map(|sent| sent.password.expose());
        if what == "upper case repository" {
            // Refused with another text.
            let scopes = texts(&row["request"]["scope"]);
            let outcome = sample.ask(sample.credentials("bob"), &[&scopes[0]]).await;
            assert_eq!(outcome.status, 400);
            continue;
        }
        sample.again(group, what, password).await;
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn actions_are_listed_in_quays_order() {
    assert!(Action::Push < Action::Pull && Action::Pull < Action::Admin);
}
