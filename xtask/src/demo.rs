//! `cargo xtask demo`: a newcomer's first five minutes with Mica, in a store of its own.

use std::thread;

use anyhow::{Result, anyhow, ensure};

use crate::integration::story;
use crate::mica::Sandbox;
use crate::{fixtures, output, setup, workspace};

/// Installs what is missing, builds, and tells the story once, showing each command's own output.
pub fn run(args: &[String]) -> Result<()> {
    let keep = args.iter().any(|arg| arg == "--keep");
    output::part("system packages", setup::ensure_build)?;
    ensure!(setup::is_root()?, "the demo starts containers with the host's network: run it as root");

    // The base image is a download, the build is computation: they go side by side.
    let base = thread::spawn(fixtures::debian);
    let built = workspace::build_release();
    let base = output::part("base image", || base.join().map_err(|_| anyhow!("making the base image panicked"))?)?;
    built?;

    let mut sandbox = Sandbox::new("demo", "overlay")?;
    if keep {
        sandbox.keep();
    }
    output::line(format!("the store of this demo: {} (driver overlay)", sandbox.root().display()));
    output::line(format!("the base image's root file system: {}", base.display()));
    output::part("an image with Node.js: FROM debian:base, RUN apt-get install nodejs", || {
        story::node_image(&sandbox)
    })?;
    output::part("the application: FROM node:test, COPY server.js ., CMD node server.js", || {
        story::application(&sandbox)
    })?;
    let ports = output::part("two containers of one image", || story::start_two(&sandbox))?;
    for command in [&["images"][..], &["ps"], &["history", "app:1"]] {
        output::heading(format!("mica {}", command.join(" ")));
        sandbox.run(command)?;
    }
    output::part("a file changed in one container is seen neither by the other nor by the image", || {
        story::isolation(&sandbox, &ports)
    })?;
    output::heading("mica diff one");
    sandbox.run(&["diff", "one"])?;
    output::heading("mica rm -f one two; mica rmi app:1");
    sandbox.run(&["rm", "-f", "one", "two"])?;
    sandbox.run(&["rmi", "app:1"])?;
    output::line("\nThat was the story. Next: README.md, or `mica --help`.");
    output::line(format!("The binary is {}.", workspace::mica_binary()?.display()));
    Ok(())
}
