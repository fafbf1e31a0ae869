//! The first start: an account, and its password in a file that only its owner can read.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use roadstead_auth::{Authenticator, Secret};
use roadstead_runtime::Ids;

use crate::error::StartError;

/// The name of the first account when the configuration names no superuser.
const FIRST_ACCOUNT: &str = "admin";

/// The account that a first start made.
#[derive(Debug)]
pub struct FirstAccount {
    /// The name.
    pub username: String,
    /// The password. It is also in the file, and nowhere else.
    pub password: Secret,
    /// The file, of mode 0600.
    pub password_file: PathBuf,
}

/// Makes the first account when there is none. Of several processes that start at once, one makes it.
pub(crate) async fn make_first_account(
    authenticator: &Authenticator,
    ids: &dyn Ids,
    directory: &Path,
) -> Result<Option<FirstAccount>, StartError> {
    let username = authenticator
        .options()
        .superusers
        .first()
        .unwrap_or_else(|| FIRST_ACCOUNT.to_owned());
    let Some(draft) = authenticator.draft_first_account(&username).await? else {
        return Ok(None);
    };
    // The password is on the disk before the account exists, under a name of this process's own: killed in between, nobody is locked
    // out, and a process that came second does not overwrite the password of the one that came first.
    let drafted = directory.join(format!("{username}-password.{}", ids.uuid()));
    let password_file = directory.join(format!("{username}-password"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::PasswordFile { path, source }
    };
    write_secret(&drafted, draft.password().expose()).map_err(failed(&drafted))?;
    if !authenticator.create_first_account(&draft).await? {
        std::fs::remove_file(&drafted).map_err(failed(&drafted))?;
        return Ok(None);
    }
    std::fs::rename(&drafted, &password_file).map_err(failed(&password_file))?;
    Ok(Some(FirstAccount {
        username,
        password: draft.password().clone(),
        password_file,
    }))
}

fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}
