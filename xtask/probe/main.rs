//! What a process sees of its cage, one `name<TAB>value` a line: run inside containers by `cargo xtask security`.
//!
//! It is built as a static program without Cargo, so that it runs in an image that holds nothing else.

#![no_main]

use std::ffi::c_long;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// The C library's entry: that of Rust's own would ignore SIGPIPE, and what is ignored is to be seen.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    look();
    0
}

fn look() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines() {
        if let Some((name, value)) = line.split_once(':') {
            say(&format!("status.{name}"), &value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    say("pid", std::process::id());
    say(
        "cwd",
        std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_else(|error| error.to_string()),
    );
    say("env", sorted(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())));
    for (name, value) in std::env::vars() {
        say(&format!("env.{name}"), value.escape_debug());
    }
    // The directory's own descriptor is the last one and gone by the time its link is read.
    let fds = names("/proc/self/fd").into_iter().filter(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    say("fds", sorted(fds));
    for kind in ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"] {
        let link = fs::read_link(format!("/proc/self/ns/{kind}"));
        say(&format!("ns.{kind}"), link.map(|link| link.display().to_string()).unwrap_or_default());
    }
    say("exe", fs::read_link("/proc/1/exe").map(|link| link.display().to_string()).unwrap_or_default());
    say("dev", sorted(names("/dev").into_iter()));
    for name in names("/dev") {
        if let Ok(found) = fs::symlink_metadata(format!("/dev/{name}"))
            && (found.file_type().is_char_device() || found.file_type().is_block_device())
        {
            let number = found.rdev();
            say(
                &format!("dev.{name}"),
                format!("{}:{}", (number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00)),
            );
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        say("mount", line);
    }
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.split_once('=') {
            Some(("hidden", path)) => say(&format!("hidden.{path}"), hidden(Path::new(path))),
            Some(("write", path)) => {
                let opened = fs::OpenOptions::new().write(true).open(path);
                say(&format!("write.{path}"), opened.map_or_else(|error| error.raw_os_error().unwrap_or(0), |_| 0));
            }
            None if argument == "calls" => calls(),
            _ => {}
        }
    }
    say("keyring", keyring());
}

fn say(name: &str, value: impl std::fmt::Display) {
    println!("{name}\t{value}");
}

fn sorted(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.join(" ")
}

fn names(path: &str) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// `absent`, or how much there is to see: bytes of a file (one is enough to know), entries of a directory.
fn hidden(path: &Path) -> String {
    match fs::metadata(path) {
        Err(_) => "absent".into(),
        Ok(found) if found.is_dir() => format!("{} entries", fs::read_dir(path).map_or(0, |entries| entries.count())),
        Ok(_) => match fs::File::open(path).and_then(|mut file| file.read(&mut [0; 16])) {
            Ok(bytes) => format!("{bytes} bytes"),
            Err(error) => format!("error {}", error.raw_os_error().unwrap_or(0)),
        },
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn calls() {}

/// System calls with arguments that change nothing even where they are let through (`kexec_load` of no segments would
/// unload a kernel). 0 is success.
#[cfg(target_arch = "x86_64")]
fn calls() {
    const NEWUSER: c_long = 0x1000_0000;
    let null: c_long = 0;
    let all: [(&str, c_long, [c_long; 5]); 38] = [
        ("add_key", 248, [null; 5]),
        ("request_key", 249, [null; 5]),
        ("keyctl", 250, [99, 0, 0, 0, 0]),
        ("mount", 165, [null; 5]),
        ("umount2", 166, [null; 5]),
        ("unshare_user", 272, [NEWUSER, 0, 0, 0, 0]),
        ("unshare_mount", 272, [0x0002_0000, 0, 0, 0, 0]),
        ("clone_user", 56, [NEWUSER | 17, 0, 0, 0, 0]),
        ("clone3", 435, [null; 5]),
        ("pivot_root", 155, [null; 5]),
        ("swapon", 167, [null; 5]),
        ("swapoff", 168, [null; 5]),
        ("reboot", 169, [null; 5]),
        ("init_module", 175, [null; 5]),
        ("finit_module", 313, [-1, 0, 0, 0, 0]),
        ("delete_module", 176, [null; 5]),
        ("kexec_load", 246, [0, 1000, 0, 0, 0]),
        ("bpf", 321, [99, 0, 0, 0, 0]),
        ("perf_event_open", 298, [null; 5]),
        ("userfaultfd", 323, [null; 5]),
        ("io_uring_setup", 425, [null; 5]),
        ("io_uring_enter", 426, [-1, 0, 0, 0, 0]),
        ("open_by_handle_at", 304, [-1, 0, 0, 0, 0]),
        ("quotactl", 179, [null; 5]),
        ("acct", 163, [1, 0, 0, 0, 0]),
        ("iopl", 172, [3, 0, 0, 0, 0]),
        ("settimeofday", 164, [1, 0, 0, 0, 0]),
        ("syslog", 103, [10, 0, 0, 0, 0]),
        ("fsopen", 430, [null; 5]),
        ("open_tree", 428, [-1, 0, 0, 0, 0]),
        ("move_mount", 429, [-1, 0, -1, 0, 0]),
        ("mount_setattr", 442, [-1, 0, 0, 0, 0]),
        ("fanotify_init", 300, [null; 5]),
        ("mbind", 237, [null; 5]),
        ("setns", 308, [-1, 0, 0, 0, 0]),
        ("sethostname", 170, [1, 1, 0, 0, 0]),
        ("socket_alg", 41, [38, 5, 0, 0, 0]),
        ("socket_vsock", 41, [40, 1, 0, 0, 0]),
    ];
    let call = |number: c_long, [a, b, c, d, e]: [c_long; 5]| {
        // SAFETY: every pointer is null or invalid, so the kernel refuses what it would read or write, and no call here
        // changes this process's memory.
        let result = unsafe { syscall(number, a, b, c, d, e) };
        let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        (result, if result < 0 { error } else { 0 })
    };
    for (name, number, arguments) in all {
        let (result, error) = call(number, arguments);
        if name == "clone_user" && result == 0 {
            // The child of a call that ought to be refused.
            std::process::exit(0);
        }
        say(&format!("call.{name}"), error);
    }
    say("call.socket_inet", call(41, [2, 1, 0, 0, 0]).1);
}

/// The session's keyring, without making one.
fn keyring() -> c_long {
    const KEYCTL: c_long = if cfg!(target_arch = "x86_64") { 250 } else { 219 };
    const GET_KEYRING_ID: c_long = 0;
    const SESSION: c_long = -3;
    // SAFETY: only numbers are passed.
    unsafe { syscall(KEYCTL, GET_KEYRING_ID, SESSION, 0) }
}
