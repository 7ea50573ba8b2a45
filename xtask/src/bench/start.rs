//! `run --rm --network none IMAGE true`, from the command line to the prompt.

use std::path::Path;

use anyhow::Result;

use super::{Contender, compare, podman, quiet, sandbox};
use crate::fixtures;
use crate::integration::Daemon;

/// Compares with podman on runc and with docker.
pub fn run(memory: &Path) -> Result<()> {
    let mica = sandbox(memory)?;
    mica.import(&fixtures::busybox()?, "bench")?;
    quiet(podman(memory, &["import", "-q"]).arg(fixtures::busybox()?).arg("bench"))?;
    let docker = Daemon::start(&mica)?;
    quiet(docker.client(&["import"]).arg(fixtures::busybox()?).arg("bench"))?;
    let args = ["run", "--rm", "--network", "none", "bench", "true"];
    let nothing = || Box::new(|| Ok(())) as Box<dyn Fn() -> Result<()>>;
    compare(
        "run --rm --network none IMAGE true",
        21,
        &[
            Contender { name: "mica", prepare: nothing(), round: Box::new(|| quiet(&mut mica.command(&args))) },
            Contender {
                name: "mica --runtime runc",
                prepare: nothing(),
                round: Box::new(|| {
                    quiet(&mut mica.command(&[
                        "run",
                        "--runtime",
                        "runc",
                        "--rm",
                        "--network",
                        "none",
                        "bench",
                        "true",
                    ]))
                }),
            },
            Contender {
                name: "podman --runtime runc",
                prepare: nothing(),
                round: Box::new(|| quiet(&mut podman(memory, &args))),
            },
            Contender { name: "docker", prepare: nothing(), round: Box::new(|| quiet(&mut docker.client(&args))) },
        ],
    )
    .map(drop)
}
