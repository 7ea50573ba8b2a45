//! Registries of a task's own: `docker-registry`, and nginx before it to slow it down, fail and redirect. Each ends with its value.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::integration::free_port;
use crate::sh;

/// A registry with its data in a folder.
#[derive(Debug)]
pub struct Registry {
    _process: Running,
    /// Its name in references.
    pub host: String,
    folder: PathBuf,
}

impl Registry {
    /// Starts one on a free port.
    pub fn start(folder: &Path) -> Result<Registry> {
        Registry::with(folder, "", "")
    }

    /// The same with more fields below `http`, and more sections.
    pub fn with(folder: &Path, http: &str, sections: &str) -> Result<Registry> {
        fs_err::create_dir_all(folder)?;
        let host = format!("127.0.0.1:{}", free_port()?);
        let config = folder.join("config.yml");
        fs_err::write(
            &config,
            format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\n\
                 http:\n  addr: {host}\n{http}{sections}",
                folder.join("data").display()
            ),
        )?;
        let process = Running::start(sh::command(&["docker-registry", "serve"]).arg(&config), &host)?;
        Ok(Registry { _process: process, host, folder: folder.to_owned() })
    }

    /// The file that holds a blob: a registry sends what is in it without another look.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.folder.join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

/// An nginx with its files in a folder.
#[derive(Debug)]
pub struct Nginx {
    process: Option<Running>,
    /// Its name in references.
    pub host: String,
    config: PathBuf,
}

impl Nginx {
    /// Starts one on a free port; `http` stands in its section of that name, `HOST` in it for its address.
    pub fn start(folder: &Path, http: &str) -> Result<Nginx> {
        fs_err::create_dir_all(folder)?;
        let host = format!("127.0.0.1:{}", free_port()?);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", folder.join(kind).display()))
            .concat();
        let config = folder.join("nginx.conf");
        fs_err::write(
            &config,
            format!(
                "user root;\ndaemon off;\nmaster_process off;\npid {};\nevents {{ worker_connections 512; }}\nhttp {{\n{temporary}\
                 log_format seen '$status $request_method $body_bytes_sent $uri';\naccess_log {} seen;\nclient_max_body_size 0;\n{}\n}}\n",
                folder.join("pid").display(),
                folder.join("access.log").display(),
                http.replace("HOST", &host)
            ),
        )?;
        let mut nginx = Nginx { process: None, host, config };
        nginx.again()?;
        Ok(nginx)
    }

    /// Before a registry, with more directives for what it passes on.
    pub fn before(folder: &Path, registry: &Registry, http: &str, directives: &str) -> Result<Nginx> {
        let pass =
            format!("proxy_pass http://{}; proxy_set_header Host $http_host; proxy_buffering off;", registry.host);
        Nginx::start(folder, &format!("{http}\nserver {{ listen HOST; location / {{ {pass} {directives} }} }}"))
    }

    /// Kills it in the middle of whatever it does.
    pub fn cut(&mut self) {
        self.process = None;
    }

    /// Starts it once more where it was.
    pub fn again(&mut self) -> Result<()> {
        let folder = self.config.parent().context("a file is in a folder")?;
        let mut command = sh::command(&["/usr/sbin/nginx", "-p"]);
        command.arg(folder).arg("-c").arg(&self.config).arg("-e").arg(folder.join("error.log"));
        self.process = Some(Running::start(&mut command, &self.host)?);
        Ok(())
    }

    /// The requests so far, one a line: status, method, bytes sent, path.
    pub fn seen(&self) -> Vec<String> {
        let log = fs_err::read_to_string(self.config.with_file_name("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// A server, killed with the value.
#[derive(Debug)]
struct Running(Child);

impl Running {
    fn start(command: &mut Command, host: &str) -> Result<Running> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let running = Running(child.with_context(|| format!("cannot start {command:?}: run `cargo xtask setup`"))?);
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(host).is_err() {
            if Instant::now() > deadline {
                bail!("{command:?} does not listen at {host}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
