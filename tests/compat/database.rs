//! A PostgreSQL database of a test: made from a template or empty, asked with psql.

use roadstead_test_servers::{Postgres, PostgresDatabase};
use serde_json::Value;

/// The role that Quay's dump names as the owner of everything. It is no superuser, as in a deployment.
const OWNER: &str = "quay";

/// `pg_temp.parsed(text)`: the text as JSON, or nothing when it is none, which PostgreSQL before 16 cannot ask without an error.
const PARSED: &str = "CREATE FUNCTION pg_temp.parsed(body text) RETURNS jsonb LANGUAGE plpgsql AS
    $$ BEGIN RETURN body::jsonb; EXCEPTION WHEN others THEN RETURN NULL; END $$;";

/// A database of the cluster that the tests of this process share.
#[derive(Clone, Debug)]
pub(crate) struct TestDatabase {
    administration: PostgresDatabase,
}

impl TestDatabase {
    /// An empty one, which Quay's role owns.
    pub(crate) fn empty() -> Self {
        let administration = Postgres::shared().database();
        administration.ensure_role(OWNER);
        let database = Self { administration };
        database.give_to_owner();
        database
    }

    /// A copy, under a name of its own. Nobody may be connected to the original.
    pub(crate) fn copy(&self, name: &str) -> Self {
        let server = Postgres::shared().administration();
        server.psql(&format!(
            "CREATE DATABASE {name} TEMPLATE {}",
            self.administration.name
        ));
        let copy = Self {
            administration: PostgresDatabase {
                name: name.to_owned(),
                ..self.administration.clone()
            },
        };
        copy.give_to_owner();
        copy
    }

    fn give_to_owner(&self) {
        let name = &self.administration.name;
        self.run(&format!("ALTER DATABASE {name} OWNER TO {OWNER}"));
    }

    /// As a registry's `DB_URI` has it: as the owner.
    pub(crate) fn uri(&self) -> String {
        self.administration.as_role(OWNER).uri()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.administration.name
    }

    /// Runs a dump.
    pub(crate) fn restore(&self, dump: &std::path::Path) {
        self.administration.restore(dump);
    }

    /// Runs statements, as the superuser.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        self.administration.psql(sql);
    }

    /// The rows of a query, each as a JSON object.
    #[track_caller]
    pub(crate) fn rows(&self, query: &str) -> Vec<Value> {
        let sql = format!("SELECT coalesce(json_agg(r), '[]') FROM ({query}) AS r");
        let text = self.administration.psql(&sql);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{sql}`: {error}: {text}"))
    }

    /// The only column of a query, as text. The query may call `pg_temp.parsed(text)`, which gives JSON or nothing.
    #[track_caller]
    pub(crate) fn texts(&self, query: &str) -> Vec<String> {
        let sql =
            format!("{PARSED} SELECT coalesce(json_agg(r.text), '[]') FROM ({query}) AS r(text)");
        let text = self.administration.psql(&sql);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{sql}`: {error}: {text}"))
    }

    /// The only value of a query.
    #[track_caller]
    pub(crate) fn value(&self, query: &str) -> String {
        self.administration.psql(query)
    }

    /// The only value of a query, which is a number.
    #[track_caller]
    pub(crate) fn number(&self, query: &str) -> i64 {
        let text = self.value(query);
        text.parse()
            .unwrap_or_else(|error| panic!("`{query}`: {error}: {text}"))
    }
}
