//! The key that encrypts fields of the database: the configuration's, or of a registry without a configuration one of its own, which it keeps in a
//! file that only its owner can read.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use roadstead_config::Config;
use roadstead_runtime::Ids;
use roadstead_secrets::{FieldKey, Secret};

use crate::error::{StartError, secret_key};

/// The bytes of chance of a key: those of AES-256.
const KEY_BYTES: usize = 32;

/// The key, if there is one. With `make`, a registry without a configuration gets one where it has none.
pub(crate) fn field_key(
    config: &Config,
    ids: &dyn Ids,
    make: bool,
) -> Result<Option<FieldKey>, StartError> {
    if let Some(key) = &config.database.secret_key {
        let made = FieldKey::new(key.expose());
        return Ok(Some(made.map_err(secret_key("DATABASE_SECRET_KEY"))?));
    }
    let Some(path) = &config.database.own_key_file else {
        return Ok(None);
    };
    let failed = |source| StartError::OwnKey {
        path: path.clone(),
        source,
    };
    let found = read(path).map_err(failed)?;
    let text = match found {
        Some(text) => text,
        None if make => write(path, ids).map_err(failed)?,
        None => return Ok(None),
    };
    let made = FieldKey::new(text.expose().trim());
    Ok(Some(made.map_err(secret_key("the file `database-key`"))?))
}

fn read(path: &Path) -> io::Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a new key. It appears under its name when it is whole and on the disk, and of several processes that start at once one's does.
fn write(path: &Path, ids: &dyn Ids) -> io::Result<Secret> {
    let mut chance = [0; KEY_BYTES];
    ids.fill(&mut chance);
    // Letters, so that the text is no number, which would be read as one.
    let text: String = chance
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from(b'a' + half))
        .collect();
    let drafted = path.with_added_extension(ids.uuid().to_string());
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&drafted)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&drafted, path);
    fs::remove_file(&drafted)?;
    match linked {
        Ok(()) => {
            if let Some(directory) = path.parent() {
                fs::File::open(directory)?.sync_all()?;
            }
            Ok(Secret::new(text))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| io::Error::from(ErrorKind::NotFound))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use roadstead_runtime::SeededIds;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("database-key");
        assert!(read(&path).unwrap().is_none());
        let first = write(&path, &SeededIds::new(1)).unwrap();
        let second = write(&path, &SeededIds::new(2)).unwrap();
        assert_eq!(
            second.expose().trim(),
            first.expose(),
            "who comes second takes the first one's"
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(files, 1, "nothing else is left");
        assert!(FieldKey::new(first.expose()).is_ok());
        assert_eq!(first.expose().len(), 64);
    }
}
