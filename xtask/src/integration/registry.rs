//! Registries: images go to and from them through Mica, skopeo, Podman and Docker, bit for bit, over plain HTTP and over TLS
//! with users, and through an nginx that slows, cuts, fails and redirects.

mod faults;
mod secured;

use anyhow::{Result, ensure};

use super::Daemon;
use crate::mica::Sandbox;
use crate::servers::Registry;
use crate::{fixtures, output, sh};

/// What an image says when it runs.
const SAYS: &str = "exchanged";

/// Runs all exchanges.
pub fn run() -> Result<()> {
    let sandbox = Sandbox::new("registry", "overlay")?;
    sandbox.import(&fixtures::busybox()?, "busybox")?;
    let context = sandbox.path("context");
    fs_err::create_dir_all(&context)?;
    fs_err::write(
        context.join("Dockerfile"),
        "FROM busybox\nCOPY file /file\nRUN chmod 4755 /file && ln /file /link\nCMD [\"cat\", \"/file\"]\n",
    )?;
    fs_err::write(context.join("file"), format!("{SAYS}\n"))?;
    sandbox.read(&["build", "-q", "-t", "exchange:1", &context.to_string_lossy()])?;
    let registry = Registry::start(&sandbox.path("plain"))?;
    let id = sandbox.read(&["inspect", "--format", "{{.Id}}", "exchange:1"])?;

    let archive = sandbox.path("exchange.tar");
    sandbox.read(&["save", "--format", "oci-archive", "-o", &archive.to_string_lossy(), "exchange:1"])?;
    let by_skopeo = format!("{}/by/skopeo:1", registry.host);
    skopeo(&format!("oci-archive:{}", archive.display()), &format!("docker://{by_skopeo}"))?;
    pulled(&sandbox, &by_skopeo, &id)?;
    output::line("    what skopeo pushed is pulled with its ID and its manifest's digest, and runs");

    let by_mica = format!("{}/by/mica:1", registry.host);
    sandbox.read(&["tag", "exchange:1", &by_mica])?;
    let said = sandbox.read(&["push", &by_mica])?;
    let digest = sha256(&raw(&by_mica)?)?;
    ensure!(said.contains(&digest), "`push` said {said:?}, skopeo sees {digest}");
    sandbox.read(&["rmi", &by_mica])?;
    pulled(&sandbox, &by_mica, &id)?;
    output::line("    what Mica pushed has the digest that it said, and comes back");

    let mut names = vec![by_skopeo, by_mica];
    names.extend(podman(&sandbox, &registry, &names, &id)?);
    names.push(docker(&sandbox, &registry, &names[..2], &id)?);
    back(&sandbox, &registry, &names)?;
    secured::run(&sandbox, &id)?;
    faults::run(&sandbox, &registry, &archive)?;
    sandbox.read(&["system", "check"]).map(drop)
}

/// Pulls into an empty place, and checks that it is the image with the manifest that the registry has.
fn pulled(sandbox: &Sandbox, name: &str, id: &str) -> Result<()> {
    let said = sandbox.read(&["pull", name])?;
    let digest = format!("Digest: sha256:{}", sha256(&raw(name)?)?);
    ensure!(said.contains(&digest), "`pull {name}` said {said:?}, skopeo sees {digest}");
    let got = sandbox.read(&["inspect", "--format", "{{.Id}}", name])?;
    ensure!(got == id, "`pull {name}` made {got}, expected {id}");
    let said = sandbox.read(&["run", "--rm", "--network", "none", name])?;
    ensure!(said == SAYS, "{name} said {said:?}");
    let mode = sandbox.read(&["run", "--rm", "--network", "none", name, "stat", "-c", "%a %h", "/link"])?;
    ensure!(mode == "4755 2", "setuid or the hard link was lost: {mode:?}");
    Ok(())
}

