//! `create` and `rm` of a container, against the size of its image: the times must not depend on it.

use std::path::Path;

use anyhow::Result;

use super::load::large_image;
use super::{Contender, compare, quiet};
use crate::fixtures;
use crate::mica::Sandbox;

/// Compares a 2 MB image with a 900 MB one.
pub fn run(memory: &Path) -> Result<()> {
    ["overlay", "btrfs"].into_iter().try_for_each(|driver| on(memory, driver))
}

fn on(memory: &Path, driver: &str) -> Result<()> {
    let mica = Sandbox::below(memory, "bench", driver)?;
    mica.import(&fixtures::busybox()?, "small")?;
    quiet(mica.command(&["load", "-q", "-i"]).arg(large_image()?))?;
    let pair = |image: &'static str| {
        let mica = &mica;
        Box::new(move || {
            quiet(&mut mica.command(&["create", "--name", "pair", "--network", "none", image, "true"]))?;
            quiet(&mut mica.command(&["rm", "pair"]))
        }) as Box<dyn Fn() -> Result<()> + '_>
    };
    let nothing = || Box::new(|| Ok(())) as Box<dyn Fn() -> Result<()>>;
    compare(
        &format!("create and rm of a container ({driver})"),
        21,
        &[
            Contender { name: "image of 2 MB", prepare: nothing(), round: pair("small") },
            Contender { name: "image of 900 MB, 12 layers", prepare: nothing(), round: pair("large:1") },
        ],
    )
    .map(drop)
}
