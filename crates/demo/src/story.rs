//! What happens in the demo, in its order, and how it is told.
#![expect(
    clippy::print_stdout,
    reason = "the demo speaks to the person at the terminal"
)]

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use roadstead_client::{Client, ClientError, Credentials, RequestBody};
use roadstead_config::env::{Environment as Variables, QUAY_DISTRIBUTED_STORAGE_PREFERENCE};
use roadstead_config::{ConfigErrors, Source, load};
use roadstead_oci::{Reference, RepositoryName};
use roadstead_replication::{StatusError, StatusOptions, StatusReport};
use roadstead_runtime::{Environment, Timestamp};
use roadstead_server::{Running, Settings, StartError};
use tempfile::TempDir;

use crate::image::{Image, Piece};

/// The regions: the name that the story gives each, and the location that it prefers.
const REGIONS: [(&str, &str); 2] = [("us", "usstorage"), ("eu", "eustorage")];

const REPOSITORY: &str = "demo/app";
const TAG: &str = "1.0";

/// How often the progress is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How long the copying may take before the demo gives up: far longer than any machine needs for some 40 MB.
const PATIENCE: Duration = Duration::from_secs(90);

/// How to run the demo.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Where to keep the data; none: in a temporary directory that goes with the demo.
    pub data_dir: Option<PathBuf>,
}

