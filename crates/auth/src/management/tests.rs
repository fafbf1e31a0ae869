//! Who meets which need: the whole table, by columns of callers.

use roadstead_metadata::{RepositoryId, RepositoryState};

use super::*;

const ASKER: UserId = UserId(7);
const OWNER: UserId = UserId(1);

/// Somebody with a password who stands nowhere in particular.
fn person() -> Manager {
    Manager {
        id: ASKER,
        superuser: false,
        full_access: false,
        reads_all: false,
        restricted: false,
        makes_organizations: true,
        reach: Reach::of(&Proof::Password),
    }
}

fn by_oauth(scopes: &str, manager: Manager) -> Manager {
    let proof = Proof::OauthToken {
        uuid: String::new(),
        scopes: OauthScopes::parse(scopes),
    };
    Manager {
        reach: Reach::of(&proof),
        ..manager
    }
}

fn standing() -> PathStanding {
    PathStanding {
        namespace: Some(NamespaceStanding {
            id: OWNER,
            enabled: true,
            proxy_cache: false,
            team_role: None,
        }),
        repository: Some(RepositoryStanding {
            id: RepositoryId(3),
            public: false,
            state: Some(RepositoryState::Normal),
            holds_images: true,
            role: None,
            mirror_robot: None,
        }),
    }
}

fn in_team(role: TeamRole) -> PathStanding {
    let mut standing = standing();
    if let Some(namespace) = &mut standing.namespace {
        namespace.team_role = Some(role);
    }
    standing
}

fn with_role(role: RepositoryRole) -> PathStanding {
    let mut standing = standing();
    if let Some(repository) = &mut standing.repository {
        repository.role = Some(role);
    }
    standing
}

fn public() -> PathStanding {
    let mut standing = standing();
    if let Some(repository) = &mut standing.repository {
        repository.public = true;
    }
    standing
}