/// What was pulled goes to another repository as it was, bit for bit.
fn back(sandbox: &Sandbox, registry: &Registry, names: &[String]) -> Result<()> {
    for (number, name) in names.iter().enumerate() {
        let to = format!("{}/back/image-{number}:1", registry.host);
        // They are manifests of the same image, which has the one that it was pulled with last.
        sandbox.read(&["pull", "-q", name])?;
        sandbox.read(&["tag", name, &to])?;
        sandbox.read(&["push", "-q", &to])?;
        ensure!(raw(&to)? == raw(name)?, "{to} is not {name}");
        sandbox.read(&["rmi", &to])?;
    }
    output::line(format!("    {} manifests go round through Mica bit for bit", names.len()));
    Ok(())
}

/// Podman pulls all names, and Mica what Podman pushes: as Docker's schema 2, as OCI, and with zstd.
fn podman(sandbox: &Sandbox, registry: &Registry, names: &[String], id: &str) -> Result<Vec<String>> {
    let podman = |args: &[&str]| -> Result<String> {
        let mut command = sh::command(&["podman", "--storage-driver", "vfs"]);
        command.arg("--root").arg(sandbox.path("podman")).arg("--runroot").arg(sandbox.path("podman-run"));
        sh::read(command.args(args))
    };
    for name in names {
        let theirs = podman(&["pull", "-q", "--tls-verify=false", name])?;
        ensure!(format!("sha256:{theirs}") == id, "podman made image {theirs} of {name}");
    }
    let mut pushed = Vec::new();
    for (format, compression) in [("v2s2", "gzip"), ("oci", "gzip"), ("oci", "zstd")] {
        let to = format!("{}/by/podman-{format}-{compression}:1", registry.host);
        let flags = ["push", "-q", "--tls-verify=false", "--format", format, "--compression-format", compression];
        podman(&[&flags[..], &[&names[0], &to]].concat())?;
        sandbox.read(&["pull", "-q", &to])?;
        let said = sandbox.read(&["run", "--rm", "--network", "none", &to])?;
        ensure!(said == SAYS, "{to} said {said:?}");
        let layers = |name: &str| sandbox.read(&["inspect", "--format", "{{json .RootFS.Layers}}", name]);
        ensure!(layers(&to)? == layers("exchange:1")?, "{to} has layers {}", layers(&to)?);
        pushed.push(to);
    }
    output::line("    podman pulls them, and what podman pushes (schema 2, OCI, zstd) is pulled and runs");
    podman(&["system", "reset", "--force"])?;
    Ok(pushed)
}

/// The same with Docker.
fn docker(sandbox: &Sandbox, registry: &Registry, names: &[String], id: &str) -> Result<String> {
    let daemon = Daemon::start(sandbox)?;
    for name in names {
        sh::read(&mut daemon.client(&["pull", "-q", name]))?;
        let theirs = sh::read(&mut daemon.client(&["image", "inspect", "--format", "{{.Id}}", name]))?;
        ensure!(theirs == id, "docker made image {theirs} of {name}");
    }
    let pushed = format!("{}/by/docker:1", registry.host);
    sh::read(&mut daemon.client(&["tag", &names[0], &pushed]))?;
    sh::read(&mut daemon.client(&["push", "-q", &pushed]))?;
    pulled(sandbox, &pushed, id)?;
    output::line("    docker pulls them, and what docker pushes is pulled and runs");
    Ok(pushed)
}

/// Copies an image by skopeo.
fn skopeo(from: &str, to: &str) -> Result<()> {
    let copy =
        ["skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", from, to];
    sh::read(&mut sh::command(&copy)).map(drop)
}

/// The bytes of the manifest or index behind a name.
fn raw(name: &str) -> Result<Vec<u8>> {
    let mut command = sh::command(&["skopeo", "inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    let output = sh::output(&mut command)?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn sha256(bytes: &[u8]) -> Result<String> {
    use sha2::Digest as _;
    Ok(sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}
