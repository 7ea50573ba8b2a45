//! Archives go both ways: what `mica save` writes is read by skopeo, Podman and Docker, and Mica loads what those save,
//! with layer and config digests equal.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::mica::Sandbox;
use crate::{fixtures, output, sh};

/// Everything an archive must carry over.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    config: String,
    layers: String,
}

/// Runs all exchanges.
pub fn run() -> Result<()> {
    let sandbox = Sandbox::new("interop", "overlay")?;
    sandbox.import(&fixtures::busybox()?, "busybox")?;
    let context = sandbox.path("context");
    fs_err::create_dir_all(&context)?;
    fs_err::write(
        context.join("Dockerfile"),
        "FROM busybox\nCOPY file /file\nRUN chmod 4755 /file && ln /file /link\nENV A=b\nCMD [\"cat\", \"/file\"]\n",
    )?;
    fs_err::write(context.join("file"), "exchanged\n")?;
    sandbox.run(&["build", "-q", "-t", "exchange:1", &context.to_string_lossy()])?;
    let ours = identity(&sandbox)?;

    let docker_archive = saved(&sandbox, "docker-archive")?;
    let oci_archive = saved(&sandbox, "oci-archive")?;
    for (transport, archive) in [("docker-archive", &docker_archive), ("oci-archive", &oci_archive)] {
        let reference = format!("{transport}:{}", archive.display());
        sh::read(&mut sh::command(&["skopeo", "inspect", &reference]))?;
        let config = sh::read(&mut sh::command(&["skopeo", "inspect", "--config", "--raw", &reference]))?;
        let inspected = format!("sha256:{}", sha256(config.as_bytes())?);
        ensure!(
            inspected == ours.config,
            "skopeo sees config {inspected} in the {transport}, Mica has {}",
            ours.config
        );
        output::line(format!("    skopeo inspect {transport}: the config's digest is ours"));
    }
    for archive in [&docker_archive, &oci_archive] {
        reload(&sandbox, archive, &ours)?;
    }
    skopeo(&sandbox, &docker_archive, &ours)?;
    podman(&sandbox, &docker_archive, &oci_archive, &ours)?;
    docker(&sandbox, &docker_archive, &ours)
}

fn identity(sandbox: &Sandbox) -> Result<Identity> {
    Ok(Identity {
        config: sandbox.read(&["inspect", "--format", "{{.Id}}", "exchange:1"])?,
        layers: sandbox.read(&["inspect", "--format", "{{json .RootFS.Layers}}", "exchange:1"])?,
    })
}

fn saved(sandbox: &Sandbox, format: &str) -> Result<PathBuf> {
    let archive = sandbox.path(&format!("{format}.tar"));
    sandbox.run(&["save", "--format", format, "-o", &archive.to_string_lossy(), "exchange:1"])?;
    Ok(archive)
}

/// Removes the image, loads the archive and checks that the very same image is back and runs.
fn reload(sandbox: &Sandbox, archive: &Path, expected: &Identity) -> Result<()> {
    sandbox.run(&["rmi", "exchange:1"])?;
    let said = sandbox.read(&["load", "-i", &archive.to_string_lossy()])?;
    ensure!(said.contains("exchange:1"), "`load` of {} said {said:?}", archive.display());
    let got = identity(sandbox)?;
    ensure!(got == *expected, "`load` of {} made {got:?}, expected {expected:?}", archive.display());
    let said = sandbox.read(&["run", "--rm", "--network", "none", "exchange:1"])?;
    ensure!(said == "exchanged", "the loaded image said {said:?}");
    let mode = sandbox.read(&["run", "--rm", "--network", "none", "exchange:1", "stat", "-c", "%a %h", "/link"])?;
    ensure!(mode == "4755 2", "setuid or the hard link was lost: {mode:?}");
    Ok(())
}

