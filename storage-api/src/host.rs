//! What the engine offers a driver: log, cancellation, locks, the tree copy.
#![expect(unsafe_code, reason = "calls through the host's function table")]

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::abi::{ErrorBuf, HostTable, Str, known_part};
use crate::args::Flow;
use crate::error::{Error, ErrorKind, Result};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed.
    Error = 1,
    /// A person should act.
    Warn = 2,
    /// Worth knowing.
    Info = 3,
    /// Each effect on the system.
    Debug = 4,
}

impl LogLevel {
    /// The level with this number in the C interface.
    pub fn from_code(code: i32) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug].into_iter().find(|level| *level as i32 == code)
    }
}

/// Whether a lock is held alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// The services of the engine, for one opened driver. After the driver is closed they refuse, but stay callable.
#[derive(Clone, Copy, Debug)]
pub struct Host(HostTable);

// SAFETY: the table is immutable, and its functions may be called from any thread by the contract.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    /// Wraps the table a host passed to `open`.
    ///
    /// # Safety
    /// `table` is null or leads to a table of at least its `size` that stays readable and unchanged for the life of the
    /// process, with functions that may be called from any thread.
    pub unsafe fn from_table(table: *const HostTable) -> Result<Self> {
        // SAFETY: the caller vouches for at least the size field of a non-null pointer, and for as many bytes as it says.
        let known = (!table.is_null()).then(|| unsafe { known_part(table, (*table).size) }).flatten();
        let short = || Error::new(ErrorKind::Invalid, "the host's table is shorter than ABI 1.0 defines");
        known.map(Self).ok_or_else(short)
    }

    /// Whether messages of this level are kept.
    pub fn logs(&self, level: LogLevel) -> bool {
        level as i32 <= self.0.log_level
    }

    /// Says something to whoever reads the log; `target` is the driver's name or a part of it.
    pub fn log(&self, level: LogLevel, target: &str, message: &str) {
        if let Some(log) = self.0.log.filter(|_| self.logs(level)) {
            // SAFETY: the host's function, with its context and strings that outlive the call.
            unsafe { log(self.0.ctx, level as i32, Str::lend(target.as_bytes()), Str::lend(message.as_bytes())) }
        }
    }

    /// Reports progress of a call and asks whether to go on; long calls ask at least every 64 entries. `total` 0: unknown.
    pub fn progress(&self, call_id: u64, done: u64, total: u64) -> Flow {
        match self.0.progress {
            // SAFETY: the host's function with its context.
            Some(progress) if unsafe { progress(self.0.ctx, call_id, done, total) } != 0 => Flow::Stop,
            _ => Flow::Continue,
        }
    }

    /// Waits for the lock `<driver root>/locks/<name>`; dropping the descriptor unlocks. Never held across calls.
    pub fn lock(&self, name: &str, mode: LockMode) -> Result<OwnedFd> {
        let lock = self.0.lock.ok_or_else(|| Error::unsupported("the lock service"))?;
        let (mut fd, mut error) = (-1, ErrorBuf::new());
        let exclusive = c_int::from(mode == LockMode::Exclusive);
        // SAFETY: the host's function with its context; every pointer leads to this stack.
        let code = unsafe { lock(self.0.ctx, Str::lend(name.as_bytes()), exclusive, &mut fd, &mut error) };
        outcome(code, &error)?;
        if fd < 0 {
            return Err(Error::new(ErrorKind::Other, "the host granted a lock without a descriptor"));
        }
        // SAFETY: by the contract the receiver owns a descriptor that is passed out.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Copies everything below `from` into the empty directory `to`, with owners, modes, times, xattrs, hard links, devices
    /// and holes, then `from`'s own metadata onto `to`. Shares bytes where the file system can.
    pub fn copy_tree(&self, call_id: u64, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let copy = self.0.copy_tree.ok_or_else(|| Error::unsupported("the copy service"))?;
        let mut error = ErrorBuf::new();
        // SAFETY: the host's function with its context; the descriptors are open for the call.
        let code = unsafe { copy(self.0.ctx, call_id, from.as_raw_fd(), to.as_raw_fd(), 0, &mut error) };
        outcome(code, &error)
    }
}

fn outcome(code: c_int, error: &ErrorBuf) -> Result<()> {
    match code {
        0 => Ok(()),
        code => Err(error.to_error(code)),
    }
}
