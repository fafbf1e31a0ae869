//! The driver `LocalStorage`.

use std::path::{Component, Path, PathBuf};

use super::driver::Driver;
use super::parameters::Parameters;
use crate::reader::Remark;

/// `LocalStorage`: a directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalStorage {
    /// `storage_path`, required: the directory; a relative one starts from the working directory. Without `..`.
    pub storage_path: PathBuf,
}

pub(super) const PARAMETERS: [&str; 1] = ["storage_path"];

const NAME: &str = "storage_path";

pub(super) fn read(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let text = parameters.required_text(NAME, "a directory")?;
    let storage_path = PathBuf::from(text);
    if storage_path
        .components()
        .any(|part| part == Component::ParentDir)
    {
        let remark = Remark::new(
            "it holds the segment ..",
            "a directory, without ..",
            "write the directory that is meant",
        );
        parameters.refuse(NAME, remark);
        return None;
    }
    Some(Driver::LocalStorage(LocalStorage { storage_path }))
}

/// `path` in one form: without `.` and doubled slashes, with a slash at the end. The disk is not asked, so that `a` and `./a/` are the same
/// whether they exist or not.
pub(super) fn normalised(path: &Path) -> String {
    let parts: PathBuf = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let text = parts.to_string_lossy().into_owned();
    if text.is_empty() || text.ends_with('/') {
        text
    } else {
        text + "/"
    }
}
