//! The rules, one by one, over made-up facts. What a running Quay answered over real ones is in the tests of the sample.

use roadstead_metadata::RepositoryRole::{Admin, Read, Write};

use super::*;
use crate::testing::scopes;
use RepositoryState::{Mirror, Normal, OrganizationMirror, ReadOnly};

const OWNER: UserId = UserId(1);
const OTHER: UserId = UserId(2);
const ROBOT: UserId = UserId(3);
const POLICY: Policy = Policy {
    anonymous_access: true,
    create_namespace_on_push: true,
    proxy_cache: true,
};
const NAMESPACE: Namespace = Namespace {
    owner: OWNER,
    team_role: None,
    proxy_cache: false,
};
const SUPERUSER: Asker = Asker::Account {
    id: UserId(9),
    robot: false,
    full_access: true,
    reads_all: false,
    limits: None,
};

const fn user(id: UserId) -> Asker {
    Asker::Account {
        id,
        robot: false,
        full_access: false,
        reads_all: false,
        limits: None,
    }
}

const fn robot() -> Asker {
    Asker::Account {
        id: ROBOT,
        robot: true,
        full_access: false,
        reads_all: false,
        limits: None,
    }
}

fn limited(asker: Asker, to: &str) -> Asker {
    match asker {
        Asker::Anonymous => asker,
        Asker::Account {
            id,
            robot,
            full_access,
            reads_all,
            ..
        } => Asker::Account {
            id,
            robot,
            full_access,
            reads_all,
            limits: Some(scopes(to)),
        },
    }
}

const fn team(role: TeamRole) -> Namespace {
    Namespace {
        team_role: Some(role),
        ..NAMESPACE
    }
}

const fn repository(public: bool, state: RepositoryState) -> Target {
    Target::Repository {
        namespace: NAMESPACE,
        public,
        state,
        role: None,
        mirror_robot: None,
    }
}

const fn permitted(role: RepositoryRole) -> Target {
    in_namespace(NAMESPACE, Some(role), Normal)
}

const fn in_namespace(
    namespace: Namespace,
    role: Option<RepositoryRole>,
    state: RepositoryState,
) -> Target {
    Target::Repository {
        namespace,
        public: false,
        state,
        role,
        mirror_robot: Some(ROBOT),
    }
}

const fn missing(namespace: Namespace) -> Target {
    Target::MissingRepository { namespace }
}

fn words(rights: Rights) -> String {
    [
        (rights.push, "push "),
        (rights.pull, "pull "),
        (rights.admin, "* "),
        (rights.create, "create "),
    ]
    .into_iter()
    .filter_map(|(allowed, word)| allowed.then_some(word))
    .collect::<String>()
    .trim_end()
    .to_owned()
}

