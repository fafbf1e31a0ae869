//! What is taken away in one region, or by Quay, is gone in the other within the bound, for tokens that were handed out before.

use futures_util::future::join_all;
use roadstead_testkit::{RegistrySettings, eventually, within};
use tokio::time::Instant;

use crate::rights::wire::{Asked, ask, basic, token};
use crate::sample::Sample;

/// How often a request is sent at most while it is waited for its refusal, 50 ms apart: a minute, of which the bound is 10 s.
const CHECKS: u32 = 1_200;

/// Something that is taken away from somebody who pulls without end.
struct Case {
    what: &'static str,
    account: &'static str,
    repository: &'static str,
    /// What whoever administers does, as Quay does it in the database.
    change: &'static [&'static str],
}

const CASES: [Case; 10] = [
    Case {
        what: "account disabled",
        account: "disabled",
        repository: "acme/app",
        change: &["UPDATE \"user\" SET enabled = false WHERE username = 'disabled'"],
    },
    Case {
        what: "account deleted",
        account: "deleted",
        repository: "acme/app",
        change: &[
            "DELETE FROM repositorypermission WHERE user_id = (SELECT id FROM \"user\" WHERE username = 'deleted')",
            "DELETE FROM \"user\" WHERE username = 'deleted'",
        ],
    },
    Case {
        what: "password changed",
        account: "changed",
        repository: "acme/app",
        change: &[
            "UPDATE \"user\" SET uuid = gen_random_uuid()::text,
                password_hash = (SELECT password_hash FROM \"user\" WHERE username = 'alice') WHERE username = 'changed'",
        ],
    },
    Case {
        what: "team left",
        account: "unteamed",
        repository: "acme/app",
        change: &[
            "DELETE FROM teammember WHERE user_id = (SELECT id FROM \"user\" WHERE username = 'unteamed')",
        ],
    },
    Case {
        what: "robot deleted",
        account: "acme+ci",
        repository: "acme/app",
        change: &[
            "DELETE FROM repositorypermission WHERE user_id = (SELECT id FROM \"user\" WHERE username = 'acme+ci')",
            "DELETE FROM teammember WHERE user_id = (SELECT id FROM \"user\" WHERE username = 'acme+ci')",
            "DELETE FROM robotaccounttoken WHERE robot_account_id = (SELECT id FROM \"user\" WHERE username = 'acme+ci')",
            "DELETE FROM federatedlogin WHERE user_id = (SELECT id FROM \"user\" WHERE username = 'acme+ci')",
            "DELETE FROM robotaccountmetadata WHERE robot_account_id = (SELECT id FROM \"user\" WHERE username = 'acme+ci')",
            "DELETE FROM \"user\" WHERE username = 'acme+ci'",
        ],
    },
    Case {
        what: "robot's token made anew",
        account: "acme+mirror",
        repository: "acme/mirrored",
        change: &[
            "UPDATE robotaccounttoken SET token = (SELECT t.token FROM robotaccounttoken t JOIN \"user\" u ON u.id = t.robot_account_id
                                              WHERE u.username = 'admin+laptop')
             WHERE robot_account_id = (SELECT id FROM \"user\" WHERE username = 'acme+mirror')",
        ],
    },
    Case {
        what: "robot's owner disabled",
        account: "geo+sync",
        repository: "geo/data",
        change: &["UPDATE \"user\" SET enabled = false WHERE username = 'geo'"],
    },
    Case {
        what: "permission removed",
        account: "acme+puller",
        repository: "acme/app",
        change: &[
            "DELETE FROM repositorypermission WHERE user_id = (SELECT id FROM \"user\" WHERE username = 'acme+puller')",
        ],
    },
    Case {
        what: "app token withdrawn",
        account: "$app",
        repository: "alice/tools",
        change: &["DELETE FROM appspecificauthtoken WHERE user_id = (SELECT id FROM \"user\" WHERE username = 'alice')"],
    },
    Case {
        what: "OAuth token withdrawn",
        account: "$oauthtoken",
        repository: "cache/public",
        change: &["DELETE FROM oauthaccesstoken"],
    },
];

/// Further people with bob's password, who may pull from `acme/app`: one as a member of a team, the others by themselves.
const PEOPLE: &[&str] = &[
    "INSERT INTO \"user\" (uuid, username, password_hash, email, verified, organization, robot, invoice_email, invalid_login_attempts,
                           last_invalid_login, removed_tag_expiration_s, enabled)
     SELECT gen_random_uuid()::text, name, password_hash, name || '@example.test', true, false, false, false, 0,
            last_invalid_login, removed_tag_expiration_s, true
     FROM \"user\", unnest(ARRAY['disabled', 'deleted', 'changed', 'unteamed']) AS name WHERE username = 'bob'",
    "INSERT INTO repositorypermission (user_id, repository_id, role_id)
     SELECT u.id, r.id, o.id FROM \"user\" u, repository r, role o
     WHERE u.username IN ('disabled', 'deleted', 'changed') AND r.name = 'app' AND o.name = 'read'",
    "INSERT INTO teammember (user_id, team_id)
     SELECT u.id, t.id FROM \"user\" u, team t WHERE u.username = 'unteamed' AND t.name = 'readers'",
    "UPDATE oauthaccesstoken SET expires_at = now() AT TIME ZONE 'UTC' + interval '1 hour'",
];

