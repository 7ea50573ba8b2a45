//! What every call across the boundary needs: lending strings, taking errors and descriptors.
#![expect(unsafe_code, reason = "takes ownership of descriptors that a plugin returned as numbers")]

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use mica_storage_api::abi::{ErrorBuf, Str, Strs};
use mica_storage_api::{Error as DriverError, ErrorKind, Key};
use rustix::io::FdFlags;

use crate::error::{Error, Result};

/// Runs one verb and takes its error.
pub fn call(driver: &str, operation: &'static str, verb: impl FnOnce(*mut ErrorBuf) -> c_int) -> Result<()> {
    let mut error = ErrorBuf::new();
    match verb(&mut error) {
        0 => Ok(()),
        code => Err(failed(driver, operation, error.to_error(code))),
    }
}

/// A driver that broke the contract.
pub fn broken(driver: &str, operation: &'static str, how: impl Into<String>) -> Error {
    failed(driver, operation, DriverError::new(ErrorKind::Other, how))
}

/// An error of a verb.
pub fn failed(driver: &str, operation: &'static str, source: DriverError) -> Error {
    Error::Call { driver: driver.to_owned(), operation, source }
}

/// Lends a key.
pub fn key(key: Key<'_>) -> Str {
    Str::lend(key.as_str().as_bytes())
}

/// Lends a list of texts.
#[derive(Debug)]
pub struct Lent(Vec<Str>);

impl Lent {
    /// The keys of a chain.
    pub fn keys(keys: &[Key<'_>]) -> Self {
        Self(keys.iter().map(|one| key(*one)).collect())
    }

    /// Options.
    pub fn texts(texts: &[impl AsRef<str>]) -> Self {
        Self(texts.iter().map(|text| Str::lend(text.as_ref().as_bytes())).collect())
    }

    /// The list as it crosses.
    pub fn list(&self) -> Strs {
        Strs::lend(&self.0)
    }
}

/// Takes a descriptor that a driver passed out, if it is open and is what it should be.
///
/// A number that fails the test is not closed: it may belong to somebody else, and a leak harms less than closing the
/// database under the engine.
pub fn take_fd(fd: c_int, fits: impl FnOnce(BorrowedFd<'_>) -> bool) -> std::result::Result<OwnedFd, String> {
    if fd < 0 {
        return Err(format!("returned success with descriptor {fd}"));
    }
    // SAFETY: the number is only borrowed to ask the kernel about it, and the kernel answers EBADF for one that is not open.
    let lent = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = rustix::io::fcntl_getfd(lent).map_err(|_| format!("returned descriptor {fd}, which is not open"))?;
    if fd <= libc::STDERR_FILENO || !fits(lent) {
        return Err(format!("returned descriptor {fd}, which is something else than it should be"));
    }
    if !flags.contains(FdFlags::CLOEXEC) {
        rustix::io::fcntl_setfd(lent, flags | FdFlags::CLOEXEC)
            .map_err(|errno| format!("cannot mark descriptor {fd}: {errno}"))?;
    }
    // SAFETY: open, of the right kind, and by rule (e) of the header it belongs to the receiver.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a descriptor is a directory.
pub fn is_directory(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Whether a descriptor is the root of a mount.
pub fn is_mount_root(fd: BorrowedFd<'_>) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    rustix::fs::statx(fd.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