#[test]
fn every_caller_meets_the_needs_of_the_table_and_no_other() {
    use Need::{
        Account, NamespaceAdmin, NamespaceCreate, NamespaceInspect, NamespaceMember,
        NewOrganization, Nothing, OwnAccount, RepositoryAdmin, RepositoryInspect, RepositoryRead,
        RepositoryWrite, Superuser, SuperuserRead,
    };
    let with_account = [Nothing, Account, OwnAccount, NewOrganization];
    let all_of_namespace = [
        NamespaceMember,
        NamespaceCreate,
        NamespaceInspect,
        NamespaceAdmin,
        RepositoryRead,
        RepositoryWrite,
        RepositoryInspect,
        RepositoryAdmin,
    ];
    let owner = Manager {
        id: OWNER,
        ..person()
    };
    let superuser = Manager {
        superuser: true,
        ..person()
    };
    let full = Manager {
        full_access: true,
        ..superuser
    };
    let reader = Manager {
        reads_all: true,
        ..person()
    };
    let restricted = Manager {
        restricted: true,
        makes_organizations: false,
        ..owner
    };
    let robot = Manager {
        reach: Reach::of(&Proof::Robot { credential: None }),
        ..person()
    };
    let cases: Vec<(&str, Option<Manager>, PathStanding, Vec<Need>)> = vec![
        ("nobody", None, standing(), vec![Nothing]),
        (
            "nobody, public",
            None,
            public(),
            vec![Nothing, RepositoryRead],
        ),
        ("a person", Some(person()), standing(), with_account.into()),
        (
            "a person, public",
            Some(person()),
            public(),
            [&with_account[..], &[RepositoryRead]].concat(),
        ),
        (
            "a person, nothing there",
            Some(person()),
            PathStanding::default(),
            with_account.into(),
        ),
        (
            "a member",
            Some(person()),
            in_team(TeamRole::Member),
            [&with_account[..], &[NamespaceMember]].concat(),
        ),
        (
            "a creator",
            Some(person()),
            in_team(TeamRole::Creator),
            [&with_account[..], &[NamespaceMember, NamespaceCreate]].concat(),
        ),
        (
            "a team's administrator",
            Some(person()),
            in_team(TeamRole::Admin),
            [&with_account[..], &all_of_namespace].concat(),
        ),
        (
            "the owner",
            Some(owner),
            standing(),
            [&with_account[..], &all_of_namespace].concat(),
        ),
        (
            "a restricted owner",
            Some(restricted),
            standing(),
            [&with_account[..], &all_of_namespace]
                .concat()
                .into_iter()
                .filter(|need| ![NewOrganization, NamespaceCreate].contains(need))
                .collect(),
        ),
        (
            "a reader",
            Some(person()),
            with_role(RepositoryRole::Read),
            [&with_account[..], &[RepositoryRead]].concat(),
        ),
        (
            "a writer",
            Some(person()),
            with_role(RepositoryRole::Write),
            [&with_account[..], &[RepositoryRead, RepositoryWrite]].concat(),
        ),
        (
            "an administrator",
            Some(person()),
            with_role(RepositoryRole::Admin),
            [
                &with_account[..],
                &[
                    RepositoryRead,
                    RepositoryWrite,
                    RepositoryInspect,
                    RepositoryAdmin,
                ],
            ]
            .concat(),
        ),
        (
            "a superuser",
            Some(superuser),
            standing(),
            [&with_account[..], &[SuperuserRead, Superuser]].concat(),
        ),
        (
            "a superuser with full access",
            Some(full),
            standing(),
            Need::ALL.into(),
        ),
        (
            "a superuser with full access, nothing there",
            Some(full),
            PathStanding::default(),
            Need::ALL.into(),
        ),
        (
            "a read-only superuser",
            Some(reader),
            standing(),
            [
                &with_account[..],
                &[
                    NamespaceMember,
                    NamespaceInspect,
                    RepositoryRead,
                    RepositoryInspect,
                    SuperuserRead,
                ],
            ]
            .concat(),
        ),
        (
            "a robot in an admin team",
            Some(robot),
            in_team(TeamRole::Admin),
            vec![
                Nothing,
                Account,
                NamespaceMember,
                NamespaceCreate,
                RepositoryRead,
                RepositoryWrite,
                RepositoryInspect,
                RepositoryAdmin,
            ],
        ),
        (
            "the owner's token that reads repositories",
            Some(by_oauth("repo:read", owner)),
            standing(),
            vec![Nothing, RepositoryRead],
        ),
        (
            "the owner's token that makes repositories",
            Some(by_oauth("repo:create user:read", owner)),
            standing(),
            vec![Nothing, Account, NamespaceMember, NamespaceCreate],
        ),
        (
            "the owner's token that administers organisations",
            Some(by_oauth("org:admin", owner)),
            standing(),
            vec![
                Nothing,
                Account,
                NewOrganization,
                NamespaceMember,
                NamespaceCreate,
                NamespaceInspect,
                NamespaceAdmin,
            ],
        ),
        (
            "the owner's token that administers the account",
            Some(by_oauth("user:admin", owner)),
            standing(),
            vec![Nothing, Account, OwnAccount, NamespaceMember],
        ),
        (
            "a token without scopes, public",
            Some(by_oauth("", person())),
            public(),
            vec![Nothing],
        ),
    ];
    for (who, manager, standing, expected) in cases {
        let met: Vec<Need> = Need::ALL
            .into_iter()
            .filter(|need| allows(manager, *need, &standing, true))
            .collect();
        let expected: Vec<Need> = Need::ALL
            .into_iter()
            .filter(|need| expected.contains(need))
            .collect();
        assert_eq!(met, expected, "{who}");
    }
}

#[test]
fn a_disabled_namespace_is_closed_to_all_but_superusers_with_full_access() {
    let mut closed = in_team(TeamRole::Admin);
    if let Some(namespace) = &mut closed.namespace {
        namespace.enabled = false;
    }
    let full = Manager {
        full_access: true,
        superuser: true,
        ..person()
    };
    assert!(!allows(Some(person()), Need::NamespaceAdmin, &closed, true));
    assert!(!allows(Some(person()), Need::RepositoryRead, &closed, true));
    assert!(allows(Some(full), Need::NamespaceAdmin, &closed, true));
    let mut open = public();
    if let Some(namespace) = &mut open.namespace {
        namespace.enabled = false;
    }
    assert!(!allows(None, Need::RepositoryRead, &open, true));
}

#[test]
fn nobody_reads_public_repositories_where_anonymous_access_is_off() {
    assert!(!allows(None, Need::RepositoryRead, &public(), false));
    assert!(allows(
        Some(person()),
        Need::RepositoryRead,
        &public(),
        false
    ));
}
