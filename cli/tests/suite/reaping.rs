//! Removal returns at once; what is left is freed by a process that holds nothing of the command that started it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Store, driver, finish, reapers, until};

/// More files than a removal frees at once.
const FILES: u32 = 6_000;

#[test]
fn privileged_a_removed_tree_goes_without_another_command() {
    let Some(store) = ground() else { return };
    large_container(&store, "big");
    store.mica(&["rm", "big"]).ok();
    assert!(!trash(&store).is_empty(), "the removal has waited until everything was gone");
    let reaper = reaper_of(&store).expect("a reaper");
    let status = fs_err::read_to_string(reaper.join("stat")).expect("its status");
    let fields: Vec<&str> = status.rsplit(") ").next().expect("fields").split(' ').collect();
    assert_eq!(fields[3], reaper.file_name().expect("a process").to_str().expect("a number"), "the session's leader");
    assert_eq!(fields[4], "0", "no terminal");
    assert_eq!(fields[16], "10", "nicer than others");
    assert_eq!(fs_err::read_link(reaper.join("cwd")).expect("its directory"), Path::new("/"));
    until("the trash to be empty", || trash(&store).is_empty());
    until("the reaper to go", || reapers(&store).is_empty());
    assert!(!store.path("root/locks").join(format!("reap-{}", driver())).exists(), "the reaper has left its lock");
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
}

#[test]
fn privileged_the_reaper_holds_nothing_of_the_script_that_removed() {
    let Some(store) = ground() else { return };
    large_container(&store, "big");
    let file = store.path("held");
    // Descriptors 1 and 2 are a pipe, 7 is a file and 8 the pipe again, as in a script that has redirected them all.
    let mut line = String::from("exec 7>\"$HELD\" 8>&1; exec 2>&1; ");
    let command = store.command(&["rm", "big"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    line.extend(words.map(|word| format!("'{}' ", word.to_str().expect("valid UTF-8"))));
    let mut script = Command::new("sh");
    script.args(["-c", &line]).env("HELD", &file).env("SECRET", "of the script").stdin(Stdio::null());
    script.env("MICA_CONFIG", "/dev/null").current_dir(store.path(""));
    // Returns when the pipe has no writer any more.
    assert_eq!(finish(script, b"").stdout, "big\n");
    let reaper = reaper_of(&store).expect("the pipe was closed while the reaper was at work");
    // A program that begins reads files of its own, for example its map of memory to find the end of its stack.
    begun(&store);
    kill(&reaper, Signal::STOP);
    let held: Vec<PathBuf> = fs_err::read_dir(reaper.join("fd"))
        .expect("its descriptors")
        .flatten()
        .filter_map(|descriptor| fs_err::read_link(descriptor.path()).ok())
        .collect();
    let root = store.path("root");
    let run = store.path("run");
    let own = |path: &PathBuf| {
        path.starts_with(&root) || path.starts_with(&run) || path == Path::new("/dev/null") || !path.is_absolute()
    };
    assert!(held.iter().all(own), "{held:?}");
    let pipes = held.iter().filter(|path| path.to_string_lossy().starts_with("pipe:")).count();
    assert_eq!(pipes, 0, "{held:?}");
    let environment = fs_err::read(reaper.join("environ")).expect("its environment");
    assert!(!String::from_utf8_lossy(&environment).contains("SECRET"));
    kill(&reaper, Signal::CONT);
    until("the trash to be empty", || trash(&store).is_empty());
}

#[test]
fn privileged_the_next_command_goes_on_where_a_reaper_was_killed() {
    let Some(store) = ground() else { return };
    large_container(&store, "big");
    store.mica(&["rm", "big"]).ok();
    let reaper = reaper_of(&store).expect("a reaper");
    // Killed before it holds its lock it has done nothing, and nothing tells of it but the trash.
    begun(&store);
    kill(&reaper, Signal::KILL);
    // Its lock goes later than its arguments.
    until("the reaper to die", || !reaper.exists());
    assert!(!trash(&store).is_empty());
    store.mica(&["ps"]).ok();
    until("the trash to be empty", || trash(&store).is_empty());
}

#[test]
fn privileged_two_removals_have_one_reaper_and_leave_no_zombie() {
    let Some(store) = ground() else { return };
    large_container(&store, "one");
    large_container(&store, "two");
    store.mica(&["rm", "one"]).ok();
    let first = reaper_of(&store).expect("a reaper");
    begun(&store);
    kill(&first, Signal::STOP);
    store.mica(&["rm", "two"]).ok();
    assert_eq!(reapers(&store), std::slice::from_ref(&first), "a second reaper was started");
    kill(&first, Signal::CONT);
    until("the trash to be empty", || trash(&store).is_empty());
    until("the reaper to go", || reapers(&store).is_empty());
    until("the zombie to go", || !first.exists());
}

#[test]
fn privileged_prune_waits_until_the_trash_is_empty() {
    let Some(store) = ground() else { return };
    large_container(&store, "big");
    store.mica(&["rm", "big"]).ok();
    store.mica(&["system", "prune", "-f"]).ok();
    assert_eq!(trash(&store), Vec::<PathBuf>::new());
}

#[test]
fn privileged_no_reaper_is_started_where_the_config_says_so() {
    let Some(store) = ground() else { return };
    large_container(&store, "big");
    let config = store.path("config.toml");
    fs_err::write(&config, "[storage]\nreaper = false\n").expect("a config file");
    store.mica(&["--config", config.to_str().expect("valid UTF-8"), "rm", "big"]).ok();
    assert_eq!(reapers(&store), Vec::<PathBuf>::new());
    assert!(!trash(&store).is_empty());
}

fn large_container(store: &Store, name: &str) {
    let line = format!(
        "mkdir d && cd d && i=0 && while [ $i -lt {} ]; do mkdir $i && cd $i && \
         for j in 0 1 2 3 4 5 6 7 8 9; do for k in 0 1 2 3 4 5 6 7 8 9; do echo > $j$k; done; done; cd ..; i=$((i+1)); done",
        FILES / 100
    );
    store.mica(&["run", "--name", name, "base", "sh", "-c", &line]).ok();
}

/// A store whose driver takes time to free a tree: btrfs hands a subvolume to the kernel.
fn ground() -> Option<Store> {
    if driver() == "btrfs" { None } else { Store::with_base() }
}

fn trash(store: &Store) -> Vec<PathBuf> {
    let folder = store.path("root/drivers").join(driver()).join("trash");
    fs_err::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The reaper, once the monitor has become it.
fn reaper_of(store: &Store) -> Option<PathBuf> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = reapers(store).pop();
        if found.is_some() || trash(store).is_empty() || Instant::now() > deadline {
            return found;
        }
        // One that was killed does not come back, and that must be seen within reason.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a reaper holds its lock.
fn begun(store: &Store) {
    until("the reaper to begin", || store.path("root/locks").join(format!("reap-{}", driver())).exists());
}

fn kill(process: &Path, signal: Signal) {
    let pid = process.file_name().and_then(|name| name.to_str()?.parse().ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), signal).expect("the reaper lives");
}
