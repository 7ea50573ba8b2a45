//! All that is asked about a plugin file before it is loaded: who could have written it, what its note says, whether it is
//! the pinned one. None of its code runs.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use mica_storage_api::abi::ABI_MAJOR;

use crate::error::Refusal;
use crate::note::{self, Note};
use crate::owners::Owners;
use crate::pins::{self, Pins};
use crate::{search, trust};

/// A file that may be loaded.
#[derive(Debug)]
pub struct Examined {
    /// Where it is: absolute, without symbolic links.
    pub path: PathBuf,
    /// The name it must have: that of its file name, else that of its note.
    pub name: Option<String>,
    /// What it says about itself.
    pub note: Option<Note>,
    file: OwnedFd,
}

impl Examined {
    /// The digest by which it can be pinned.
    pub fn digest(&self) -> std::io::Result<String> {
        Ok(pins::digest(self.file.as_fd())?)
    }
}

/// Examines a file.
pub(crate) fn examine(path: &Path, pins: &Pins, owners: &Owners) -> Result<Examined, Refusal> {
    let (path, file, size) = trust::check(path, owners)?;
    let note = note::read(file.as_fd(), size)?;
    let in_file_name = search::name_of(&path).map(str::to_owned);
    if let Some(note) = &note {
        if note.abi.0 != ABI_MAJOR {
            let number = |number| u16::try_from(number).unwrap_or(u16::MAX);
            return Err(Refusal::Version { major: number(note.abi.0), minor: number(note.abi.1) });
        }
        if !search::is_name(&note.name) || in_file_name.as_ref().is_some_and(|name| *name != note.name) {
            let expected = in_file_name.unwrap_or_else(|| "[a-z0-9_-]{1,32}".to_owned());
            return Err(Refusal::Name { found: note.name.clone(), expected });
        }
    }
    let name = in_file_name.or_else(|| note.as_ref().map(|note| note.name.clone()));
    pins.judge(name.as_deref(), file.as_fd())?;
    Ok(Examined { path, name, note, file })
}