/// Why the demo broke off.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Its files could not be moved about.
    #[error("the demo could not {action} `{}`", path.display())]
    Files {
        /// What it tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Its configuration was refused.
    #[error("the demo's configuration cannot be used:\n{0}")]
    Configuration(ConfigErrors),
    /// A region did not start.
    #[error("a region did not start")]
    Start(#[from] StartError),
    /// A request failed.
    #[error("could not {action}")]
    Request {
        /// What was tried.
        action: &'static str,
        /// What the region answered.
        #[source]
        source: ClientError,
    },
    /// The state of the replication could not be read.
    #[error("could not read the state of the replication")]
    Status(#[from] StatusError),
    /// The directory is that of an earlier run.
    #[error("`{}` has been used before: choose an empty directory with --data-dir", path.display())]
    Used {
        /// The directory.
        path: PathBuf,
    },
    /// The copies did not arrive in time.
    #[error("the second region still lacks {blobs} blobs after {} seconds", PATIENCE.as_secs())]
    TooSlow {
        /// How many.
        blobs: u64,
    },
}

/// The demo after its story: both regions still serve.
#[derive(Debug)]
pub struct Demo {
    regions: Vec<Running>,
    password: String,
    /// Goes with the demo.
    _directory: Option<TempDir>,
}

impl Demo {
    /// Tells how to go on with the two regions.
    pub fn announce(&self) {
        let [us, eu] = [0, 1].map(|region| self.regions[region].address);
        println!("\nBoth regions go on serving until you press Ctrl-C. Try:");
        println!(
            "  skopeo inspect --tls-verify=false --creds admin:{} docker://{eu}/{REPOSITORY}:{TAG}",
            self.password
        );
        println!(
            "  podman login --tls-verify=false -u admin -p {} {us}",
            self.password
        );
    }

    /// Ends both regions. What the demo kept in a temporary directory goes with it.
    pub async fn stop(self) {
        for region in self.regions {
            region.stop().await;
        }
    }
}

/// Runs the demo to the end of its story.
pub async fn run(options: DemoOptions) -> Result<Demo, DemoError> {
    let environment = Environment::system();
    let begun = environment.now();
    let (data_dir, directory) = data_directory(options)?;

    println!("Roadstead: one registry, two regions, each with a store of its own.\n");
    let mut regions = Vec::new();
    for (name, location) in REGIONS {
        let region = start_region(&data_dir, location, &environment).await?;
        println!(
            "  region {name}: http://{}, prefers {location}",
            region.address
        );
        regions.push(region);
    }
    let password = regions[0]
        .first_account
        .as_ref()
        .map(|account| account.password.expose().to_owned())
        .ok_or_else(|| DemoError::Used {
            path: data_dir.clone(),
        })?;
    let clients = regions
        .iter()
        .map(|region| {
            Client::new(
                &format!("http://{}", region.address),
                Some(Credentials::new("admin", &password)),
            )
            .map_err(|source| DemoError::Request {
                action: "address a region",
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (us, eu) = (&clients[0], &clients[1]);

    let image = Image::make(environment.ids.as_ref());
    println!(
        "\n1. Pushing {REPOSITORY}:{TAG} through region us: {} platforms, {} blobs, {}",
        image.manifests.len(),
        image.blobs.len(),
        megabytes(image.size())
    );
    let started = environment.now();
    push(us, &image).await?;
    let pushed = since(&environment, started);
    println!(
        "   acknowledged after {}: every byte is on the disk of usstorage",
        seconds(pushed)
    );

    println!("\n2. Copying to eustorage in the background");
    let copied = watch_copies(&regions[1], &environment, started).await?;
    println!("   complete: every copy was read back and hashed before it was recorded");

    let store = data_dir.join(REGIONS[0].1);
    let away = data_dir.join("usstorage.unreachable");
    println!("\n3. The store of region us fails (its directory is moved away)");
    rename(&store, &away)?;
    let report = status(&regions[0], true).await?;
    for location in report
        .locations
        .iter()
        .filter(|location| !location.unreadable.is_none())
    {
        println!(
            "   replication status: {} cannot be read, {} blobs are served from elsewhere",
            location.location, location.unreadable.blobs
        );
    }

    println!("\n4. Pulling everything, byte for byte");
    let mut pulled = 0;
    for ((name, _), client) in REGIONS.iter().zip(&clients).rev() {
        let started = environment.now();
        let bytes = pull(client, &image).await?;
        pulled += bytes;
        println!(
            "   through region {name}: {} in {}, every digest is right{}",
            megabytes(bytes),
            seconds(since(&environment, started)),
            if *name == "us" {
                " (its own store is still gone)"
            } else {
                ""
            }
        );
    }

    println!("\n5. The store of region us comes back");
    rename(&away, &store)?;
    let report = status(&regions[0], true).await?;
    println!(
        "   replication status: {}",
        if report.complete {
            "complete, nothing was lost"
        } else {
            "not complete"
        }
    );
    pull(eu, &image).await?;

    println!("\nSummary");
    println!(
        "  pushed      {} in {}",
        megabytes(image.size()),
        seconds(pushed)
    );
    println!(
        "  replicated  {} blobs, complete {} after the push began",
        image.blobs.len(),
        seconds(copied)
    );
    println!(
        "  pulled      {} with the store of region us gone, 0 failed requests, 0 wrong bytes",
        megabytes(pulled)
    );
    for location in &report.locations {
        println!(
            "  {:<11} {} blobs, {}, {} missing",
            location.location.as_str(),
            location.present.blobs,
            megabytes(location.present.bytes),
            location.missing.blobs
        );
    }
    println!("  the demo took {}", seconds(since(&environment, begun)));
    Ok(Demo {
        regions,
        password,
        _directory: directory,
    })
}

fn data_directory(options: DemoOptions) -> Result<(PathBuf, Option<TempDir>), DemoError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| DemoError::Files {
            action,
            path,
            source,
        }
    };
    if let Some(path) = options.data_dir {
        std::fs::create_dir_all(&path).map_err(failed("make the directory", &path))?;
        return Ok((path, None));
    }
    let directory = tempfile::Builder::new()
        .prefix("roadstead-demo-")
        .tempdir()
        .map_err(failed(
            "make a temporary directory in",
            &std::env::temp_dir(),
        ))?;
    Ok((directory.path().to_owned(), Some(directory)))
}

async fn start_region(
    data_dir: &Path,
    location: &str,
    environment: &Environment,
) -> Result<Running, DemoError> {
    let variables: Variables = [(QUAY_DISTRIBUTED_STORAGE_PREFERENCE, location)]
        .into_iter()
        .collect();
    let source = Source::Standalone {
        data_dir: data_dir.to_owned(),
    };
    let loaded = load(&source, &variables).map_err(DemoError::Configuration)?;
    let settings = Settings {
        environment: environment.clone(),
        ..Settings::new(loaded.config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    };
    Ok(Box::pin(Running::start(settings)).await?)
}

async fn push(client: &Client, image: &Image) -> Result<(), DemoError> {
    let repository = repository();
    let failed = |action| move |source| DemoError::Request { action, source };
    for blob in &image.blobs {
        client
            .push_blob(
                &repository,
                &blob.digest,
                RequestBody::bytes(blob.bytes.clone()),
            )
            .await
            .map_err(failed("push a blob"))?;
    }
    for manifest in &image.manifests {
        put(
            client,
            manifest,
            &Reference::Digest(manifest.digest.clone()),
        )
        .await?;
    }
    put(client, &image.index, &tag()).await
}

async fn put(client: &Client, manifest: &Piece, reference: &Reference) -> Result<(), DemoError> {
    client
        .put_manifest(
            &repository(),
            reference,
            &manifest.media_type,
            manifest.bytes.clone(),
        )
        .await
        .map(|_| ())
        .map_err(|source| DemoError::Request {
            action: "push a manifest",
            source,
        })
}

/// Pulls the index by its tag and everything under it by digest; the client hashes what it gets. Returns the bytes.
async fn pull(client: &Client, image: &Image) -> Result<u64, DemoError> {
    let repository = repository();
    let failed = |action| move |source| DemoError::Request { action, source };
    let mut bytes = 0;
    let references = image
        .manifests
        .iter()
        .map(|manifest| Reference::Digest(manifest.digest.clone()))
        .chain([tag()]);
    for reference in references {
        let manifest = client
            .get_manifest(&repository, &reference)
            .await
            .map_err(failed("pull a manifest"))?;
        bytes += manifest.bytes.len() as u64;
    }
    for blob in &image.blobs {
        let stream = client
            .pull_verified(&repository, &blob.digest)
            .await
            .map_err(failed("pull a blob"))?;
        bytes += stream.drain().await.map_err(failed("pull a blob"))?;
    }
    Ok(bytes)
}

/// Draws what each location holds until nothing is missing. Returns how long that was after `started`.
async fn watch_copies(
    region: &Running,
    environment: &Environment,
    started: Timestamp,
) -> Result<Duration, DemoError> {
    let terminal = std::io::stdout().is_terminal();
    let bars = MultiProgress::with_draw_target(if terminal {
        ProgressDrawTarget::stdout()
    } else {
        ProgressDrawTarget::hidden()
    });
    let style =
        ProgressStyle::with_template("   {prefix:10} [{bar:40}] {bytes:>10} of {total_bytes}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
    let lines: Vec<ProgressBar> = REGIONS
        .iter()
        .map(|(_, location)| {
            bars.add(
                ProgressBar::new(0)
                    .with_style(style.clone())
                    .with_prefix(*location),
            )
        })
        .collect();
    let mut told = [u64::MAX; REGIONS.len()];
    loop {
        let report = status(region, false).await?;
        for (line, ((_, name), told)) in lines.iter().zip(REGIONS.iter().zip(&mut told)) {
            let Some(location) = report
                .locations
                .iter()
                .find(|location| location.location.as_str() == *name)
            else {
                continue;
            };
            line.set_length(location.present.bytes + location.missing.bytes);
            line.set_position(location.present.bytes);
            // Without a terminal to draw on, every change is a line.
            if !terminal && *told != location.present.blobs {
                *told = location.present.blobs;
                println!(
                    "   {name:<10} {} blobs, {} missing",
                    location.present.blobs, location.missing.blobs
                );
            }
        }
        if report.complete {
            for line in &lines {
                line.finish();
            }
            return Ok(since(environment, started));
        }
        if since(environment, started) > PATIENCE {
            let blobs = report
                .locations
                .iter()
                .map(|location| location.missing.blobs)
                .sum();
            return Err(DemoError::TooSlow { blobs });
        }
        environment.clock.sleep(FRAME).await;
    }
}

async fn status(region: &Running, store_check: bool) -> Result<StatusReport, DemoError> {
    Ok(region
        .replication
        .status(StatusOptions { store_check })
        .await?)
}

fn rename(from: &Path, to: &Path) -> Result<(), DemoError> {
    std::fs::rename(from, to).map_err(|source| DemoError::Files {
        action: "move",
        path: from.to_owned(),
        source,
    })
}

fn repository() -> RepositoryName {
    REPOSITORY
        .parse()
        .expect("the demo's repository has a good name")
}

fn tag() -> Reference {
    TAG.parse().expect("the demo's tag is one")
}

fn since(environment: &Environment, started: Timestamp) -> Duration {
    (environment.now() - started).to_std().unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}
