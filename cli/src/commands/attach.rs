//! `attach`: one more terminal on a running container.

use super::status;
use crate::args::attach::Attach;
use crate::context::Context;
use crate::output;
use crate::stream::{self, Ending, Signals, Streams};

/// `attach`. The client that started the container cleans up after it; this one only watches.
pub(super) async fn run(context: &Context, args: &Attach) -> anyhow::Result<()> {
    let engine = context.engine()?;
    let started = engine.attach(&args.container).await?;
    let streams = Streams {
        stdin: started.stdin_open && !args.no_stdin,
        stdout: true,
        stderr: true,
        tty: started.tty,
        detach_keys: args.detach_keys.clone().unwrap_or_default(),
    };
    streams.check()?;
    let signals = if args.sig_proxy { Signals::Container(&engine, &started.id) } else { Signals::Nobody };
    match stream::carry(started.session, &streams, signals).await? {
        Ending::Exited(code) => status(code),
        Ending::Lost => status(engine.wait(&started.id).await?),
        Ending::Detached => Ok(()),
        Ending::Signalled(number) => status(128 + number),
        Ending::Closed => Err(output::Closed.into()),
    }
}
