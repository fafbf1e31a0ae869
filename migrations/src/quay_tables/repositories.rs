//! Repositories, the rights on them and what is known about each.

use crate::schema::{
    ID, Table, Usage, big_integer, boolean, date, index, integer, refers, text, timestamp,
    trigrams, unique, varchar,
};

/// In an order in which every table comes after those it refers to.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "repository",
        usage: Usage::Written,
        id: ID,
        columns: &[
            integer("namespace_user_id").nullable(),
            varchar("name"),
            integer("visibility_id"),
            text("description").nullable(),
            varchar("badge_token"),
            integer("kind_id").or_integer(1),
            boolean("trust_enabled").or_boolean(false),
            integer("state").or_integer(0),
        ],
        indexes: &[
            unique(&["namespace_user_id", "name"]),
            trigrams(&["description"]),
            index(&["kind_id"]),
            trigrams(&["name"]),
            index(&["namespace_user_id"]),
            index(&["state"]),
            index(&["visibility_id"]),
        ],
        references: &[
            refers("kind_id", "repositorykind"),
            refers("namespace_user_id", "user"),
            refers("visibility_id", "visibility"),
        ],
    },
    Table {
        name: "repositorypermission",
        usage: Usage::Written,
        id: ID,
        columns: &[
            integer("team_id").nullable(),
            integer("user_id").nullable(),
            integer("repository_id"),
            integer("role_id"),
        ],
        indexes: &[
            unique(&["team_id", "repository_id"]),
            unique(&["user_id", "repository_id"]),
            index(&["repository_id"]),
            index(&["role_id"]),
            index(&["team_id"]),
            index(&["user_id"]),
        ],
        references: &[
            refers("repository_id", "repository"),
            refers("role_id", "role"),
            refers("team_id", "team"),
            refers("user_id", "user"),
        ],
    },
    Table {
        name: "deletedrepository",
        usage: Usage::Written,
        id: ID,
        columns: &[
            integer("repository_id"),
            timestamp("marked"),
            varchar("original_name"),
            varchar("queue_id").nullable(),
        ],
        indexes: &[
            unique(&["repository_id"]),
            index(&["original_name"]),
            index(&["queue_id"]),
        ],
        references: &[refers("repository_id", "repository")],
    },
    Table {
        name: "accesstoken",
        usage: Usage::Emptied,
        id: ID,
        columns: &[
            varchar("friendly_name").nullable(),
            integer("repository_id"),
            timestamp("created"),
            integer("role_id"),
            boolean("temporary"),
            integer("kind_id").nullable(),
            varchar("token_code"),
            varchar("token_name"),
        ],
        indexes: &[
            unique(&["token_name"]),
            index(&["kind_id"]),
            index(&["repository_id"]),
            index(&["role_id"]),
        ],
        references: &[
            refers("kind_id", "accesstokenkind"),
            refers("repository_id", "repository"),
            refers("role_id", "role"),
        ],
    },
    Table {
        name: "star",
        usage: Usage::Read,
        id: ID,
        columns: &[
            integer("user_id"),
            integer("repository_id"),
            timestamp("created"),
        ],
        indexes: &[
            unique(&["user_id", "repository_id"]),
            index(&["repository_id"]),
            index(&["user_id"]),
        ],
        references: &[
            refers("repository_id", "repository"),
            refers("user_id", "user"),
        ],
    },
    Table {
        name: "repositoryactioncount",
        usage: Usage::Written,
        id: ID,
        columns: &[integer("repository_id"), integer("count"), date("date")],
        indexes: &[
            unique(&["repository_id", "date"]),
            index(&["date"]),
            index(&["repository_id"]),
        ],
        references: &[refers("repository_id", "repository")],
    },
    Table {
        name: "repositorysearchscore",
        usage: Usage::Written,
        id: ID,
        columns: &[
            integer("repository_id"),
            big_integer("score"),
            timestamp("last_updated").nullable(),
        ],
        indexes: &[unique(&["repository_id"]), index(&["score"])],
        references: &[refers("repository_id", "repository")],
    },
    Table {
        name: "repositoryauthorizedemail",
        usage: Usage::Emptied,
        id: ID,
        columns: &[
            integer("repository_id"),
            varchar("email"),
            varchar("code"),
            boolean("confirmed"),
        ],
        indexes: &[
            unique(&["code"]),
            unique(&["email", "repository_id"]),
            index(&["repository_id"]),
        ],
        references: &[refers("repository_id", "repository")],
    },
];
