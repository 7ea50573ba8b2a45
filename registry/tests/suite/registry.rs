//! A private `docker-registry` on a free port of this machine, with a folder of its own; both go with the value.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mica_engine::Reference;

/// A registry.
pub struct Server {
    process: Child,
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    /// `None` where there is none to run, which is an error where nothing may be skipped.
    pub fn start() -> Option<Server> {
        Server::with(|_| String::new())
    }

    /// The same with more lines in its config, which may name files that are written into its folder.
    pub fn with(config: impl FnOnce(&Path) -> String) -> Option<Server> {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\nhttp: {{ addr: 127.0.0.1:{port} }}\n{}",
            folder.path().join("data").display(),
            config(folder.path())
        );
        fs_err::write(&path, text).unwrap();
        let process = started("docker-registry", Command::new("docker-registry").arg("serve").arg(&path))?;
        wait_for(port);
        Some(Server { process, port, folder })
    }

    /// A name on it.
    pub fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("127.0.0.1:{}/{rest}", self.port)).unwrap()
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port nobody listens on at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a server; `None` where its program is not installed and tests may be skipped.
#[expect(clippy::print_stderr, reason = "a test that does nothing must say so")]
pub fn started(program: &str, command: &mut Command) -> Option<Child> {
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(process) => Some(process),
        Err(error) => {
            assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "cannot run `{program}`: {error}");
            eprintln!("skipped: cannot run `{program}`: {error}");
            None
        }
    }
}

/// Waits until somebody listens.
pub fn wait_for(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a tool to its end and returns what it said.
pub fn tool(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The part of a registry's config that lets one user in.
pub fn users(folder: &Path, user: &str, secret: &str) -> String {
    let file = folder.join("users");
    fs_err::write(&file, tool(Command::new("htpasswd").args(["-nbB", user, secret]))).unwrap();
    format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n", file.display())
}
