//! A private nginx, which stands before a registry or serves files as one would; it ends with the value.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::registry::{free_port, started, wait_for};

/// A running nginx.
pub struct Nginx {
    process: Child,
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one whose `http` block holds this text, in which `PORT` stands for its port.
    pub fn start(http: &str) -> Option<Nginx> {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log {};\nevents {{ worker_connections 256; }}\nhttp {{\n  \
             client_body_temp_path {};\n  proxy_temp_path {};\n  fastcgi_temp_path {};\n  uwsgi_temp_path {};\n  scgi_temp_path {};\n  \
             log_format seen '$status $request_method $uri range=$http_range authorization=$http_authorization';\n  \
             access_log {} seen;\n  client_max_body_size 0;\n{}\n}}\n",
            at("pid"),
            at("error.log"),
            at("body"),
            at("proxy"),
            at("fastcgi"),
            at("uwsgi"),
            at("scgi"),
            at("access.log"),
            http.replace("PORT", &port.to_string())
        );
        fs_err::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        let process = started("nginx", command.arg("-e").arg(folder.path().join("error.log")))?;
        wait_for(port);
        Some(Nginx { process, port, folder })
    }

    /// The requests so far, one a line. The last ones are written down a moment after they were answered.
    pub fn seen(&self) -> Vec<String> {
        read(&self.folder.path().join("access.log")).lines().map(str::to_owned).collect()
    }

    /// The same once this holds of them.
    pub fn seen_when(&self, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let seen = self.seen();
            if holds(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{seen:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap_or_default()
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
