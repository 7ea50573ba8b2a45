//! A loaded plugin: the library, what it says about itself, and the way to open a driver from it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_storage_api::abi::{ENTRY_SYMBOL, EntryFn, Exported};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::driver::Driver;
use crate::error::{Error, Refusal, Result};
use crate::examine::{self, Examined};
use crate::host::{HostServices, NoServices};
use crate::owners::Owners;
use crate::pins::Pins;
use crate::search;
use crate::table::{self, Table, Texts};

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginInfo {
    /// The driver's name.
    pub name: String,
    /// The driver's own version.
    pub version: String,
    /// An SPDX expression.
    pub license: String,
    /// What tells two builds apart, for caches of probe results.
    pub build_id: String,
    /// The options it takes, as `key=values  what it does`.
    pub options: Vec<String>,
    /// The ABI in force: major, minor.
    pub abi: (u16, u16),
    /// The file; `None` for a driver that is linked in.
    pub path: Option<PathBuf>,
}

/// A plugin that passed all checks. It stays loaded until the end of the process.
#[derive(Clone, Debug)]
pub struct Plugin {
    table: Table,
    info: Arc<PluginInfo>,
}

/// What [`Plugin::open`] needs to know.
#[derive(Clone, Debug)]
pub struct OpenArgs<'a> {
    /// The driver's own directory; made (0700) when its parent exists.
    pub root: &'a Path,
    /// `key=value` each, for this driver.
    pub options: &'a [String],
    /// Whether we live in a user namespace that is not the initial one.
    pub rootless: bool,
    /// Where the driver's log goes and who may cancel it.
    pub services: Arc<dyn HostServices>,
}

impl<'a> OpenArgs<'a> {
    /// A driver root without options, log and cancellation.
    pub fn new(root: &'a Path) -> Self {
        Self { root, options: &[], rootless: false, services: Arc::new(NoServices) }
    }
}

impl Plugin {
    /// Loads a plugin file after checking who could have written it and what its note says.
    ///
    /// A file called `libmica_storage_<name>.so` must hold the driver `<name>`; any other file name is taken as it is.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_pinned(path, &Pins::default(), &Owners::default())
    }

    /// The same, and a driver that is pinned must be the file it is pinned to.
    pub(crate) fn load_pinned(path: &Path, pins: &Pins, owners: &Owners) -> Result<Self> {
        let refused = |source| Error::Refused { path: path.to_owned(), source };
        let Examined { path: checked, name: expected, .. } = examine::examine(path, pins, owners).map_err(refused)?;
        let entry = link(&checked).map_err(refused)?;
        #[expect(unsafe_code, reason = "the first call into a plugin")]
        // SAFETY: the entry function of a library that `link` never unloads.
        let (table, texts) = unsafe { table::from_entry(entry) }.map_err(refused)?;
        Self::checked(table, texts, expected, Some(checked)).map_err(refused)
    }

    /// A driver that is linked into this program, as its own tests do; it is called through the same table.
    pub fn builtin(driver: &'static Exported) -> Result<Self> {
        let refused = |source| Error::Refused { path: PathBuf::from("(built in)"), source };
        #[expect(unsafe_code, reason = "the same reads as for a loaded plugin")]
        // SAFETY: an `Exported` is made by the storage API from a driver, so its pointers are what they should be.
        let (table, texts) = unsafe { table::from_plugin(driver.table()) }.map_err(refused)?;
        Self::checked(table, texts, None, None).map_err(refused)
    }

    /// The driver's name.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The driver's own version.
    pub fn version(&self) -> &str {
        &self.info.version
    }

    /// The ABI in force: major, minor.
    pub fn abi(&self) -> (u16, u16) {
        self.info.abi
    }

    /// The file; `None` for a driver that is linked in.
    pub fn path(&self) -> Option<&Path> {
        self.info.path.as_deref()
    }

    /// What tells two builds apart.
    pub fn build_id(&self) -> &str {
        &self.info.build_id
    }

    /// All that the plugin says about itself.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Opens a driver on its root.
    pub fn open(&self, args: &OpenArgs<'_>) -> Result<Driver> {
        let failed = |errno, what: &str| Error::Call {
            driver: self.name().to_owned(),
            operation: "open",
            source: mica_storage_api::Error::os(
                errno,
                format_args!("{what} the driver root `{}`", args.root.display()),
            ),
        };
        match rustix::fs::mkdir(args.root, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno, "make")),
        }
        let root = rustix::fs::open(args.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno, "open"))?;
        Driver::open(self, args, root.as_fd())
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    fn checked(table: Table, texts: Texts, expected: Option<String>, path: Option<PathBuf>) -> Result<Self, Refusal> {
        if !search::is_name(&texts.name) || expected.as_ref().is_some_and(|expected| *expected != texts.name) {
            return Err(Refusal::Name {
                found: texts.name,
                expected: expected.unwrap_or_else(|| "[a-z0-9_-]{1,32}".to_owned()),
            });
        }
        let Texts { name, version, license, build_id, options } = texts;
        Ok(Self {
            table,
            info: Arc::new(PluginInfo { name, version, license, build_id, options, abi: table.abi, path }),
        })
    }
}

/// Loads a library for the life of the process and finds its entry function.
///
/// Never unloaded: destructors of thread locals in the library would be called after it is gone (rust-lang/rust#59629).
#[expect(unsafe_code, reason = "dlopen runs the library's constructors")]
fn link(path: &Path) -> Result<EntryFn, Refusal> {
    use libloading::os::unix::Library;
    let refused = |error: libloading::Error| Refusal::Link { reason: flat(&error) };
    // SAFETY: a plugin is code that runs with our rights; `examine` made sure that only root or we could write it.
    let library = unsafe { Library::open(Some(path), libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE) }
        .map_err(refused)?;
    // SAFETY: the symbol's type is fixed by the header; a library that exports it with another type lies about itself.
    let entry = unsafe { library.get::<EntryFn>(ENTRY_SYMBOL.to_bytes_with_nul()) }.map(|symbol| *symbol);
    std::mem::forget(library);
    entry.map_err(|_| Refusal::NoSymbol)
}

fn flat(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| source.to_string())
}