fn assert_rights(cases: impl IntoIterator<Item = (Asker, Target, &'static str)>) {
    for (asker, target, expected) in cases {
        assert_eq!(
            words(rights(asker, target, POLICY)),
            expected,
            "{asker:?} {target:?}"
        );
    }
}

#[test]
fn owners_and_superusers_may_do_everything_others_what_is_public() {
    assert_rights([
        (SUPERUSER, repository(false, Normal), "push pull *"),
        (SUPERUSER, missing(NAMESPACE), "pull create"),
        (SUPERUSER, Target::MissingNamespace, "pull create"),
        (user(OWNER), repository(false, Normal), "push pull *"),
        (user(OWNER), missing(NAMESPACE), "pull create"),
        (user(OTHER), repository(false, Normal), ""),
        (user(OTHER), repository(true, Normal), "pull"),
        (user(OTHER), missing(NAMESPACE), ""),
        (Asker::Anonymous, repository(false, Normal), ""),
        (Asker::Anonymous, repository(true, Normal), "pull"),
        (Asker::Anonymous, missing(NAMESPACE), ""),
        (Asker::Anonymous, Target::MissingNamespace, ""),
    ]);
}

#[test]
fn a_permission_gives_its_role_and_the_highest_counts() {
    assert_rights([
        (user(OTHER), permitted(Read), "pull"),
        (user(OTHER), permitted(Write), "push pull"),
        (user(OTHER), permitted(Admin), "push pull *"),
        (user(OWNER), permitted(Read), "push pull *"),
        (robot(), permitted(Write), "push pull"),
    ]);
}

#[test]
fn teams_make_members_creators_or_administrators() {
    use TeamRole::{Admin, Creator, Member};
    let closed = |role| in_namespace(team(role), None, Normal);
    assert_rights([
        (user(OTHER), closed(Member), ""),
        (user(OTHER), closed(Creator), ""),
        (user(OTHER), closed(Admin), "push pull *"),
        (user(OTHER), missing(team(Member)), ""),
        (user(OTHER), missing(team(Creator)), "create"),
        (user(OTHER), missing(team(Admin)), "pull create"),
        (robot(), missing(team(Creator)), "create"),
    ]);
}

#[test]
fn a_readonly_superuser_reads_everything_and_changes_nothing() {
    let reader = Asker::Account {
        id: OTHER,
        robot: false,
        full_access: false,
        reads_all: true,
        limits: None,
    };
    assert_rights([
        (reader, repository(false, Normal), "pull"),
        (reader, missing(NAMESPACE), "pull"),
        (reader, permitted(Write), "push pull"),
    ]);
}

#[test]
fn the_members_of_a_cache_pull_from_it() {
    let cache = |team_role| {
        let namespace = Namespace {
            owner: OWNER,
            team_role,
            proxy_cache: true,
        };
        in_namespace(namespace, None, Normal)
    };
    let member = cache(Some(TeamRole::Member));
    assert_rights([
        (user(OTHER), member, "pull"),
        (user(OTHER), cache(None), ""),
    ]);
    let off = Policy {
        proxy_cache: false,
        ..POLICY
    };
    assert_eq!(words(rights(user(OTHER), member, off)), "");
}

#[test]
fn what_is_not_in_its_normal_state_is_pulled_from_only() {
    for state in [ReadOnly, Mirror, OrganizationMirror] {
        for asker in [SUPERUSER, user(OWNER)] {
            assert_rights([(asker, repository(false, state), "pull")]);
        }
        assert_rights([
            (user(OTHER), repository(true, state), "pull"),
            (user(OTHER), repository(false, state), ""),
        ]);
    }
}

#[test]
fn a_mirror_takes_pushes_from_its_robot_if_that_may_write() {
    for state in [Mirror, OrganizationMirror] {
        assert_rights([
            (
                robot(),
                in_namespace(NAMESPACE, Some(Write), state),
                "push pull",
            ),
            (robot(), in_namespace(NAMESPACE, Some(Read), state), "pull"),
            (robot(), in_namespace(NAMESPACE, None, state), ""),
            (
                user(OTHER),
                in_namespace(NAMESPACE, Some(Admin), state),
                "pull",
            ),
        ]);
    }
    assert_rights([(
        robot(),
        in_namespace(NAMESPACE, Some(Write), ReadOnly),
        "pull",
    )]);
}

#[test]
fn an_oauth_token_does_what_its_scopes_name_of_what_its_user_may() {
    let owner = |to| limited(user(OWNER), to);
    let superuser = |to| limited(SUPERUSER, to);
    let closed = repository(false, Normal);
    assert_rights([
        (owner(""), closed, ""),
        (owner(""), repository(true, Normal), "pull"),
        (owner("repo:read"), closed, "pull"),
        (owner("repo:write"), closed, "push pull"),
        (owner("repo:admin"), closed, "push pull *"),
        (limited(user(OTHER), "repo:admin"), closed, ""),
        (limited(user(OTHER), "repo:admin"), permitted(Read), "pull"),
        (owner("repo:create"), missing(NAMESPACE), "create"),
        (owner("repo:read"), missing(NAMESPACE), "pull"),
        (superuser("super:user repo:read"), closed, "pull"),
        (
            owner("repo:admin repo:create"),
            Target::MissingNamespace,
            "",
        ),
        (owner("org:admin"), Target::MissingNamespace, "create"),
    ]);
}

#[test]
fn the_name_of_a_repository_that_is_being_deleted_is_not_free() {
    let target = Target::DeletedRepository {
        namespace: NAMESPACE,
    };
    assert_rights([
        (SUPERUSER, target, "pull"),
        (user(OWNER), target, "pull"),
        (user(OTHER), target, ""),
        (Asker::Anonymous, target, ""),
    ]);
}

#[test]
fn without_anonymous_access_only_accounts_pull_what_is_public() {
    let closed = Policy {
        anonymous_access: false,
        ..POLICY
    };
    let public = repository(true, Normal);
    assert_eq!(words(rights(Asker::Anonymous, public, closed)), "");
    assert_eq!(words(rights(user(OTHER), public, closed)), "pull");
}

#[test]
fn users_make_namespaces_where_pushes_may_and_robots_never() {
    assert_rights([
        (user(OTHER), Target::MissingNamespace, "create"),
        (robot(), Target::MissingNamespace, ""),
    ]);
    let policy = Policy {
        create_namespace_on_push: false,
        ..POLICY
    };
    for asker in [SUPERUSER, user(OTHER)] {
        assert_eq!(words(rights(asker, Target::MissingNamespace, policy)), "");
    }
}

#[test]
fn an_action_in_a_token_includes_the_lesser_ones() {
    use Action::{Admin, Delete, Pull, Push};
    for (granted, allowed) in [
        (Pull, &[Pull][..]),
        (Push, &[Push, Pull, Delete]),
        (Admin, &[Push, Pull, Delete, Admin]),
    ] {
        for action in [Push, Pull, Delete, Admin] {
            let level = Level::granted_by(granted);
            assert_eq!(
                level.allows(action),
                allowed.contains(&action),
                "{granted} for {action}"
            );
        }
    }
}

#[test]
fn what_changed_after_a_token_was_issued_counts() {
    use Action::{Admin, Delete, Pull, Push};
    let now = |public, state| {
        Some(Present {
            public,
            state,
            mirrors: false,
        })
    };
    let admin = Some(Level::Admin);
    for action in [Push, Delete, Admin] {
        assert!(may(admin, action, None, false, true));
        assert!(may(admin, action, now(false, Normal), false, true));
        assert!(!may(admin, action, now(false, ReadOnly), false, true));
        assert!(!may(None, action, now(true, Normal), false, true));
    }
    assert!(may(admin, Pull, now(false, ReadOnly), false, true));
    assert!(may(None, Pull, now(true, Normal), true, true));
    assert!(!may(None, Pull, now(true, Normal), true, false));
    assert!(may(None, Pull, now(true, Normal), false, false));
    assert!(!may(None, Pull, now(false, Normal), false, true));
    assert!(!may(None, Pull, None, false, true));
}

#[test]
fn a_token_to_push_is_good_in_a_mirror_for_its_robot_only() {
    use Action::{Admin, Delete, Push};
    for mirrors in [true, false] {
        let mirror = Some(Present {
            public: false,
            state: Mirror,
            mirrors,
        });
        for action in [Push, Delete] {
            assert_eq!(may(Some(Level::Push), action, mirror, false, true), mirrors);
        }
        assert!(!may(Some(Level::Admin), Admin, mirror, false, true));
    }
}
