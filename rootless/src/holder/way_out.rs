//! The way out of the network namespace: a program that makes an interface in there and carries what comes through it on by
//! sockets of the host. Nothing of the host's own loopback is reached through it, and it leads nothing in.
//!
//! `pasta` (passt.top) is the faster one and keeps the host's addresses. Before 2024-08 it loses or repeats data of connections
//! whose client has closed its side (measured with Debian 12's, of 2023-03), so then `slirp4netns` is preferred where it is.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::NETWORK;

/// How long a program may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// An option that `pasta` has had since it is preferred.
const NEW_OPTION: &str = "--map-host-loopback";

/// A way out that is made when somebody needs it.
#[derive(Debug)]
pub struct WayOut {
    run_root: PathBuf,
    carrier: Option<Pid>,
    /// The line whose end ends `slirp4netns`, also when this process is killed.
    line: Option<UnixStream>,
}

impl WayOut {
    /// None yet.
    pub fn new(run_root: &Path) -> Self {
        Self { run_root: run_root.to_owned(), carrier: None, line: None }
    }

    /// Returns when there is a way out, or why there is none.
    pub fn ready(&mut self) -> Result<(), String> {
        if self.carrier.is_some_and(|pid| waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)) {
            return Ok(());
        }
        self.carrier = Some(self.start()?);
        Ok(())
    }

    fn start(&mut self) -> Result<Pid, String> {
        let help = Command::new("pasta").arg("--help").stdin(Stdio::null()).output();
        let is_new = help.as_ref().is_ok_and(|help| {
            [&help.stdout, &help.stderr].iter().any(|said| String::from_utf8_lossy(said).contains(NEW_OPTION))
        });
        if is_new {
            return self.pasta();
        }
        match self.slirp4netns() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && help.is_ok() => self.pasta(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(
                "the network of a user without privileges needs `pasta` (package passt) or `slirp4netns`, and neither is \
                 installed; `--network none` and `--network host` work without"
                    .into(),
            ),
            started => started.map_err(|error| format!("`slirp4netns` gives the network no way out: {error}")),
        }
    }

    /// Leaves its parent when it is ready, and its ID in a file. It ends by itself when the namespace's file goes.
    fn pasta(&self) -> Result<Pid, String> {
        let file = self.run_root.join("pasta.pid");
        let done = Command::new("pasta")
            .args(["--config-net", "--quiet", "--no-map-gw"])
            .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
            .arg("--pid")
            .arg(&file)
            .arg("--netns")
            .arg(self.run_root.join(NETWORK))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start `pasta`: {error}"))?;
        let pid = fs_err::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let _ = fs_err::remove_file(&file);
        pid.map(Pid::from_raw).filter(|_| done.status.success()).ok_or_else(|| {
            let said = String::from_utf8_lossy(&done.stderr);
            // It complains about a missing system log line by line.
            let said: Vec<&str> = said.lines().filter(|line| !line.contains("syslog")).collect();
            format!("`pasta` gives the network no way out: {}", said.join(" "))
        })
    }

    /// Writes to its standard input when it is ready, and ends when its standard output does: of all descriptors those that
    /// need no inheriting.
    fn slirp4netns(&mut self) -> io::Result<Pid> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let (line, end_of_line) = UnixStream::pair()?;
        let mut command = Command::new("slirp4netns");
        command.args(["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-ipv6"]);
        command.args(["--ready-fd=0", "--exit-fd=1", "--netns-type=path"]).arg(self.run_root.join(NETWORK)).arg("tap0");
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(OwnedFd::from(end_of_line)));
        command.stderr(Stdio::null());
        let child = command.spawn()?;
        drop(command);
        let pid = i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let ready = ours.read_exact(&mut [0]);
        if ready.is_err() {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
            return Err(io::Error::other("it ended or was not ready in time; it needs `/dev/net/tun`, open to users"));
        }
        self.line = Some(line);
        Ok(pid)
    }
}

impl Drop for WayOut {
    fn drop(&mut self) {
        if let Some(pid) = self.carrier {
            let _ = kill(pid, Signal::SIGTERM);
            let _ = waitpid(pid, None);
        }
    }
}
