//! The seed story: a Node.js image built on a Debian base, an application on top, two containers of it, and every byte
//! given back at the end.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::http;
use crate::mica::Sandbox;
use crate::{fixtures, output};

const NODE: &str = "FROM debian:base\n\
    RUN apt-get update -q && apt-get install -y -q --no-install-recommends nodejs && rm -rf /var/lib/apt/lists/*\n";

const APPLICATION: &str = "FROM node:test\nCOPY server.js .\nCMD node server.js\n";

/// Answers with the content of `/state`, which each container has of its own.
const SERVER: &str = "\
const http = require('http');
const fs = require('fs');
const state = () => fs.existsSync('/state') ? fs.readFileSync('/state', 'utf8') : 'image';
http.createServer((request, response) => response.end('hello from ' + process.env.NAME + ': ' + state()))
  .listen(process.env.PORT, '127.0.0.1');
";

/// Tells the story on one driver and checks every sentence of it.
pub fn run(driver: &str) -> Result<()> {
    let sandbox = Sandbox::new("story", driver)?;
    let empty = sandbox.bytes()?;
    node_image(&sandbox)?;
    let with_node = sandbox.bytes()?;

    application(&sandbox)?;
    let ports = start_two(&sandbox)?;
    output::line("    two containers answer; a write in one is invisible in the other");
    isolation(&sandbox, &ports)?;
    history(&sandbox)?;
    removal(&sandbox)?;

    ensure!(
        sandbox.bytes()? == with_node,
        "`rmi` of the application left {} bytes more than before the build",
        sandbox.bytes()? as i64 - with_node as i64
    );
    for image in ["node:test", "debian:base"] {
        sandbox.run(&["rmi", image])?;
    }
    let left = sandbox.bytes()? as i64 - empty as i64;
    // A file system may keep a directory's blocks after its entries have gone.
    ensure!(left.abs() <= 256 * 1024, "the empty store has {left} bytes more than at the beginning");
    sandbox.run(&["system", "check"])?;
    let leftovers = sandbox.leftovers()?;
    ensure!(leftovers.is_empty(), "left behind: {leftovers:#?}");
    Ok(())
}

/// The base image from debootstrap and Node.js on top, by a RUN step with the host's network.
pub fn node_image(sandbox: &Sandbox) -> Result<()> {
    sandbox.import(&fixtures::debian()?, "debian:base")?;
    build(sandbox, "node", NODE, &[], &["-t", "node:test", "--network", "host"])?;
    let version = sandbox.read(&["run", "--rm", "--network", "none", "node:test", "node", "--version"])?;
    ensure!(version.starts_with('v'), "`node --version` said {version:?}");
    Ok(())
}

/// The application image `app:1`.
pub fn application(sandbox: &Sandbox) -> Result<()> {
    build(sandbox, "app", APPLICATION, &[("server.js", SERVER)], &["-t", "app:1"])
}

fn build(sandbox: &Sandbox, name: &str, dockerfile: &str, files: &[(&str, &str)], flags: &[&str]) -> Result<()> {
    let context = context(sandbox, name, dockerfile, files)?;
    let mut args = vec!["build"];
    args.extend(flags);
    args.push(context.to_str().context("the context's path is not UTF-8")?);
    sandbox.run(&args)
}

fn context(sandbox: &Sandbox, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let context = sandbox.path(name);
    fs_err::create_dir_all(&context)?;
    fs_err::write(context.join("Dockerfile"), dockerfile)?;
    for (file, text) in files {
        fs_err::write(context.join(file), text)?;
    }
    Ok(context)
}

/// Two detached containers on ports of their own; each answers.
pub fn start_two(sandbox: &Sandbox) -> Result<[u16; 2]> {
    let ports = [http::free_port()?, http::free_port()?];
    for (name, port) in ["one", "two"].iter().zip(ports) {
        let (port_setting, name_setting) = (format!("PORT={port}"), format!("NAME={name}"));
        let id = sandbox.read(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "host",
            "-e",
            &port_setting,
            "-e",
            &name_setting,
            "app:1",
        ])?;
        ensure!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "`run -d` printed {id:?}");
        let answer = http::get(port, "/")?;
        ensure!(answer == format!("hello from {name}: image"), "{name} answered {answer:?}");
    }
    Ok(ports)
}

/// A write in one container is seen by itself and by nobody else.
pub fn isolation(sandbox: &Sandbox, ports: &[u16; 2]) -> Result<()> {
    sandbox.run(&["exec", "one", "sh", "-c", "echo -n changed > /state"])?;
    let answers = [http::get(ports[0], "/")?, http::get(ports[1], "/")?];
    ensure!(answers == ["hello from one: changed", "hello from two: image"], "the containers answered {answers:?}");
    let fresh = sandbox.read(&[
        "run",
        "--rm",
        "--network",
        "none",
        "app:1",
        "sh",
        "-c",
        "test -e /state && echo seen || echo unseen",
    ])?;
    ensure!(fresh == "unseen", "the image changed under the containers");
    let changes = sandbox.read(&["diff", "one"])?;
    ensure!(changes.lines().any(|line| line == "A /state"), "`diff` of the changed container said {changes:?}");
    ensure!(!sandbox.read(&["diff", "two"])?.contains("/state"), "`diff` of the other container shows the change");
    Ok(())
}

/// `history` shows each step with its size, newest first, the steps below as `<missing>`.
fn history(sandbox: &Sandbox) -> Result<()> {
    let shown = sandbox.read(&["history", "--no-trunc", "--format", "{{.ID}}|{{.CreatedBy}}|{{.Size}}", "app:1"])?;
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split('|').collect()).collect();
    ensure!(rows.len() == 4, "`history` shows {} steps:\n{shown}", rows.len());
    ensure!(rows[0][0].starts_with("sha256:"), "the newest step has no image ID:\n{shown}");
    ensure!(rows[1..].iter().all(|row| row[0] == "<missing>"), "a step below the top is not `<missing>`:\n{shown}");
    ensure!(rows[0][1].starts_with("CMD") && rows[0][2] == "0B", "the newest step is not the CMD:\n{shown}");
    ensure!(rows[1][1].starts_with("COPY server.js") && rows[1][2] != "0B", "the COPY has no size:\n{shown}");
    ensure!(rows[2][1].contains("apt-get") && rows[2][2].ends_with("MB"), "the RUN has no size:\n{shown}");
    Ok(())
}

/// `rm` frees the thin layer only; `rmi` is refused while a container uses the image, and frees it afterwards.
fn removal(sandbox: &Sandbox) -> Result<()> {
    let before = sandbox.bytes()?;
    sandbox.run(&["exec", "one", "sh", "-c", "head -c 4000000 /dev/zero > /big; sync"])?;
    sandbox.run(&["rm", "-f", "one"])?;
    let image = sandbox.read(&["images", "-q", "app:1"])?;
    ensure!(!image.is_empty(), "`rm` removed the image");
    let after = sandbox.bytes()?;
    ensure!(after < before + 1_000_000, "`rm` left the thin layer: {after} bytes after, {before} before");
    ensure!(sandbox.read(&["ps", "--format", "{{.Names}}"])? == "two", "`rm` of one container touched the other");

    let said = sandbox.refused(1, &["rmi", "app:1"])?;
    ensure!(said.contains("two") || said.contains("container"), "the refusal does not name its reason: {said}");
    sandbox.run(&["stop", "-t", "1", "two"])?;
    sandbox.run(&["rm", "two"])?;
    sandbox.run(&["rmi", "app:1"])
}
