//! `container prune`, `image prune`, `builder prune`, `system prune`: ask, remove, say what went.

use std::io::{BufRead, IsTerminal};

use mica_engine::ops::prune::{PruneImages, PruneRequest, PruneVolumes, Pruned};

use super::rmi::describe;
use crate::args;
use crate::args::prune::PruneArgs;
use crate::context::Context;
use crate::output::{self, human};

/// `container prune`.
pub(super) async fn containers(context: &Context, args: &args::prune::PruneContainers) -> anyhow::Result<()> {
    let request = PruneRequest { containers: true, ..PruneRequest::default() };
    prune(context, &args.prune, "This will remove all stopped containers.", request).await.map(drop)
}

/// `image prune`.
pub(super) async fn images(context: &Context, args: &args::prune::PruneImages) -> anyhow::Result<()> {
    let (images, warning) = choose(args.all);
    prune(
        context,
        &args.prune,
        &format!("This will remove {warning}."),
        PruneRequest { images, ..PruneRequest::default() },
    )
    .await
    .map(drop)
}

/// `builder prune`.
pub(super) async fn builder(context: &Context, args: &args::prune::PruneBuilder) -> anyhow::Result<()> {
    let request = PruneRequest { build_cache: true, ..PruneRequest::default() };
    prune(context, &args.prune, "This will remove the build cache.", request).await.map(drop)
}

/// `system prune`.
pub(super) async fn system(context: &Context, args: &args::prune::PruneSystem) -> anyhow::Result<()> {
    let (images, warning) = choose(args.all);
    let (volumes, also) = if args.volumes {
        (PruneVolumes::Anonymous, "  - all anonymous volumes not used by at least one container\n")
    } else {
        (PruneVolumes::Keep, "")
    };
    let warning = format!(
        "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n{also}  - {warning}\n  - the build cache\n"
    );
    let request = PruneRequest { containers: true, images, volumes, build_cache: true, ..PruneRequest::default() };
    let agreed = prune(context, &args.prune, &warning, request).await?;
    // After the containers, which may have been the last to name one.
    if agreed {
        super::network::prune_now(context, super::pairs(&args.prune.filters)?).await?;
    }
    Ok(())
}

fn choose(all: bool) -> (PruneImages, &'static str) {
    if all {
        (PruneImages::Unused, "all images without at least one container associated to them")
    } else {
        (PruneImages::Dangling, "all dangling images")
    }
}

pub(super) async fn prune(
    context: &Context,
    args: &PruneArgs,
    warning: &str,
    mut request: PruneRequest,
) -> anyhow::Result<bool> {
    request.filters = super::pairs(&args.filters)?;
    if !args.force && !agreed(warning)? {
        return Ok(false);
    }
    let pruned = context.engine()?.prune(request).await?;
    output::raw(told(&pruned).as_bytes())?;
    Ok(true)
}

/// Asks. No answer, as from an empty pipe, is no.
pub(super) fn agreed(warning: &str) -> anyhow::Result<bool> {
    output::raw(format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ").as_bytes())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.is_empty() && !std::io::stdin().is_terminal() {
        output::line("")?;
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn told(pruned: &Pruned) -> String {
    let images: Vec<String> = pruned.images.iter().map(describe).collect();
    let images: Vec<String> = images.into_iter().map(|line| line.to_lowercase()).collect();
    let mut out = String::new();
    let sections = [
        ("Deleted Containers:", &pruned.containers),
        ("Deleted Volumes:", &pruned.volumes),
        ("Deleted Images:", &images),
        ("Deleted build cache objects:", &pruned.build_cache),
    ];
    for (heading, lines) in sections {
        if !lines.is_empty() {
            out.push_str(&format!("{heading}\n{}\n\n", lines.join("\n")));
        }
    }
    out.push_str(&format!("Total reclaimed space: {}\n", human::size(pruned.reclaimed)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_is_told_in_sections() {
        let empty = Pruned::default();
        assert_eq!(told(&empty), "Total reclaimed space: 0B\n");
        let some = Pruned { containers: vec!["a".into(), "b".into()], reclaimed: 1500, ..Pruned::default() };
        assert_eq!(told(&some), "Deleted Containers:\na\nb\n\nTotal reclaimed space: 1.5kB\n");
    }
}
