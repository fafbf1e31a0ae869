//! Registry processes that run beside each other, with their name before each line they print.
//!
//! A region never outlives the workflow, even one that is killed: a shell beside it waits on a pipe whose other end the
//! workflow holds, and ends the region when that closes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{now, say};

/// How often regions are looked at.
const POLL: Duration = Duration::from_millis(100);

/// How long a region has for going down before it is killed.
const STOP_SECONDS: u32 = 15;

/// One running region.
#[derive(Debug)]
pub(crate) struct Region {
    name: &'static str,
    address: SocketAddr,
    process: Child,
}

impl Region {
    /// Starts a registry on `address` with the configuration in `directory`, preferring the location `preference`.
    pub(crate) fn start(
        name: &'static str,
        registry: &Path,
        directory: &Path,
        preference: &str,
        address: SocketAddr,
    ) -> Result<Self> {
        // The shell takes the first of two events: the region ends by itself, or standard input closes.
        let guard = format!(
            r#"exec 3<&0
               "$@" </dev/null & region=$!
               (read -r _ <&3; kill -TERM $region; sleep {STOP_SECONDS}; kill -KILL $region) >/dev/null 2>&1 & watch=$!
               wait $region; status=$?
               kill $watch 2>/dev/null
               exit $status"#
        );
        let mut process = Command::new("sh")
            .args(["-c", &guard, "region"])
            .arg(registry)
            .args(["serve", "--config-dir"])
            .arg(directory)
            .args(["--listen", &address.to_string()])
            .env("QUAY_DISTRIBUTED_STORAGE_PREFERENCE", preference)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start region {name}"))?;
        let (output, errors) = (process.stdout.take(), process.stderr.take());
        show(name, output.context("standard output is piped")?);
        show(name, errors.context("standard error is piped")?);
        Ok(Self {
            name,
            address,
            process,
        })
    }

    /// Returns when the region accepts connections, fails when it ends or has not done so within `limit`.
    pub(crate) fn wait_until_serving(&mut self, limit: Duration) -> Result<()> {
        let deadline = now() + limit;
        while TcpStream::connect_timeout(&self.address, POLL).is_err() {
            self.check_running()?;
            if now() > deadline {
                bail!(
                    "region {} does not accept connections after {} s",
                    self.name,
                    limit.as_secs()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn check_running(&mut self) -> Result<()> {
        let ended = self
            .process
            .try_wait()
            .context("could not wait for a region")?;
        match ended {
            None => Ok(()),
            Some(status) => bail!("region {} ended with {status}", self.name),
        }
    }

    /// Waits until one of `regions` ends, then ends the others. Always an error.
    pub(crate) fn wait_for_any(mut regions: Vec<Self>) -> Result<()> {
        loop {
            regions.iter_mut().try_for_each(Self::check_running)?;
            thread::sleep(POLL);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Closing the pipe is the signal; see the module's words.
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            say(&format!("could not wait for region {}: {error}", self.name));
        }
    }
}

/// Prints what comes out of `stream`, line by line, with the region's name.
fn show(name: &'static str, stream: impl Read + Send + 'static) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            writeln!(std::io::stdout(), "{name} | {line}").ok();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A program that takes a registry's place: notes its arguments, then waits to be ended.
    fn stand_in(directory: &Path) -> std::path::PathBuf {
        let path = directory.join("registry");
        let script = "#!/bin/sh\ntrap 'echo ended > \"$3/end\"; exit 0' TERM\n\
                      echo \"$@ $QUAY_DISTRIBUTED_STORAGE_PREFERENCE\" > \"$3/start\"\n\
                      while :; do sleep 0.1; done\n";
        fs::write(&path, script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, executable).unwrap();
        path
    }

    #[test]
    fn a_region_is_started_with_its_preference_and_ended_when_nobody_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        let program = stand_in(directory.path());
        let region = Region::start("us", &program, directory.path(), "usstorage", address).unwrap();
        let deadline = now() + Duration::from_mins(1);
        while !directory.path().join("start").exists() {
            assert!(now() < deadline, "the region has not started");
            thread::yield_now();
        }
        drop(region);
        let started = fs::read_to_string(directory.path().join("start")).unwrap();
        let expected = format!(
            "serve --config-dir {} --listen {address} usstorage\n",
            directory.path().display()
        );
        assert_eq!(started, expected);
        assert_eq!(
            fs::read_to_string(directory.path().join("end")).unwrap(),
            "ended\n"
        );
    }

    #[test]
    fn a_region_that_ends_by_itself_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        let region = Region::start(
            "eu",
            Path::new("false"),
            directory.path(),
            "eustorage",
            address,
        )
        .unwrap();
        let error = Region::wait_for_any(vec![region]).unwrap_err();
        assert_eq!(error.to_string(), "region eu ended with exit status: 1");
    }
}
