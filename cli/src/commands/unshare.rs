//! `unshare`: a command of the user's in the namespaces of the user's containers, where their files have their owners.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};

use crate::args::unshare::Unshare;
use crate::context::Context;

pub fn run(context: &Context, args: &Unshare) -> anyhow::Result<()> {
    let Some(joined) = &context.joined else {
        bail!("`unshare` is for users without privileges; root needs no user namespace");
    };
    if args.rootless_netns {
        setns(&joined.network, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")?;
    }
    // As long as the command, or whoever inherits from it, has the connection open, the namespaces stay.
    rustix::io::fcntl_setfd(&joined.keeper, rustix::io::FdFlags::empty()).context("cannot keep the namespaces")?;
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let (program, arguments) = args.command.split_first().map_or((&shell, &[][..]), |(first, rest)| (first, rest));
    let settings = &context.settings;
    let error = Command::new(program)
        .args(arguments)
        // In there this user is root, whose store is elsewhere.
        .env("MICA_ROOT", &settings.root)
        .env("MICA_RUN_ROOT", &settings.run_root)
        .exec();
    Err(error).with_context(|| format!("cannot run `{program}`"))
}
