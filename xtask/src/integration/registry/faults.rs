//! Pulls through an nginx that is slow, fails, redirects, dies and comes back, and from a registry whose disk went bad.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{SAYS, raw, skopeo};
use crate::mica::Sandbox;
use crate::output;
use crate::servers::{Nginx, Registry};

/// A third of all requests come to nothing, by their number on their connection: a share by chance would now and then fail one
/// request as often as anybody tries.
const FAILING: &str = "map $connection_requests $fate { ~[25]$ bad; ~8$ busy; default fine; }";
const FAILS: &str =
    "add_header Retry-After 0 always; if ($fate = bad) { return 500; } if ($fate = busy) { return 429; }";

/// Runs all of them.
pub fn run(sandbox: &Sandbox, registry: &Registry, archive: &Path) -> Result<()> {
    let large = large(sandbox, registry)?;
    // Each layer of its own, so that there are many requests.
    let failing = Nginx::before(&sandbox.path("failing"), registry, FAILING, FAILS)?;
    for round in 0..3 {
        let name = format!("{}/{large}", failing.host);
        again(sandbox, &name).with_context(|| format!("round {round}"))?;
    }
    let failed = failing.seen().iter().filter(|line| line.starts_with("500") || line.starts_with("429")).count();
    ensure!(failed > 0, "nothing failed");
    output::line(format!("    {failed} of {} requests fail with 429 or 500, and no pull does", failing.seen().len()));

    redirected(sandbox, registry, &large)?;
    let mut dying = Nginx::before(&sandbox.path("dying"), registry, "", "limit_rate 4m;")?;
    let name = format!("{}/{large}", dying.host);
    let _not_there_at_first = sandbox.output(&["rmi", &name])?;
    forget(sandbox)?;
    let pull = sandbox
        .command(&["pull", "-q", &name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    std::thread::sleep(Duration::from_millis(800));
    dying.cut();
    std::thread::sleep(Duration::from_millis(200));
    dying.again()?;
    let done = pull.wait_with_output()?;
    ensure!(done.status.success(), "the pull did not survive its server: {}", String::from_utf8_lossy(&done.stderr));
    output::line("    a server that dies in the middle and comes back is waited for");
    damaged(sandbox, registry, archive)
}

/// An image of some layers and 40 MB that do not compress.
fn large(sandbox: &Sandbox, registry: &Registry) -> Result<String> {
    let context = sandbox.path("large");
    fs_err::create_dir_all(&context)?;
    let mut dockerfile = String::from("FROM busybox\n");
    let mut random = fastrand::Rng::with_seed(1);
    for layer in 0..8 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(5_000_000).collect();
        fs_err::write(context.join(format!("file-{layer}")), bytes)?;
        dockerfile.push_str(&format!("COPY file-{layer} /file-{layer}\n"));
    }
    fs_err::write(context.join("Dockerfile"), format!("{dockerfile}CMD [\"echo\", \"{SAYS}\"]\n"))?;
    sandbox.read(&["build", "-q", "-t", "large:1", &context.to_string_lossy()])?;
    let archive = sandbox.path("large.tar");
    sandbox.read(&["save", "--format", "oci-archive", "-o", &archive.to_string_lossy(), "large:1"])?;
    skopeo(&format!("oci-archive:{}", archive.display()), &format!("docker://{}/large:1", registry.host))?;
    fs_err::remove_file(archive)?;
    sandbox.read(&["rmi", "large:1"])?;
    Ok("large:1".to_owned())
}

/// Pulls an image that is not here any more, and runs it.
fn again(sandbox: &Sandbox, name: &str) -> Result<()> {
    let _not_there_at_first = sandbox.output(&["rmi", name])?;
    forget(sandbox)?;
    sandbox.read(&["pull", "-q", name])?;
    let said = sandbox.read(&["run", "--rm", "--network", "none", name])?;
    ensure!(said == SAYS, "{name} said {said:?}");
    Ok(())
}

/// Layers of the build that made the image would spare the pull.
fn forget(sandbox: &Sandbox) -> Result<()> {
    sandbox.read(&["system", "prune", "-a", "-f"]).map(drop)
}

/// Blobs come from another address than manifests, as from a cloud's storage.
fn redirected(sandbox: &Sandbox, registry: &Registry, large: &str) -> Result<()> {
    let storage = Nginx::before(&sandbox.path("storage"), registry, "", "")?;
    let front = Nginx::start(
        &sandbox.path("front"),
        &format!(
            "server {{ listen HOST; location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }}\n\
             location ~ /blobs/ {{ return 307 http://{}$uri; }} }}",
            registry.host, storage.host
        ),
    )?;
    again(sandbox, &format!("{}/{large}", front.host))?;
    let moved = front.seen().iter().filter(|line| line.starts_with("307 GET")).count();
    // The last request may not be written down yet.
    let followed = storage.seen().len();
    ensure!(moved >= 9 && followed >= 9, "{moved} redirects, {followed} followed");
    output::line("    blobs that live elsewhere are fetched there");
    Ok(())
}

/// A registry whose disk went bad sends other bytes, or fewer: nothing of them stays.
fn damaged(sandbox: &Sandbox, registry: &Registry, archive: &Path) -> Result<()> {
    let name = format!("{}/damaged:1", registry.host);
    let _not_there = sandbox.output(&["rmi", "exchange:1"])?;
    skopeo(&format!("oci-archive:{}", archive.display()), &format!("docker://{name}"))?;
    let manifest: serde_json::Value = serde_json::from_slice(&raw(&name)?)?;
    let digest = manifest["layers"][1]["digest"].as_str().context("a layer has a digest")?.to_owned();
    let file = registry.blob(&digest);
    let right = fs_err::read(&file)?;
    let mut wrong = right.clone();
    wrong[right.len() / 2] ^= 1;
    for (title, bytes) in [("wrong", &wrong[..]), ("truncated", &right[..right.len() / 2])] {
        forget(sandbox)?;
        for image in sandbox.read(&["images", "-q", "--no-trunc"])?.lines() {
            sandbox.read(&["rmi", "-f", image])?;
        }
        let before = sandbox.read(&["system", "df"])?;
        fs_err::write(&file, bytes)?;
        sandbox.refused(1, &["pull", "-q", &name]).with_context(|| format!("{title} bytes"))?;
        sandbox.read(&["system", "check"])?;
        let after = sandbox.read(&["system", "df"])?;
        ensure!(before == after, "{title} bytes left something:\n{before}\n{after}");
    }
    fs_err::write(&file, right)?;
    again(sandbox, &name)?;
    output::line("    wrong and truncated bytes are refused and leave nothing");
    Ok(())
}
