//! A registry that speaks only TLS, with an authority of its own, and lets one user in.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use super::SAYS;
use crate::mica::Sandbox;
use crate::servers::Registry;
use crate::{output, sh};

const USER: &str = "someone";
const PASSWORD: &str = "correct horse:battery";

/// Mica logs in, pushes and pulls; skopeo and Podman read the same and bring something of their own.
pub fn run(sandbox: &Sandbox, id: &str) -> Result<()> {
    let folder = sandbox.path("secured");
    let registry = start(&folder)?;
    let name = format!("{}/team/app:1", registry.host);
    let home = sandbox.path("home");
    let mica = |args: &[&str]| -> Command {
        let mut command = sandbox.command(args);
        command
            .env("HOME", &home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("DOCKER_CONFIG");
        command
    };
    sandbox.read(&["tag", "exchange:1", &name])?;
    fs_err::create_dir_all(&home)?;
    refused(&mut mica(&["push", "-q", &name]), "certs.d")?;
    let certificates = home.join(".config/containers/certs.d").join(&registry.host);
    fs_err::create_dir_all(&certificates)?;
    fs_err::copy(folder.join("ca.crt"), certificates.join("ca.crt"))?;
    refused(&mut mica(&["push", "-q", &name]), "mica login")?;
    let login = ["login", "-u", USER, "--password-stdin", &registry.host];
    ensure!(!with_input(&mut mica(&login), "wrong")?.status.success(), "a wrong password was taken");
    let said = with_input(&mut mica(&login), PASSWORD)?;
    ensure!(said.status.success(), "`login` failed: {}", String::from_utf8_lossy(&said.stderr));
    sh::read(&mut mica(&["push", "-q", &name]))?;
    sandbox.read(&["rmi", &name])?;
    sh::read(&mut mica(&["pull", "-q", &name]))?;
    let got = sandbox.read(&["inspect", "--format", "{{.Id}}", &name])?;
    ensure!(got == id, "{name} came back as {got}");

    let credentials = format!("{USER}:{PASSWORD}");
    let theirs = format!("{}/team/theirs:1", registry.host);
    let certificates = certificates.display().to_string();
    let copy = ["skopeo", "copy", "-q", "--insecure-policy", "--src-creds", &credentials, "--dest-creds", &credentials];
    let directories = ["--src-cert-dir", &certificates, "--dest-cert-dir", &certificates];
    let names = [format!("docker://{name}"), format!("docker://{theirs}")];
    sh::read(sh::command(&copy).args(directories).args(names))?;
    let mut podman = sh::command(&["podman", "--storage-driver", "vfs"]);
    podman.arg("--root").arg(sandbox.path("podman")).arg("--runroot").arg(sandbox.path("podman-run"));
    let pulled = sh::read(podman.args(["pull", "-q", "--creds", &credentials, "--cert-dir", &certificates, &name]))?;
    ensure!(format!("sha256:{pulled}") == id, "podman made image {pulled} of {name}");
    let run = ["run", "--rm", "--network", "none", &theirs];
    let said = sh::read(&mut mica(&run))?;
    ensure!(said == SAYS, "{theirs} said {said:?}");

    sh::read(&mut mica(&["logout", &registry.host]))?;
    refused(&mut mica(&["pull", "-q", &theirs]), "mica login")?;
    output::line("    over TLS with a user: login, push, pull, skopeo, podman, logout");
    Ok(())
}

/// Makes an authority, a certificate and a user, and starts the registry.
fn start(folder: &std::path::Path) -> Result<Registry> {
    fs_err::create_dir_all(folder)?;
    let openssl = |args: &str| sh::read(sh::command(&["openssl"]).args(args.split(' ')).current_dir(folder));
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!("req -x509 {key} -subj /CN=authority -keyout ca.key -out ca.crt"))?;
    openssl(&format!(
        "req -x509 {key} -subj /CN=registry -keyout server.key -out server.crt -CA ca.crt -CAkey ca.key \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    ))?;
    fs_err::write(folder.join("users"), sh::read(&mut sh::command(&["htpasswd", "-nbB", USER, PASSWORD]))?)?;
    let at = |name: &str| -> PathBuf { folder.join(name) };
    let tls =
        format!("  tls: {{ certificate: {}, key: {} }}\n", at("server.crt").display(), at("server.key").display());
    let users = format!("auth:\n  htpasswd: {{ realm: test, path: {} }}\n", at("users").display());
    Registry::with(folder, &tls, &users)
}

/// Runs a command that must fail and say this.
fn refused(command: &mut Command, words: &str) -> Result<()> {
    let output = sh::output(command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains(words), "{command:?} did not say `{words}`: {said}");
    Ok(())
}

fn with_input(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("the command has no input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}
