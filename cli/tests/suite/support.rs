//! A store for one test, and the program with everything it loads built next to it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// What a finished command left.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub bytes: Vec<u8>,
}

impl Done {
    /// The trimmed standard output of a command that must have worked.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout.trim_end().to_owned()
    }

    /// Asserts the exit code and a piece of what was said on standard error.
    pub fn fails(self, code: i32, words: &str) {
        assert!(self.code == code && self.stderr.contains(words), "expected {code} and {words:?}: {self:#?}");
    }
}

/// A store of its own.
#[derive(Debug)]
pub struct Store {
    folder: TempDir,
}

impl Store {
    /// A store with the image `base`: busybox and little else. `None` when this machine cannot run containers for us.
    pub fn with_base() -> Option<Self> {
        let store = Self::privileged()?;
        let archive = store.path("base.tar");
        base_archive(&archive);
        store
            .mica(&[
                "import",
                "-c",
                "CMD [\"sh\"]",
                "-c",
                "ENV PATH=/bin",
                "-c",
                "LABEL made=here",
                archive.to_str()?,
                "base",
            ])
            .ok();
        Some(store)
    }

    /// An empty store, or `None` with the reason printed.
    pub fn privileged() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("not root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            skip("no /bin/busybox (apt-get install busybox-static)");
            return None;
        }
        stage();
        Some(Self { folder: tempfile::tempdir().expect("a folder") })
    }

    fn folder(&self) -> &str {
        self.folder.path().to_str().expect("valid UTF-8")
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with this store's flags.
    pub fn command(&self, args: &[&str]) -> Command {
        let named = ["--storage-driver", &driver()];
        self.bare_command(&[&named, args].concat())
    }

    /// The program on this store, whichever driver that uses.
    fn bare_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mica"));
        command.arg("--root").arg(self.path("root")).arg("--run-root").arg(self.path("run")).args(args);
        command.current_dir(self.folder.path()).env("MICA_CONFIG", "/dev/null").stdin(Stdio::null());
        // Tests make no bridges in the network of the machine that they run on.
        command.env("MICA_NETWORK", "none");
        command
    }

    /// Runs to the end.
    pub fn mica(&self, args: &[&str]) -> Done {
        finish(self.command(args), b"")
    }

    /// Runs to the end with the driver that the store uses.
    pub fn mica_unnamed(&self, args: &[&str]) -> Done {
        finish(self.bare_command(args), b"")
    }

    /// Runs to the end with this on standard input.
    pub fn mica_with(&self, args: &[&str], input: &[u8]) -> Done {
        finish(self.command(args), input)
    }

    /// Starts a container in the background and returns its ID.
    pub fn background(&self, args: &[&str]) -> String {
        let mut line = vec!["run", "-d"];
        line.extend(args);
        self.mica(&line).ok()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.path("root").exists() {
            let ids = self.mica(&["ps", "-aq"]).stdout;
            let mut line = vec!["rm", "-f"];
            line.extend(ids.split_whitespace());
            if line.len() > 2 {
                self.mica(&line);
            }
        }
        // A test may have mounted something for its store to be on, and a folder goes only without mounts.
        rustix::mount::unmount(self.path("root"), rustix::mount::UnmountFlags::DETACH).ok();
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mounts");
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(self.folder())).collect();
        assert!(std::thread::panicking() || left.is_empty(), "left mounted: {left:#?}");
    }
}

/// The driver under test.
pub fn driver() -> String {
    std::env::var("MICA_TEST_STORAGE_DRIVER").unwrap_or_else(|_| "overlay".to_owned())
}

