//! A container to test with: root file system, bundle, directories, and what is left of it afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mica_engine::Kind;
use mica_engine::container::RestartPolicy;
use mica_engine::runtime::{
    Descriptors, ExecRequest, ExitRecord, LogFilesTarget, LogTarget, RunState, Runtime, Session, SessionEvent,
    SessionInput, StartRequest,
};
use mica_runtime::MonitorRuntime;
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;
use serde_json::{Value, json};
use tempfile::TempDir;

/// One prepared container.
pub struct Fixture {
    pub directory: TempDir,
    pub runtime: MonitorRuntime,
    pub id: String,
    pub config: Value,
}

/// What a session said from its start to its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: Option<i32>,
}

/// The runtimes this machine can test, or none with the reason printed.
pub fn runtimes() -> Vec<Option<String>> {
    if !rustix::process::geteuid().is_root() {
        skipped("not root");
        return Vec::new();
    }
    if !Path::new("/bin/busybox").exists() {
        skipped("no /bin/busybox (busybox-static)");
        return Vec::new();
    }
    let mut found = vec![None];
    if std::process::Command::new("runc").arg("--version").output().is_ok() {
        found.push(Some("runc".into()));
    } else {
        skipped("runc is not installed; only the embedded runtime is tested");
    }
    found
}

#[expect(clippy::print_stderr, reason = "a test that does not test must say why")]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Runs one asynchronous test.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(future)
}

impl Fixture {
    /// A container that runs `args`, with Docker's default capabilities and name spaces.
    pub fn new(external: &Option<String>, args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::tempdir().unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}{number:04x}{}", std::process::id(), "0".repeat(52));
        for name in ["bundle", "run", "state"] {
            fs_err::create_dir(directory.path().join(name)).unwrap();
        }
        let root = directory.path().join("root");
        for name in ["bin", "etc", "proc", "dev", "sys", "tmp", "work"] {
            fs_err::create_dir_all(root.join(name)).unwrap();
        }
        fs_err::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "echo", "sleep", "stty", "true", "head", "dd", "id", "ls", "readlink", "kill", "wc"]
        {
            fs_err::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let config = config(&directory.path().join("run/rootfs"), &id, args);
        let monitor = PathBuf::from(env!("CARGO_BIN_EXE_mica-monitor"));
        fs_err::create_dir(directory.path().join("cache")).unwrap();
        let runtime = MonitorRuntime::new(monitor)
            .with_default_runtime(external.clone())
            .with_cache(directory.path().join("cache"));
        Self { directory, runtime, id, config }
    }

    pub fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("state/log")
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A request with the standard input connected and a log.
    pub fn request(&self) -> StartRequest {
        let bundle = self.directory.path().join("bundle");
        fs_err::write(bundle.join("config.json"), self.config.to_string()).unwrap();
        StartRequest {
            id: self.id.clone(),
            bundle,
            run_dir: self.run_dir(),
            state_dir: self.directory.path().join("state"),
            log: Some(LogTarget::Files(LogFilesTarget {
                path: self.log(),
                max_size: None,
                max_files: 1,
                compress: false,
                attributes: Default::default(),
            })),
            terminal: self.config["process"]["terminal"].as_bool().unwrap(),
            terminal_size: None,
            stdin: true,
            stdin_once: true,
            on_exit: None,
            die_with_client: false,
            init: None,
            lenders: Vec::new(),
            shm_of: None,
            restart: RestartPolicy::No,
            health: None,
            events: None,
            joins_network: false,
            joins_user: false,
            place: None,
            transient: Vec::new(),
            oci_runtime: None,
        }
    }

    pub async fn start(&self) -> Box<dyn Session> {
        self.runtime.start(self.request(), self.root_mount()).await.unwrap()
    }

    /// Starts it, gives it nothing to read, and listens to the end.
    pub async fn run(&self) -> Said {
        let mut session = self.start().await;
        session.take_input().unwrap().close().await.ok();
        let said = listen(session.as_mut()).await;
        self.runtime.wait(&self.run_dir()).await.unwrap();
        said
    }

    pub async fn refused(&self) -> (Kind, String) {
        match self.runtime.start(self.request(), self.root_mount()).await {
            Ok(_) => panic!("the container started"),
            Err(error) => (error.kind(), error.to_string()),
        }
    }

    pub fn exec(&self, args: &[&str]) -> ExecRequest {
        let mut process = self.config["process"].clone();
        process["args"] = json!(args);
        ExecRequest {
            id: self.id.clone(),
            run_dir: self.run_dir(),
            spec: serde_json::from_value(process).unwrap(),
            terminal_size: None,
            stdin: true,
            detach: false,
            events: None,
        }
    }

    pub fn state(&self) -> RunState {
        serde_json::from_slice(&fs_err::read(self.run_dir().join("state.json")).unwrap()).unwrap()
    }

    pub fn exit(&self) -> ExitRecord {
        serde_json::from_slice(&fs_err::read(self.directory.path().join("state/exit.json")).unwrap()).unwrap()
    }

    /// Nothing of the container is left: no file, no mount, no control group, no process.
    pub fn assert_gone(&self) {
        let names: Vec<_> = fs_err::read_dir(self.run_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["lock"], "files in the run directory");
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "mounts on the host");
        let groups = std::process::Command::new("find")
            .args(["/sys/fs/cgroup", "-name", &format!("*{}*", self.id)])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&groups.stdout), "", "control groups");
    }

    /// A detached mount of the root directory, as a storage driver makes one.
    pub fn root_mount(&self) -> Descriptors {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(CWD, self.root(), flags).unwrap().into()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Ok(state) = fs_err::read(self.run_dir().join("state.json")) {
            let state: RunState = serde_json::from_slice(&state).unwrap();
            mica_runtime::signal_process(state.pid, state.pid_start, libc::SIGKILL).ok();
        }
    }
}

/// Everything a session says.
pub async fn listen(session: &mut dyn Session) -> Said {
    let mut said = Said::default();
    while let Some(event) = session.next().await.unwrap() {
        match event {
            SessionEvent::Stdout(bytes) => said.stdout.extend(bytes),
            SessionEvent::Stderr(bytes) => said.stderr.extend(bytes),
            SessionEvent::Exited(code) => said.code = Some(code),
        }
    }
    said
}

/// Listens until this text has come on the standard output.
pub async fn expect(session: &mut dyn Session, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        match session.next().await.unwrap() {
            Some(SessionEvent::Stdout(bytes)) => seen.extend(bytes),
            other => panic!("{other:?} instead of {text:?} after {:?}", String::from_utf8_lossy(&seen)),
        }
        let text_seen = String::from_utf8_lossy(&seen).into_owned();
        if text_seen.contains(text) {
            return text_seen;
        }
    }
}

/// Takes the input side.
pub fn input(session: &mut dyn Session) -> Box<dyn SessionInput> {
    session.take_input().unwrap()
}

fn config(rootfs: &Path, id: &str, args: &[&str]) -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE"
    ]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
        },
        "root": {"path": rootfs},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": format!("/mica/{id}"),
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71},
                    // CLONE_NEWUSER among the flags: the mask is `value`, what must remain is `valueTwo`.
                    {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "args": [
                        {"index": 0, "value": 0x1000_0000, "valueTwo": 0x1000_0000, "op": "SCMP_CMP_MASKED_EQ"}
                    ]}
                ]
            }
        }
    })
}