#[tokio::test]
async fn a_pipeline_in_one_region_is_stopped_by_what_is_taken_away_in_the_other() {
    let sample = Sample::restore();
    for statement in PEOPLE {
        sample.database.run(statement);
    }
    let here = sample.settings();
    let there = RegistrySettings {
        address: RegistrySettings::new("unused").address,
        ..here.clone()
    };
    let (first, second) = (here.start().await, there.start().await);

    let tokens: Vec<String> = join_all(CASES.iter().map(async |case| {
        let account = case.account;
        let (login, secret) = match account {
            "disabled" | "deleted" | "changed" | "unteamed" => (account, sample.secret("bob")),
            _ => (account, sample.secret(account)),
        };
        let scope = format!("repository:{}:pull", case.repository);
        // Nobody is refused for how many sign in at once.
        eventually("a place in the queue of logins", async || {
            token(here.address, here.address, &basic(login, secret), &scope).await
        })
        .await
    }))
    .await;

    let seconds = join_all(CASES.iter().zip(&tokens).map(async |(case, token)| {
        let path = format!("/v2/{}/tags/list", case.repository);
        let status = async || {
            let bearer = Some(format!("Bearer {token}"));
            ask(there.address, Asked::get(&path, bearer)).await.status
        };
        // The region knows the bearer and goes on without asking.
        for _ in 0..3 {
            assert_eq!(status().await, 200, "{}", case.what);
        }
        sample.database.run(&case.change.join(";\n"));
        let since = Instant::now();
        within(CHECKS, case.what, async || match status().await {
            200 => None,
            refused => {
                assert_eq!(refused, 401, "{}", case.what);
                Some(())
            }
        })
        .await;
        since.elapsed().as_secs_f64()
    }))
    .await;
    for (case, seconds) in CASES.iter().zip(&seconds) {
        println!(
            "{}: refused in the other region after {seconds:.1} s",
            case.what
        );
    }
    assert!(first.stop().await.success());
    assert!(second.stop().await.success());
}

#[tokio::test]
async fn who_gets_a_new_password_goes_on_with_a_new_token_at_once() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    let pull = async |authorization: &str| {
        let bearer = Some(format!("Bearer {authorization}"));
        let asked = Asked::get("/v2/acme/app/tags/list", bearer);
        ask(settings.address, asked).await.status
    };
    let scope = "repository:acme/app:pull";
    let sign_in = async |password: &str| {
        let password = basic("bob", password);
        token(settings.address, settings.address, &password, scope).await
    };
    let old = sign_in(sample.secret("bob")).await.unwrap();
    assert_eq!(pull(&old).await, 200);
    sample.database.run(
        "UPDATE \"user\" SET uuid = gen_random_uuid()::text,
            password_hash = (SELECT password_hash FROM \"user\" WHERE username = 'alice') WHERE username = 'bob'",
    );
    let new = sign_in(sample.secret("alice")).await.unwrap();
    assert_eq!(pull(&new).await, 200);
    // And what was known of bob is known anew with it.
    assert_eq!(pull(&old).await, 401);
    assert!(registry.stop().await.success());
}
