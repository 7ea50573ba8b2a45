//! `mount` prints where a container's root is, `unmount` what is not there any more.

use mica_engine::ops::ps::PsRequest;

use super::each;
use crate::args::mount::{Mount, Unmount};
use crate::context::Context;
use crate::output;

/// `mount`.
pub(super) async fn mount(context: &Context, args: &Mount) -> anyhow::Result<()> {
    let engine = context.engine()?;
    let mut names = args.containers.clone();
    if args.all {
        let all = engine.ps(PsRequest { all: true, ..PsRequest::default() }).await?;
        names.extend(all.into_iter().map(|container| container.record.id));
    } else if names.is_empty() {
        for root in engine.mounted_roots().await? {
            output::line(format!("{}  {}", root.id.get(..12).unwrap_or(&root.id), root.path.display()))?;
        }
        return Ok(());
    }
    let alone = names.len() == 1 && !args.all;
    each(&names, async |name| {
        let root = engine.mount(name).await?;
        let path = root.path.display();
        if alone { output::line(path) } else { output::line(format!("{name}  {path}")) }
    })
    .await
}

/// `unmount`.
pub(super) async fn unmount(context: &Context, args: &Unmount) -> anyhow::Result<()> {
    let engine = context.engine()?;
    let mut names = args.containers.clone();
    if args.all {
        names.extend(engine.mounted_roots().await?.into_iter().map(|root| root.id));
    }
    each(&names, async |name| {
        let (id, was) = engine.unmount(name).await?;
        if !was {
            anyhow::bail!("the root of container `{name}` is not mounted");
        }
        output::line(id)
    })
    .await
}
