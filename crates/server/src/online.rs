//! Whether what a configuration names is there and works from here: asked all at once, each within a deadline, without changing anything but an
//! object of a few bytes at every location, which is deleted again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_config::{Config, DatabaseUri, Driver, Location as Configured, RedisServer};
use roadstead_listener::{TlsFiles, check_files};
use roadstead_metadata::{Database, MetadataError, SchemaError};
use roadstead_runtime::Environment;
use roadstead_storage::{HttpClient, Location, StorageError, StorageErrorKind, Verification};
use roadstead_telemetry::ErrorChain;
use tokio::net::TcpStream;

use crate::database::database_options;
use crate::deployment::{OpenLocal, trusting};
use crate::error::StartError;
use crate::hints::redis_options;
use crate::stores::Opening;
use crate::trust::Trust;

/// How long each part may take: what takes longer is not fit for serving, and a load balancer's patience ends there.
const DEADLINE: Duration = Duration::from_secs(10);

/// By how many seconds a store's clock may differ. Signatures are refused from some minutes on; a minute is no accident.
const SKEW_SECONDS_MAX: i64 = 60;

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The thing, such as `location eustorage from region usstorage`.
    pub subject: String,
    /// Whether it works.
    pub verdict: Verdict,
    /// What was found, and what to do if anything can be done.
    pub says: String,
}

/// Whether a thing works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It does.
    Works,
    /// The registry starts and serves all the same, and somebody should look at it.
    Worrying,
    /// It does not.
    Broken,
}

/// What was found, without the thing.
type Found = (Verdict, String);

type Check<'c> = (
    String,
    Pin<Box<dyn Future<Output = Vec<Found>> + Send + 'c>>,
);

/// Asks everything that the configuration names, from here, in the order of the configuration. Ends soon after ten seconds whatever hangs. The
/// schema need not be there.
pub async fn check_online(
    config: &Config,
    environment: &Environment,
) -> Result<Vec<Outcome>, StartError> {
    check_within(DEADLINE, config, environment).await
}

async fn check_within(
    deadline: Duration,
    config: &Config,
    environment: &Environment,
) -> Result<Vec<Outcome>, StartError> {
    let open_local: OpenLocal = Arc::new(Location::local);
    let trust = Trust::read(config.hosting.directory.as_deref());
    let http = HttpClient::new(&trust.named())?;
    let opening = Opening {
        open_local: &open_local,
        http: http.clone(),
        trust: &trust,
        environment: environment.clone(),
    };
    let region = config.storage.preference.first();
    let region = region.map_or("", String::as_str);
    let mut checks: Vec<Check<'_>> = vec![(
        "database".to_owned(),
        Box::pin(check_database(config, &trust, environment)),
    )];
    for location in &config.storage.locations {
        checks.push((
            format!("location {} from region {region}", location.name),
            Box::pin(check_location(&opening, config, location)),
        ));
        if let Some(endpoint) = endpoint(&location.driver) {
            checks.push((
                format!("clock of the store of {}", location.name),
                Box::pin(check_clock(&http, endpoint, environment)),
            ));
        }
    }
    for (index, replica) in config.database.read_replicas.iter().enumerate() {
        // A directory is that of a socket, which nothing keeps from being there.
        for server in replica
            .hosts
            .iter()
            .filter(|server| !server.host.starts_with('/'))
        {
            checks.push((
                format!("DB_READ_REPLICAS[{index}]"),
                Box::pin(async { vec![connect(&server.host, server.port).await] }),
            ));
        }
    }
    let redis = &config.redis;
    let mut seen: Vec<&RedisServer> = Vec::new();
    for (subject, server) in [
        ("Redis of health checks", &redis.checked),
        ("Redis of hints between processes", &redis.hints),
        ("Redis of user events", &redis.user_events),
    ] {
        if let Some(server) = server.as_ref().filter(|server| !seen.contains(server)) {
            seen.push(server);
            let check = check_redis(server, &trust, environment);
            checks.push((subject.to_owned(), Box::pin(check)));
        }
    }
    if config.hosting.tls.is_some() {
        let check = check_own_certificate(config, environment);
        checks.push(("ssl.cert and ssl.key".to_owned(), Box::pin(check)));
    }
    let asked = checks.into_iter().map(|(subject, check)| async move {
        let found = tokio::time::timeout(deadline, check).await;
        let found = found.unwrap_or_else(|_| {
            let seconds = deadline.as_secs();
            vec![(
                Verdict::Broken,
                format!("it did not answer within {seconds} s"),
            )]
        });
        let outcomes = found.into_iter().map(|(verdict, says)| Outcome {
            subject: subject.clone(),
            verdict,
            says,
        });
        outcomes.collect::<Vec<_>>()
    });
    Ok(join_all(asked).await.concat())
}

async fn check_database(config: &Config, trust: &Trust, environment: &Environment) -> Vec<Found> {
    if let DatabaseUri::Sqlite { path } = &config.database.uri
        && !path.exists()
    {
        // To open it would make it.
        let says = format!(
            "`{}` does not exist yet: the first start makes it",
            path.display()
        );
        return vec![(Verdict::Worrying, says)];
    }
    match look_at_database(config, trust, environment).await {
        Ok(found) => found,
        Err(error) => vec![(Verdict::Broken, ErrorChain(&error).to_string())],
    }
}

