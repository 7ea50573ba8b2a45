//! The small init of `--init`: process 1 of a container, which passes signals on and collects what others leave behind.
//!
//! It is built by `runtime/build.rs` as a static program, because it runs on whatever an image has, and travels inside
//! `mica-monitor`. Its first argument may be `--`; what follows is the program, looked up as a shell would.

#![no_main]

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStringExt;
use std::process::exit;

const SIG_SETMASK: c_int = 2;
const SIGKILL: c_int = 9;
const SIGCHLD: c_int = 17;
const SIGSTOP: c_int = 19;
const WNOHANG: c_int = 1;
const ECHILD: c_int = 10;
const ENOENT: c_int = 2;

/// Large enough for a `sigset_t` of any C library here.
type Set = [u64; 16];

unsafe extern "C" {
    fn fork() -> c_int;
    fn execvp(file: *const c_char, arguments: *const *const c_char) -> c_int;
    fn setpgid(pid: c_int, group: c_int) -> c_int;
    fn isatty(descriptor: c_int) -> c_int;
    fn tcsetpgrp(descriptor: c_int, group: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn sigfillset(set: *mut Set) -> c_int;
    fn sigprocmask(how: c_int, set: *const Set, old: *mut Set) -> c_int;
    fn sigwaitinfo(set: *const Set, info: *mut c_void) -> c_int;
}

/// The C library's entry: that of Rust's own ignores SIGPIPE, and the program would inherit that.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    let words = std::env::args_os().skip(1).skip_while(|word| word == "--");
    let words: Vec<CString> = words.filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let mut pointers: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let Some(program) = words.first() else { exit(2) };
    let mut all: Set = [0; 16];
    let mut before: Set = [0; 16];
    // SAFETY: both sets are larger than the C library's and live across the calls. Every signal is blocked before the
    // child exists, so none is lost: each waits for `sigwaitinfo`.
    unsafe {
        sigfillset(&mut all);
        sigprocmask(SIG_SETMASK, &all, &mut before);
    }
    // SAFETY: this process has one thread, so the child may do whatever it could have done.
    let child = unsafe { fork() };
    if child < 0 {
        exit(1);
    }
    if child == 0 {
        // SAFETY: `pointers` is a list of NUL-terminated strings with a null pointer at its end, and both outlive the call.
        // A group of its own in the foreground makes the program's terminal work as it does without an init; SIGTTOU, which
        // that may raise, is still blocked.
        unsafe {
            setpgid(0, 0);
            if isatty(0) == 1 {
                tcsetpgrp(0, std::process::id() as c_int);
            }
            sigprocmask(SIG_SETMASK, &before, std::ptr::null_mut());
            execvp(program.as_ptr(), pointers.as_ptr());
        }
        let error = std::io::Error::last_os_error();
        eprintln!("exec: \"{}\": {error}", program.to_string_lossy());
        exit(if error.raw_os_error() == Some(ENOENT) { 127 } else { 126 });
    }
    serve(child, &all)
}

/// Passes signals on until the program ends, then ends as it did.
fn serve(child: c_int, all: &Set) -> ! {
    loop {
        // SAFETY: the set lives across the call, and nothing is written through a null pointer.
        let signal = unsafe { sigwaitinfo(all, std::ptr::null_mut()) };
        match signal {
            SIGCHLD => collect(child),
            SIGKILL | SIGSTOP | ..=0 => {}
            // SAFETY: sends a signal to a child that has not been collected, so that the number is still its own.
            signal => unsafe {
                kill(child, signal);
            },
        }
    }
}

/// Collects every process that has ended; when the program is among them, this process ends with its status.
fn collect(child: c_int) {
    loop {
        let mut status: c_int = 0;
        // SAFETY: `status` lives across the call.
        let ended = unsafe { waitpid(-1, &mut status, WNOHANG) };
        if ended == child {
            let signal = status & 0x7f;
            exit(if signal == 0 { (status >> 8) & 0xff } else { 128 + signal });
        }
        let none_left = ended < 0 && std::io::Error::last_os_error().raw_os_error() == Some(ECHILD);
        if ended == 0 || none_left {
            return;
        }
    }
}