/// skopeo recompresses with gzip into an OCI archive, so its layers have other digests but the same diff IDs.
fn skopeo(sandbox: &Sandbox, docker_archive: &Path, ours: &Identity) -> Result<()> {
    let theirs = sandbox.path("skopeo.tar");
    let from = format!("docker-archive:{}", docker_archive.display());
    let to = format!("oci-archive:{}:exchange:1", theirs.display());
    sh::read(&mut sh::command(&["skopeo", "copy", "-q", "--insecure-policy", &from, &to]))?;
    sandbox.run(&["rmi", "exchange:1"])?;
    sandbox.read(&["load", "-i", &theirs.to_string_lossy()])?;
    let names = sandbox.read(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    ensure!(names.contains("exchange:1"), "the skopeo archive's name was lost: {names}");
    let layers = sandbox.read(&["inspect", "--format", "{{json .RootFS.Layers}}", "exchange:1"])?;
    ensure!(layers == ours.layers, "skopeo's archive has layers {layers}, ours {}", ours.layers);
    output::line("    load of an archive recompressed by skopeo: the diff IDs are ours");
    Ok(())
}

fn podman(sandbox: &Sandbox, docker_archive: &Path, oci_archive: &Path, ours: &Identity) -> Result<()> {
    let podman = |args: &[&str]| -> Command {
        let mut command = sh::command(&["podman", "--storage-driver", "vfs"]);
        command.arg("--root").arg(sandbox.path("podman")).arg("--runroot").arg(sandbox.path("podman-run"));
        command.args(args);
        command
    };
    for archive in [docker_archive, oci_archive] {
        sh::read(podman(&["load", "-q", "-i"]).arg(archive))?;
        let id = sh::read(&mut podman(&["image", "inspect", "--format", "{{.Id}}", "exchange:1"]))?;
        ensure!(format!("sha256:{id}") == ours.config, "podman made image {id} of {}", archive.display());
        let layers = sh::read(&mut podman(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", "exchange:1"]))?;
        ensure!(layers == ours.layers, "podman sees layers {layers} in {}", archive.display());
        for format in ["docker-archive", "oci-archive"] {
            let theirs = sandbox.path(&format!("podman-{format}.tar"));
            sh::read(podman(&["save", "-q", "--format", format, "-o"]).arg(&theirs).arg("exchange:1"))?;
            sandbox.run(&["rmi", "exchange:1"])?;
            sandbox.read(&["load", "-i", &theirs.to_string_lossy()])?;
            // Podman names images below localhost/ when it saves them.
            let name = sandbox.read(&[
                "images",
                "--format",
                "{{.Repository}}:{{.Tag}}",
                "--filter",
                "reference=*exchange*",
            ])?;
            let name = name.lines().next().context("nothing was loaded from podman's archive")?;
            if name != "exchange:1" {
                sandbox.run(&["tag", name, "exchange:1"])?;
                sandbox.run(&["rmi", name])?;
            }
            let got = identity(sandbox)?;
            ensure!(got.layers == ours.layers, "podman's {format} has layers {}", got.layers);
            fs_err::remove_file(theirs)?;
        }
        sh::read(&mut podman(&["rmi", "exchange:1"]))?;
    }
    output::line("    podman loads both archives with our digests, and Mica loads what it saves");
    sh::read(&mut podman(&["system", "reset", "--force"])).map(drop)
}

fn docker(sandbox: &Sandbox, docker_archive: &Path, ours: &Identity) -> Result<()> {
    let daemon = Daemon::start(sandbox)?;
    sh::read(daemon.client(&["load", "-q", "-i"]).arg(docker_archive))?;
    let id = sh::read(&mut daemon.client(&["image", "inspect", "--format", "{{.Id}}", "exchange:1"]))?;
    ensure!(id == ours.config, "docker made image {id}, ours is {}", ours.config);
    let layers =
        sh::read(&mut daemon.client(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", "exchange:1"]))?;
    ensure!(layers == ours.layers, "docker sees layers {layers}");
    let theirs = sandbox.path("docker.tar");
    sh::read(daemon.client(&["save", "-o"]).arg(&theirs).arg("exchange:1"))?;
    reload(sandbox, &theirs, ours)?;
    output::line("    docker loads ours with our digests, and Mica loads what it saves");
    Ok(())
}

/// A private dockerd without network, in the mount namespace of this run.
pub struct Daemon {
    child: Child,
    socket: String,
}

impl Daemon {
    /// Starts it with its data below the sandbox and waits until it answers.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let directory = sandbox.path("docker");
        fs_err::create_dir_all(&directory)?;
        let socket = format!("unix://{}", directory.join("docker.sock").display());
        let log = fs_err::File::create(directory.join("log"))?.into_parts().0;
        let mut command =
            sh::command(&["dockerd", "--iptables=false", "--ip-masq=false", "--bridge=none", "--host", &socket]);
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(directory.join(name));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd")?;
        let daemon = Self { child, socket };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !sh::output(&mut daemon.client(&["version"]))?.status.success() {
            if Instant::now() > deadline {
                bail!("dockerd does not answer:\n{}", fs_err::read_to_string(directory.join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(daemon)
    }

    /// A docker command on this daemon. The Debian package's client is `/usr/bin/docker`; another `docker` may stand
    /// before it in PATH and speak a newer protocol than this daemon.
    pub fn client(&self, args: &[&str]) -> Command {
        let mut command = sh::command(&["/usr/bin/docker", "--host", &self.socket]);
        command.args(args);
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // dockerd ends its containerd when it is asked to end, and not when it is killed.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let ended = self.child.wait();
        if asked.is_err() || ended.is_err() {
            output::line("    dockerd could not be stopped");
        }
    }
}

fn sha256(bytes: &[u8]) -> Result<String> {
    use std::io::Write;
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start sha256sum")?;
    child.stdin.take().context("sha256sum has no input")?.write_all(bytes)?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8(output.stdout)?.split_whitespace().next().unwrap_or_default().to_owned())
}