async fn look_at_database(
    config: &Config,
    trust: &Trust,
    environment: &Environment,
) -> Result<Vec<Found>, MetadataError> {
    let database = Database::open(&trusting(database_options(&config.database), trust)).await?;
    let warnings = database.check_server(environment.clock.as_ref()).await?;
    let mut found: Vec<Found> = warnings
        .into_iter()
        .map(|warning| (Verdict::Worrying, warning.to_string()))
        .collect();
    match database.check_schema().await {
        Ok(()) => found.push((
            Verdict::Works,
            "it answers, and its schema is this version's".to_owned(),
        )),
        Err(MetadataError::Schema(SchemaError::TooOld)) => found.push((
            Verdict::Works,
            "it answers; its schema is not this version's yet: the first start of `registry` brings it up to date".to_owned(),
        )),
        Err(error) => return Err(error),
    }
    database.close().await;
    Ok(found)
}

async fn check_location(
    opening: &Opening<'_>,
    config: &Config,
    configured: &Configured,
) -> Vec<Found> {
    if let Driver::LocalStorage(local) = &configured.driver
        && !local.storage_path.exists()
    {
        let says = format!(
            "`{}` does not exist: the very first start makes it; later it is a disk that is not there",
            local.storage_path.display()
        );
        return vec![(Verdict::Worrying, says)];
    }
    let location = match opening.open(&config.storage, configured) {
        Ok(location) => location,
        Err(error) => return vec![(Verdict::Broken, ErrorChain(&error).to_string())],
    };
    let tried = location.try_out(opening.environment.ids.uuid()).await;
    vec![match tried {
        Ok(Verification::Intact { .. }) => (
            Verdict::Works,
            "an object was written, read back and deleted".to_owned(),
        ),
        Ok(Verification::Missing) => (
            Verdict::Broken,
            "it took an object and did not give it back, or kept it when it was deleted".to_owned(),
        ),
        Ok(Verification::Damaged { .. }) => (
            Verdict::Broken,
            "it took an object and gave back other bytes".to_owned(),
        ),
        Err(error) => (Verdict::Broken, with_advice(&error)),
    }]
}

/// The error with what to look at first.
fn with_advice(error: &StorageError) -> String {
    let advice = match error.kind() {
        StorageErrorKind::Denied => {
            "; check the keys, and that they may list, read, write and delete"
        }
        StorageErrorKind::NotFound => "; check the name of the bucket or container: none is made",
        _ => "",
    };
    format!("{}{advice}", ErrorChain(error))
}

/// Where the store of a driver answers, if over HTTP.
fn endpoint(driver: &Driver) -> Option<String> {
    match driver {
        Driver::LocalStorage(_) => None,
        Driver::AzureStorage(azure) => Some(azure.endpoint.to_string()),
        Driver::SwiftStorage(swift) => Some(swift.auth_url.to_string()),
        _ => driver.s3().map(|store| store.endpoint.to_string()),
    }
}

async fn check_clock(http: &HttpClient, endpoint: String, environment: &Environment) -> Vec<Found> {
    let before = environment.now();
    let Some(there) = http.time_at(&endpoint, DEADLINE).await else {
        // Whether it answers at all is said of the location.
        return Vec::new();
    };
    let after = environment.now();
    let ahead = if there > after {
        (there - after).num_seconds()
    } else {
        // It tells whole seconds, cut off.
        (there - before).num_seconds().min(0)
    };
    vec![if ahead.abs() <= SKEW_SECONDS_MAX {
        (Verdict::Works, "it goes as ours does".to_owned())
    } else {
        let than = if ahead > 0 { "ahead of" } else { "behind" };
        let says = format!(
            "it is {} s {than} ours: set the clocks of both by NTP, signatures are refused otherwise",
            ahead.abs()
        );
        (Verdict::Worrying, says)
    }]
}

/// Whether it answers and keeps a key. Redis alone never keeps a registry from serving.
async fn check_redis(server: &RedisServer, trust: &Trust, environment: &Environment) -> Vec<Found> {
    let options = redis_options(server, trust);
    vec![match roadstead_redis::check(&options, environment).await {
        Ok(()) => (Verdict::Works, format!("{} answers", options.servers)),
        Err(error) => (Verdict::Worrying, ErrorChain(&error).to_string()),
    }]
}

/// Whether a server listens there that a registry can do without.
async fn connect(host: &str, port: u16) -> Found {
    match TcpStream::connect((host, port)).await {
        Ok(_) => (Verdict::Works, format!("{host}:{port} accepts connections")),
        Err(error) => (
            Verdict::Worrying,
            format!("could not connect to {host}:{port}: {error}"),
        ),
    }
}

/// Whether clients will take the certificate.
async fn check_own_certificate(config: &Config, environment: &Environment) -> Vec<Found> {
    let Some(tls) = &config.hosting.tls else {
        return Vec::new();
    };
    let files = TlsFiles {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
    };
    let hostname = config.hosting.server_hostname.as_deref();
    let problems = check_files(&files, hostname, environment.now()).await;
    if problems.is_empty() {
        let says = "they fit each other and SERVER_HOSTNAME, and hold for more than a month";
        return vec![(Verdict::Works, says.to_owned())];
    }
    let problems = problems.into_iter().map(|problem| {
        let verdict = if problem.is_fatal() {
            Verdict::Broken
        } else {
            Verdict::Worrying
        };
        (verdict, problem.to_string())
    });
    problems.collect()
}

#[cfg(test)]
mod tests;
