//! `push` of an image that was built a moment ago, of which the registry has nothing and nobody has compressed anything.

use std::cell::Cell;
use std::path::Path;

use anyhow::Result;

use super::{FASTER, ROUNDS};
use crate::bench::load::{Random, SEED};
use crate::bench::{Contender, compare, met, podman, quiet};
use crate::integration::Daemon;
use crate::mica::Sandbox;
use crate::servers::Registry;

const LAYERS: usize = 5;
const LAYER_BYTES: u64 = 100_000_000;

/// Compares with podman and docker.
pub fn run(memory: &Path, registry: &Registry, mica: &Sandbox, docker: &Daemon) -> Result<()> {
    let context = memory.join("fresh");
    let mut dockerfile = String::from("FROM scratch\n");
    let mut random = Random(SEED);
    for layer in 0..LAYERS {
        random.tree(&context.join(format!("layer-{layer}")), LAYER_BYTES)?;
        dockerfile.push_str(&format!("COPY layer-{layer} /layer-{layer}\n"));
    }
    fs_err::write(context.join("Dockerfile"), dockerfile)?;
    let folder = context.to_string_lossy().into_owned();
    let number = Cell::new(0);
    // Every layer is new each time, for everybody.
    let renew = || -> Result<()> {
        number.set(number.get() + 1);
        (0..LAYERS).try_for_each(|layer| {
            let marker = context.join(format!("layer-{layer}/marker"));
            Ok(fs_err::write(marker, number.get().to_string())?)
        })
    };
    let name = |engine: &str| format!("{}/fresh/{engine}:1", registry.host);
    let (ours, podmans, dockers) = (name("mica"), name("podman"), name("docker"));
    let medians = compare(
        "push of a new image of 5 layers, 500 MB, to this machine",
        ROUNDS,
        &[
            Contender {
                name: "mica",
                prepare: Box::new(|| {
                    renew()?;
                    mica.read(&["build", "-q", "-t", &ours, &folder])?;
                    mica.read(&["system", "prune", "-f"])?;
                    mica.settle()
                }),
                round: Box::new(|| quiet(&mut mica.command(&["push", "-q", &ours]))),
            },
            Contender {
                name: "podman",
                prepare: Box::new(|| {
                    renew()?;
                    quiet(&mut podman(
                        memory,
                        &["build", "-q", "--layers", "--isolation", "chroot", "-t", &podmans, &folder],
                    ))?;
                    quiet(&mut podman(memory, &["image", "prune", "-f"]))
                }),
                round: Box::new(|| quiet(&mut podman(memory, &["push", "-q", "--tls-verify=false", &podmans]))),
            },
            Contender {
                name: "docker",
                prepare: Box::new(|| {
                    renew()?;
                    let build = ["build", "-q", "-t", &dockers, &folder];
                    quiet(docker.client(&build).env("DOCKER_BUILDKIT", "0"))?;
                    quiet(&mut docker.client(&["image", "prune", "-f"]))
                }),
                round: Box::new(|| quiet(&mut docker.client(&["push", "-q", &dockers]))),
            },
        ],
    )?;
    let ratio = medians[1].min(medians[2]).as_secs_f64() / medians[0].as_secs_f64();
    met(&format!("at least {FASTER} x faster than the fastest engine ({ratio:.2} x)"), ratio >= FASTER);
    Ok(())
}
