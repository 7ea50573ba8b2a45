//! The wall between a driver's code and its caller: errors into the caller's buffer, panics into an error.
#![expect(unsafe_code, reason = "writes through the caller's error pointer")]

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::{ErrorBuf, MESSAGE_MAX};
use crate::error::{Error, ErrorKind, Result};

#[cfg(panic = "abort")]
compile_error!("a storage driver must be built with panic = \"unwind\": an uncaught panic in it would end the host");

thread_local! {
    /// How many guards the thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where and what the last panic under a guard was.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs one verb. Yields the number of the error kind, 0 for success; the error's words go into `err`.
///
/// # Safety
/// `err` is null or leads to a writable [`ErrorBuf`] with its size set.
pub unsafe fn guard(err: *mut ErrorBuf, verb: impl FnOnce() -> Result<()>) -> c_int {
    match caught(verb) {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: passed on to the caller.
            unsafe { fill(err, &error) };
            error.kind as c_int
        }
    }
}

/// Runs a verb that has no way to report; a panic ends here.
pub(super) fn guard_quietly(verb: impl FnOnce()) {
    let _ = caught(|| {
        verb();
        Ok(())
    });
}

/// Runs a verb and turns its panic into an error.
///
/// A panic hook that prints would write into the user's terminal, and a backtrace was measured at 114 ms, so under a
/// guard the hook only notes the message. Outside of guards the former hook does what it did: when a driver is linked
/// into a test binary, both share one hook.
pub(super) fn caught<T>(verb: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                return former(info);
            }
            let what = info.payload_as_str().unwrap_or("no message");
            let place = info.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
            PANIC.with_borrow_mut(|noted| *noted = Some(format!("the driver panicked{place}: {what}")));
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(verb));
    DEPTH.set(DEPTH.get() - 1);
    outcome.unwrap_or_else(|payload| {
        // Dropping a payload may panic again; leaking a few bytes cannot.
        std::mem::forget(payload);
        let message = PANIC.take().unwrap_or_else(|| "the driver panicked".to_owned());
        Err(Error::new(ErrorKind::Panic, message))
    })
}

/// # Safety
/// As for [`guard`].
unsafe fn fill(err: *mut ErrorBuf, error: &Error) {
    // SAFETY: the caller vouches for at least the size field of a non-null pointer.
    if err.is_null() || (unsafe { (*err).size } as usize) < size_of::<ErrorBuf>() {
        return;
    }
    let mut end = error.message.len().min(MESSAGE_MAX);
    while !error.message.is_char_boundary(end) {
        end -= 1;
    }
    // SAFETY: the size says the whole buffer is there, and the caller lends it to this call alone.
    let buffer = unsafe { &mut *err };
    buffer.os_errno = error.errno.unwrap_or(0);
    buffer.msg_len = end as u32;
    buffer.msg[..end].copy_from_slice(&error.message.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(verb: impl FnOnce() -> Result<()>) -> (c_int, i32, String) {
        let mut buffer = ErrorBuf::new();
        // SAFETY: the buffer is on this stack with its size set.
        let code = unsafe { guard(&mut buffer, verb) };
        (code, buffer.os_errno, String::from_utf8(buffer.msg[..buffer.msg_len as usize].to_vec()).unwrap())
    }

    #[test]
    fn success_writes_nothing() {
        assert_eq!(run(|| Ok(())), (0, 0, String::new()));
    }

    #[test]
    fn errors_cross_with_kind_errno_and_words() {
        let (code, errno, words) = run(|| Err(Error::os(rustix::io::Errno::NOSPC, "write `a`")));
        assert_eq!((code, errno), (ErrorKind::NoSpace as c_int, libc::ENOSPC));
        assert_eq!(words, "write `a`: No space left on device");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let (_, _, words) = run(|| Err(Error::new(ErrorKind::Other, format!("x{}", "é".repeat(400)))));
        assert_eq!(words.len(), MESSAGE_MAX - 1);
    }

    #[test]
    fn a_panic_becomes_a_kind_with_its_place() {
        let (code, _, words) = run(|| panic!("on purpose {}", 7));
        assert_eq!(code, ErrorKind::Panic as c_int);
        assert!(words.contains("guard.rs:") && words.ends_with("on purpose 7"), "{words}");
        let (code, _, words) = run(|| std::panic::panic_any(5_u8));
        assert_eq!((code, words.ends_with("no message")), (ErrorKind::Panic as c_int, true));
    }

    #[test]
    fn a_buffer_that_is_missing_or_too_small_is_left_alone() {
        // SAFETY: null is allowed.
        assert_eq!(unsafe { guard(std::ptr::null_mut(), || Err(Error::fallback())) }, 13);
        let mut small = ErrorBuf { size: 8, ..ErrorBuf::new() };
        // SAFETY: the buffer is larger than it says.
        assert_eq!(unsafe { guard(&mut small, || Err(Error::fallback())) }, 13);
        assert_eq!(small.msg_len, 0);
    }
}
