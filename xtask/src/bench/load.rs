//! `load` of a 12-layer image of about 900 MB, against the peers and against a bare `tar -x` of the same layers.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Contender, compare, podman, quiet, sandbox};
use crate::integration::Daemon;
use crate::mica::Sandbox;
use crate::{fixtures, sh, workspace};

const LAYERS: usize = 12;
const LAYER_BYTES: u64 = 75_000_000;
/// Where the random files begin.
pub const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// Compares with podman, docker and tar.
pub fn run(memory: &Path) -> Result<()> {
    let archive = memory.join("large.tar");
    fs_err::copy(large_image()?, &archive)?;
    let mica = sandbox(memory)?;
    let docker = Daemon::start(&mica)?;
    let layers = memory.join("layers");
    fs_err::create_dir_all(&layers)?;
    quiet(sh::command(&["tar", "-xf"]).arg(&archive).arg("-C").arg(&layers))?;
    let bare = memory.join("bare");
    let listing = layer_tars(&layers)?;
    compare(
        "load of 12 layers, 900 MB",
        5,
        &[
            Contender {
                name: "tar -x of each layer",
                prepare: Box::new(|| {
                    quiet(sh::command(&["rm", "-rf"]).arg(&bare))?;
                    Ok(fs_err::create_dir_all(&bare)?)
                }),
                round: Box::new(|| {
                    listing
                        .iter()
                        .try_for_each(|layer| quiet(sh::command(&["tar", "-xf"]).arg(layer).arg("-C").arg(&bare)))
                }),
            },
            Contender {
                name: "mica",
                prepare: Box::new(|| {
                    let _not_there_at_first = mica.output(&["rmi", "large:1"])?;
                    mica.run(&["system", "prune", "-f"])
                }),
                round: Box::new(|| quiet(mica.command(&["load", "-q", "-i"]).arg(&archive))),
            },
            Contender {
                name: "podman",
                prepare: Box::new(|| quiet(&mut podman(memory, &["rmi", "--ignore", "large:1"]))),
                round: Box::new(|| quiet(podman(memory, &["load", "-q", "-i"]).arg(&archive))),
            },
            Contender {
                name: "docker",
                prepare: Box::new(|| {
                    let _not_there_at_first = sh::output(&mut docker.client(&["rmi", "large:1"]))?;
                    Ok(())
                }),
                round: Box::new(|| quiet(docker.client(&["load", "-q", "-i"]).arg(&archive))),
            },
        ],
    )
    .map(drop)
}

/// The layers' tars in the unpacked archive: blobs that are tars by their own account.
fn layer_tars(layers: &Path) -> Result<Vec<PathBuf>> {
    let found = sh::read(sh::command(&["find"]).arg(layers).args(["-type", "f", "-size", "+1M"]))?;
    Ok(found.lines().map(PathBuf::from).collect())
}

/// The archive, made once: twelve layers of text-like and incompressible files between 1 and 60 kB.
pub fn large_image() -> Result<PathBuf> {
    let path = workspace::fixtures().join("large.tar");
    if path.exists() {
        return Ok(path);
    }
    let mica = Sandbox::new("large", "overlay")?;
    mica.import(&fixtures::busybox()?, "base")?;
    let context = mica.path("context");
    let mut dockerfile = String::from("FROM base\n");
    let mut random = Random(SEED);
    for layer in 0..LAYERS {
        dockerfile.push_str(&format!("COPY layer-{layer} /layer-{layer}\n"));
        random.tree(&context.join(format!("layer-{layer}")), LAYER_BYTES)?;
    }
    fs_err::write(context.join("Dockerfile"), dockerfile)?;
    mica.run(&["build", "-q", "-t", "large:1", &context.to_string_lossy()])?;
    let partial = path.with_extension("partial");
    mica.run(&["save", "-o", &partial.to_string_lossy(), "large:1"])?;
    fs_err::rename(partial, &path)?;
    Ok(path)
}

/// xorshift64: the same files on every machine.
pub struct Random(pub u64);

impl Random {
    /// Fills a directory with so many bytes in files.
    pub fn tree(&mut self, folder: &Path, wanted: u64) -> Result<()> {
        let (mut bytes, mut number) = (0, 0);
        while bytes < wanted {
            let directory = folder.join((number / 100).to_string());
            fs_err::create_dir_all(&directory)?;
            let content = self.file();
            bytes += content.len() as u64;
            fs_err::write(directory.join(format!("file-{number}")), content)?;
            number += 1;
        }
        Ok(())
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn file(&mut self) -> Vec<u8> {
        let length = 1_000 + (self.next() % 59_000) as usize;
        let is_text = self.next().is_multiple_of(2);
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            let word = self.next();
            if is_text {
                bytes.extend(format!("word{:03} ", word % 1000).bytes());
            } else {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.truncate(length);
        bytes
    }
}
