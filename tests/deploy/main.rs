//! What is shipped in `deploy/`, run as its users run it.
//!
//! (The modules are marked as tests for the linter's sake, which lets tests unwrap.)

#[cfg(test)]
mod balancers;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod debian;
#[cfg(test)]
mod image;
#[cfg(test)]
mod podman;

/// Whoever builds images or counts failed requests takes it: they share the processors.
#[cfg(test)]
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The directory of the programs that are shipped.
#[cfg(test)]
fn shipped_programs() -> std::path::PathBuf {
    let registry = roadstead_testkit::binary("registry");
    for program in ["replicator", "admin"] {
        assert_eq!(
            roadstead_testkit::binary(program).parent(),
            registry.parent()
        );
    }
    registry.parent().unwrap().to_owned()
}

/// A file or directory of `deploy/`.
#[cfg(test)]
fn shipped(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}