/// Runs a command to its end.
pub fn finish(mut command: Command, input: &[u8]) -> Done {
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let mut child =
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let feeder = child.stdin.take().map(|mut stdin| {
        let input = input.to_vec();
        // A program that does not read its input to the end is within its rights.
        std::thread::spawn(move || drop(stdin.write_all(&input)))
    });
    let output = child.wait_with_output().expect("the program ends");
    if let Some(feeder) = feeder {
        feeder.join().expect("the feeder ends");
    }
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

/// Waits until something holds; a test that waits for ever says what for.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that free what was removed from a store and flush what was put into it.
pub fn reapers(store: &Store) -> Vec<PathBuf> {
    let root = store.path("root");
    let root = root.to_str().expect("valid UTF-8").as_bytes();
    let is_reaper = |process: &PathBuf| {
        let line = fs_err::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|&byte| byte == 0).collect();
        words.contains(&root) && words.contains(&&b"__reap"[..])
    };
    fs_err::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path()).filter(is_reaper).collect()
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("the child lives");
}

/// Writes the archive of a root file system with busybox in it.
pub fn base_archive(path: &Path) {
    let mut archive = tar::Builder::new(File::create_new(path).expect("a new file"));
    let mut entry = |name: &str, kind: tar::EntryType, mode: u32, link: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        if link.is_empty() {
            archive.append_data(&mut header, name, bytes).expect("written");
        } else {
            archive.append_link(&mut header, name, link).expect("written");
        }
    };
    for folder in ["bin/", "etc/", "root/", "tmp/", "dev/", "proc/", "sys/", "data/"] {
        entry(folder, tar::EntryType::Directory, if folder == "tmp/" { 0o1777 } else { 0o755 }, "", b"");
    }
    let busybox = fs_err::read("/bin/busybox").expect("busybox");
    entry("bin/busybox", tar::EntryType::Regular, 0o755, "", &busybox);
    for applet in APPLETS {
        entry(&format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, "busybox", b"");
    }
    entry(
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        "",
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/data:/bin/sh\n",
    );
    entry("etc/group", tar::EntryType::Regular, 0o644, "", b"root:x:0:\nuser:x:1000:\n");
    entry("etc/secret", tar::EntryType::Regular, 0o600, "", b"old\n");
    entry("not-executable", tar::EntryType::Regular, 0o644, "", b"data");
    archive.finish().expect("an archive");
}

const APPLETS: [&str; 28] = [
    "sh", "true", "false", "cat", "echo", "sleep", "ls", "id", "env", "pwd", "touch", "mkdir", "rm", "mv", "ps",
    "kill", "head", "yes", "hostname", "stat", "wc", "stty", "grep", "chmod", "ln", "test", "ifconfig", "mount",
];

/// Builds the monitor, the drivers and their judge next to the program. They are no Cargo dependencies of it, so nothing else does.
fn stage() {
    static STAGED: Once = Once::new();
    STAGED.call_once(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_mica")).parent().expect("a target folder");
        let lock =
            File::options().create(true).truncate(false).write(true).read(true).open(folder.join(".mica-staged"));
        let mut lock = lock.expect("a lock file");
        flock(&lock, FlockOperation::LockExclusive).expect("a lock");
        // Nextest has one process for each test, and one build is enough for all of them.
        let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| format!("pid {}", std::process::id()));
        if std::io::read_to_string(&lock).is_ok_and(|staged| staged == run) {
            return;
        }
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "-p", "mica-runtime", "-p", "mica-network", "-p", "mica-storage-conformance"])
            .arg("--target-dir")
            .arg(folder.parent().expect("a target folder"));
        for driver in ["mica-storage-overlay", "mica-storage-vfs", "mica-storage-btrfs"] {
            build.args(["-p", driver]);
        }
        if folder.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().expect("cargo starts").success(), "the monitor and the drivers must build");
        lock.set_len(0).expect("an empty lock file");
        rustix::fs::seek(&lock, rustix::fs::SeekFrom::Start(0)).expect("the beginning");
        lock.write_all(run.as_bytes()).expect("written");
    });
}

/// Says that a test did nothing.
#[expect(clippy::print_stderr, reason = "a test that does nothing must say so")]
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
