//! The database of a configuration, in the metadata crate's words.

use roadstead_config as config;
use roadstead_metadata::{
    DatabaseOptions, PostgresHost, PostgresOptions, PostgresTls, SslMode, TargetSessionAttrs,
};

/// What the configuration says about its database, as the metadata crate wants it.
pub fn database_options(database: &config::Database) -> DatabaseOptions {
    match &database.uri {
        config::DatabaseUri::Sqlite { path } => DatabaseOptions::Sqlite { path: path.clone() },
        config::DatabaseUri::Postgres(primary) => DatabaseOptions::Postgres(PostgresOptions {
            replicas: database.read_replicas.iter().map(postgres).collect(),
            ..postgres(primary)
        }),
    }
}

fn postgres(from: &config::Postgres) -> PostgresOptions {
    let hosts = from
        .hosts
        .iter()
        .map(|server| PostgresHost {
            host: server.host.clone(),
            port: server.port,
        })
        .collect();
    let defaults = PostgresOptions::new(hosts, &from.database, &from.username);
    PostgresOptions {
        target_session_attrs: match from.target {
            config::TargetServer::Any => TargetSessionAttrs::Any,
            config::TargetServer::ReadWrite => TargetSessionAttrs::ReadWrite,
            config::TargetServer::ReadOnly => TargetSessionAttrs::ReadOnly,
            config::TargetServer::Primary => TargetSessionAttrs::Primary,
            config::TargetServer::Standby => TargetSessionAttrs::Standby,
            config::TargetServer::PreferStandby => TargetSessionAttrs::PreferStandby,
        },
        password: from
            .password
            .as_ref()
            .map(|password| password.expose().clone()),
        tls: PostgresTls {
            mode: match from.tls.mode {
                config::SslMode::Disable => SslMode::Disable,
                config::SslMode::Prefer => SslMode::Prefer,
                config::SslMode::Require => SslMode::Require,
                config::SslMode::VerifyCa => SslMode::VerifyCa,
                config::SslMode::VerifyFull => SslMode::VerifyFull,
            },
            root_certificate: from.tls.root_certificate.clone(),
            authorities: String::new(),
            certificate: from.tls.certificate.clone(),
            key: from.tls.key.clone(),
        },
        connect_timeout: from.connect_timeout,
        connections: from.pool.connections,
        acquire_timeout: from.pool.wait.unwrap_or(defaults.acquire_timeout),
        connection_age_max: from.pool.lifetime,
        application_name: from
            .application_name
            .clone()
            .unwrap_or(defaults.application_name.clone()),
        settings: from.settings.clone(),
        ..defaults
    }
}
