//! Registries of a test's own: `docker-registry`, and nginx before it. Each ends with its value.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{Store, until};

/// A registry on a free port of this machine.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Its name in references, `127.0.0.1:PORT`.
    pub host: String,
    folder: TempDir,
}

impl Server {
    /// `None` where none is installed, which is an error where nothing may be skipped.
    pub fn start() -> Option<Server> {
        let folder = tempfile::tempdir().expect("a folder");
        let host = free_host();
        let path = folder.path().join("config.yml");
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\nhttp: {{ addr: {host} }}\n",
            folder.path().join("data").display()
        );
        fs_err::write(&path, config).expect("written");
        let process = start("docker-registry", Command::new("docker-registry").arg("serve").arg(&path))?;
        wait_for(&host);
        Some(Server { process, host, folder })
    }

    /// Puts an image of a store there with skopeo, its layers compressed by gzip; returns its full name.
    pub fn take(&self, store: &Store, image: &str, name: &str) -> String {
        let archive = store.path("pushed.tar");
        let path = archive.to_str().expect("valid UTF-8");
        store.mica(&["save", "--format", "oci-archive", "-o", path, image]).ok();
        let (from, to) = (format!("oci-archive:{path}"), format!("docker://{}/{name}", self.host));
        tool(Command::new("skopeo").args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", &from, &to]));
        fs_err::remove_file(archive).expect("removed");
        format!("{}/{name}", self.host)
    }

    /// The file that holds a blob: a registry sends what is in it without another look.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// Loses all uploads that are under way.
    pub fn forget_uploads(&self, path: &str) {
        let uploads = self.folder.path().join("data/docker/registry/v2/repositories").join(path).join("_uploads");
        fs_err::remove_dir_all(uploads).expect("removed");
    }

    /// The manifest behind a name.
    pub fn manifest(&self, name: &str) -> serde_json::Value {
        let name = format!("docker://{}/{name}", self.host);
        serde_json::from_slice(&tool(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &name])))
            .expect("a manifest")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Child,
    /// Its name in references, `127.0.0.1:PORT`.
    pub host: String,
    folder: TempDir,
}

impl Nginx {
    /// Before a registry, with more directives.
    pub fn before(server: &Server, directives: &str) -> Option<Nginx> {
        Nginx::with(|_| {
            format!(
                "location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; proxy_buffering off; {directives} }}",
                server.host
            )
        })
    }

    /// With these locations, which may lead into its folder. Its buffers are small, so that what it has sent has arrived.
    pub fn with(locations: impl FnOnce(&Path) -> String) -> Option<Nginx> {
        let folder = tempfile::tempdir().expect("a folder");
        let host = free_host();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
            .concat();
        let config = format!(
            "user root;\ndaemon off;\nmaster_process off;\npid {};\nevents {{ worker_connections 512; }}\nhttp {{\n{temporary}\
             log_format seen '$status $request_method $body_bytes_sent $uri';\naccess_log {} seen;\n\
             log_format taken '$request_method $request_length $uri';\naccess_log {} taken;\nsendfile_max_chunk 64k;\n\
             server {{ listen {host} sndbuf=64k; client_max_body_size 0;\n{}\n}} }}\n",
            at("pid"),
            at("access.log"),
            at("taken.log"),
            locations(folder.path())
        );
        fs_err::write(folder.path().join("nginx.conf"), config).expect("written");
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        let process = start("nginx", command.arg("-e").arg(folder.path().join("error.log")))?;
        wait_for(&host);
        Some(Nginx { process, host, folder })
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How many bytes of uploads it has taken. Requests count once they have ended, in whatever way.
    pub fn taken(&self) -> u64 {
        let log = fs_err::read_to_string(self.path("taken.log")).unwrap_or_default();
        let uploads = log.lines().filter(|line| line.contains("/blobs/uploads/"));
        uploads.filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).sum()
    }

    /// How many bytes of blobs it has sent. Requests count once they have ended.
    pub fn served(&self) -> u64 {
        let log = fs_err::read_to_string(self.path("access.log")).unwrap_or_default();
        let blobs = log.lines().filter(|line| line.contains("/blobs/"));
        blobs.filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a tool to its end and returns what it said.
pub fn tool(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().expect("the tool starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn free_host() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string()
}

#[expect(clippy::print_stderr, reason = "a test that does nothing must say so")]
fn start(program: &str, command: &mut Command) -> Option<Child> {
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(process) => Some(process),
        Err(error) => {
            assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "cannot run `{program}`: {error}");
            eprintln!("skipped: cannot run `{program}`: {error}");
            None
        }
    }
}

fn wait_for(host: &str) {
    until("a server", || TcpStream::connect(host).is_ok());
}
