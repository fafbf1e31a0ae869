//! Child processes that end with this process, and leave no files behind.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

/// Runs the program as `user` (this process's own when it is not root) with its output in `directory/log`, and removes `directory` after it.
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
    spawn_from_kept_thread(command)
}

/// Starts a program from a thread that lives as long as this process: the kernel ends a child that asks for it when the thread that started it
/// ends, not when the process does.
pub(crate) fn spawn_from_kept_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static ORDERS: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        thread::Builder::new()
            .name("test-server".to_owned())
            .spawn(move || {
                for (mut command, answer) in receiver {
                    answer.send(command.spawn()).ok();
                }
            })
            .expect("a thread can be started");
        Mutex::new(sender)
    });
    let (sender, receiver) = mpsc::channel();
    orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, sender))
        .map_err(|_| io::Error::other("the thread that starts servers ended"))?;
    receiver
        .recv()
        .map_err(|_| io::Error::other("the thread that starts servers ended"))?
}

/// A temporary directory that goes with this process, however that ends.
#[derive(Debug)]
pub(crate) struct TemporaryDirectory {
    path: PathBuf,
    keeper: Child,
}

impl TemporaryDirectory {
    /// An empty directory whose name begins with `roadstead-NAME-`.
    pub(crate) fn new(name: &str) -> Self {
        let path = tempfile::Builder::new()
            .prefix(&format!("roadstead-{name}-"))
            .tempdir()
            .expect("a temporary directory can be made")
            .keep();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "sh", "-c"])
            .arg(r#"trap 'kill $!; rm -rf "$1"; exit' TERM INT; sleep infinity & wait"#)
            .arg("sh")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let keeper = spawn_from_kept_thread(command).expect("`setpriv` of util-linux can be run");
        Self { path, keeper }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let asked = Command::new("kill")
            .arg(self.keeper.id().to_string())
            .status();
        if asked.is_ok() {
            self.keeper.wait().ok();
        }
    }
}
