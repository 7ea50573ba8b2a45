//! `exec`: its exit code is the command's, or 126 and 127 when there is no such command.

use mica_engine::Kind;
use mica_engine::ops::exec::ExecOptions;

use super::status;
use crate::args::exec::Exec;
use crate::context::Context;
use crate::failure::{Status, run_code};
use crate::spec::{self, Entries};
use crate::stream::{self, Ending, Signals, Streams};
use crate::{output, terminal};

/// `exec`.
pub(super) async fn run(context: &Context, args: &Exec) -> anyhow::Result<()> {
    let Some((container, command)) = args.words.split_first() else {
        anyhow::bail!("no container was named");
    };
    let streams = Streams {
        stdin: args.interactive,
        stdout: true,
        stderr: true,
        tty: args.tty,
        detach_keys: args.detach_keys.clone().unwrap_or_default(),
    };
    if !args.detach {
        streams.check()?;
    }
    // Names without a value have nothing to unset here: the container's environment is its own.
    let Entries { set, .. } = spec::environment(&args.env_file, &args.env)?;
    let options = ExecOptions {
        args: command.to_vec(),
        env: set,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        tty: args.tty,
        stdin: args.interactive && !args.detach,
        detach: args.detach,
        privileged: args.privileged,
        terminal_size: if args.tty { terminal::size() } else { None },
    };
    let session = match context.engine()?.exec(container, options).await {
        Ok(session) => session,
        Err(error) => {
            let has_own_code = matches!(error.kind(), Kind::CommandNotFound | Kind::NotExecutable);
            let failure = anyhow::Error::new(error);
            output::error(&failure);
            return Err(Status(if has_own_code { run_code(&failure) } else { 1 }).into());
        }
    };
    if args.detach {
        return Ok(());
    }
    match stream::carry(session, &streams, Signals::Session).await? {
        Ending::Exited(code) => status(code),
        Ending::Lost => anyhow::bail!("the command's session broke off before it ended"),
        Ending::Detached => Ok(()),
        Ending::Signalled(number) => status(128 + number),
        Ending::Closed => Err(output::Closed.into()),
    }
}
