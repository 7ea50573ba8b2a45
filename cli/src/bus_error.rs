//! What a person is told when the disk fails a memory access. The one handler of a signal in this program.
//!
//! SQLite maps the index of its log into memory. When such a page has to get room on a full disk, or comes from a broken
//! one, there is no call that could report it: the kernel sends SIGBUS. By default that ends the program without a word.
//! Ending it is right, because a killed command loses nothing; ending it silently is not.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

const MESSAGE: &[u8] =
    b"Error: cannot use `db/meta.sqlite-shm` in the store: No space left on device, or Input/output error (SIGBUS)\n\
      hint: free some space on the disk that holds the store, and run the same command again\n";
/// What a command exits with that could not begin its work, as Docker's does without its daemon.
const STATUS: i32 = 125;

/// Installs the handler. That cannot fail: the signal exists and may be handled.
#[expect(unsafe_code, reason = "installing a handler of a signal is unsafe in every library")]
pub fn install() {
    let action = SigAction::new(SigHandler::Handler(tell), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler touches no memory but a constant and makes two system calls, both of which POSIX allows there.
    let _ = unsafe { sigaction(Signal::SIGBUS, &action) };
}

#[expect(unsafe_code, reason = "`exit` would run destructors, which a handler of a signal must not")]
extern "C" fn tell(_signal: i32) {
    let _ = rustix::io::write(rustix::stdio::stderr(), MESSAGE);
    // SAFETY: it ends the process at once and runs nothing of ours.
    unsafe { nix::libc::_exit(STATUS) }
}
