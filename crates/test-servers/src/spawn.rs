//! Child processes that end with this process, and leave no files behind.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// Runs the program as `user` (this process's own when it is not root) with its output in `directory/log`, and removes `directory` after it.
///
/// The kernel ends it when the thread that started it ends, so a thread is kept for nothing else.
pub(crate) fn spawn<I>(
    program: &Path,
    arguments: I,
    user: Option<&str>,
    directory: &Path,
) -> io::Result<Child>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new("setpriv");
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command
        .args(["--pdeathsig", "TERM", "sh", "-c"])
        // `wait` returns early when the trap has run, so it is asked again.
        .arg(
            r#"directory=$1; shift
               trap 'kill -QUIT $server 2>/dev/null; kill -CONT $server 2>/dev/null' TERM INT
               "$@" >"$directory/log" 2>&1 & server=$!
               while kill -0 $server 2>/dev/null; do wait $server; done
               rm -rf "$directory""#,
        )
        .arg("sh")
        .arg(directory)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("test-server".to_owned())
        .spawn(move || {
            sender.send(command.spawn()).ok();
            loop {
                thread::park();
            }
        })?;
    receiver
        .recv()
        .map_err(|_| io::Error::other("the thread that starts servers ended"))?
}
