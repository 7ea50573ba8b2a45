//! `pull` of the image of about 900 MB from a registry on this machine, against the peers and against the floor: the time of
//! the slowest of the steps that a pull consists of, each done alone by one thread. `push` of a new image of 500 MB.

mod push;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::load::large_image;
use super::{Contender, compare, median, met, podman, quiet, sandbox};
use crate::integration::Daemon;
use crate::mica::Sandbox;
use crate::servers::Registry;
use crate::{output, sh};

pub const ROUNDS: usize = 3;
/// What a pull may take of the floor.
const FLOOR: f64 = 1.3;
/// How many times faster than the fastest engine it is to be.
pub const FASTER: f64 = 2.0;

/// Both, or the one that is named.
pub fn run(memory: &Path, part: Option<&str>) -> Result<()> {
    let mica = sandbox(memory)?;
    let registry = Registry::start(&memory.join("registry"))?;
    let docker = Daemon::start(&mica)?;
    if matches!(part, None | Some("pull")) {
        pull(memory, &registry, &mica, &docker)?;
    }
    match part {
        None | Some("push") => push::run(memory, &registry, &mica, &docker),
        Some("pull") => Ok(()),
        Some(other) => bail!("no part `{other}` of the bench: pull | push"),
    }
}

/// Compares with podman, docker, skopeo and the floor.
fn pull(memory: &Path, registry: &Registry, mica: &Sandbox, docker: &Daemon) -> Result<()> {
    let name = format!("{}/large:1", registry.host);
    let archive = format!("docker-archive:{}", large_image()?.display());
    let remote = format!("docker://{name}");
    quiet(&mut sh::command(&[
        "skopeo",
        "copy",
        "-q",
        "--insecure-policy",
        "--dest-tls-verify=false",
        &archive,
        &remote,
    ]))?;
    let floor = floor(memory, registry, &remote)?;
    let copy = memory.join("copy");
    let to = format!("dir:{}", copy.display());
    let medians = compare(
        "pull of 12 layers, 900 MB, from this machine",
        ROUNDS,
        &[
            Contender {
                name: "mica",
                prepare: Box::new(|| {
                    let _not_there_at_first = mica.output(&["rmi", &name])?;
                    mica.read(&["system", "prune", "-f"])?;
                    mica.settle()
                }),
                round: Box::new(|| quiet(&mut mica.command(&["pull", "-q", &name]))),
            },
            Contender {
                name: "podman",
                prepare: Box::new(|| quiet(&mut podman(memory, &["rmi", "--ignore", &name]))),
                round: Box::new(|| quiet(&mut podman(memory, &["pull", "-q", "--tls-verify=false", &name]))),
            },
            Contender {
                name: "docker",
                prepare: Box::new(|| {
                    let _not_there_at_first = sh::output(&mut docker.client(&["rmi", &name]))?;
                    Ok(())
                }),
                round: Box::new(|| quiet(&mut docker.client(&["pull", "-q", &name]))),
            },
            Contender {
                name: "skopeo copy to dir",
                prepare: Box::new(|| quiet(sh::command(&["rm", "-rf"]).arg(&copy))),
                round: Box::new(|| {
                    quiet(&mut sh::command(&[
                        "skopeo",
                        "copy",
                        "-q",
                        "--insecure-policy",
                        "--src-tls-verify=false",
                        &remote,
                        &to,
                    ]))
                }),
            },
        ],
    )?;
    let [own, podmans, dockers, _] = medians[..] else { unreachable!("as many medians as contenders") };
    let ratio = own.as_secs_f64() / floor.as_secs_f64();
    met(&format!("at most {FLOOR} x the floor ({ratio:.2} x)"), ratio <= FLOOR);
    let ratio = podmans.min(dockers).as_secs_f64() / own.as_secs_f64();
    met(&format!("at least {FASTER} x faster than the fastest engine ({ratio:.2} x)"), ratio >= FASTER);
    quiet(sh::command(&["rm", "-rf"]).arg(&copy))
}

/// Times each step alone and returns the slowest.
fn floor(memory: &Path, registry: &Registry, remote: &str) -> Result<Duration> {
    let manifest = sh::read(&mut sh::command(&["skopeo", "inspect", "--raw", "--tls-verify=false", remote]))?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    let layers = manifest["layers"].as_array().context("a manifest has layers")?;
    let digests: Vec<&str> = layers.iter().filter_map(|layer| layer["digest"].as_str()).collect();
    let files: Vec<PathBuf> = digests.iter().map(|digest| registry.blob(digest)).collect();
    let mut times: [Vec<Duration>; 4] = Default::default();
    let target = memory.join("floor");
    let mut sizes = (0, 0);
    for _ in 0..3 {
        let begun = Instant::now();
        for digest in &digests {
            fetch(&registry.host, &format!("/v2/large/blobs/{digest}"))?;
        }
        times[0].push(begun.elapsed());
        let (mut inflate, mut hash, mut write) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        sizes = (0, 0);
        for (number, file) in files.iter().enumerate() {
            let packed = fs_err::read(file)?;
            let mut tar = Vec::with_capacity(packed.len() * 4);
            let begun = Instant::now();
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut tar)?;
            inflate += begun.elapsed();
            let begun = Instant::now();
            let digest: String = Sha256::digest(&packed).iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = std::hint::black_box(Sha256::digest(&tar));
            hash += begun.elapsed();
            ensure!(digests[number].ends_with(&digest), "the registry's blob is another");
            let begun = Instant::now();
            store(&target.join(number.to_string()), &packed, &tar)?;
            write += begun.elapsed();
            sizes = (sizes.0 + packed.len(), sizes.1 + tar.len());
        }
        for (times, time) in times[1..].iter_mut().zip([inflate, hash, write]) {
            times.push(time);
        }
        quiet(sh::command(&["rm", "-rf"]).arg(&target))?;
    }
    output::heading(format!(
        "the floor: steps alone, one thread each, medians of 3 ({} MB packed, {} MB unpacked)",
        sizes.0 / 1_000_000,
        sizes.1 / 1_000_000
    ));
    let mut slowest = Duration::ZERO;
    for (title, times) in [
        "fetch: every blob by one connection, thrown away",
        "inflate: every blob in memory, by zlib-rs",
        "hash: SHA-256 of every blob, packed and unpacked",
        "write: blobs and files",
    ]
    .iter()
    .zip(&mut times)
    {
        let middle = median(times);
        output::line(format!("  {title:50} {:>9.1} ms", middle.as_secs_f64() * 1e3));
        slowest = slowest.max(middle);
    }
    Ok(slowest)
}

/// GETs a blob and throws it away.
fn fetch(host: &str, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut buffer = vec![0; 256 << 10];
    let first = stream.read(&mut buffer)?;
    ensure!(buffer[..first].starts_with(b"HTTP/1.1 200"), "the registry has no {path}");
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Writes a blob, and the files of its archive.
fn store(folder: &Path, packed: &[u8], tar: &[u8]) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    fs_err::write(folder.join("blob"), packed)?;
    let root = folder.join("root");
    fs_err::create_dir_all(&root)?;
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path: PathBuf = root.join(entry.path()?).components().collect();
        match entry.header().entry_type() {
            tar::EntryType::Directory => fs_err::create_dir_all(&path)?,
            tar::EntryType::Regular => {
                let at = usize::try_from(entry.raw_file_position())?;
                let content = &tar[at..at + usize::try_from(entry.size())?];
                // Parents may be in layers below.
                if fs_err::write(&path, content).is_err() {
                    fs_err::create_dir_all(path.parent().context("a file is in a folder")?)?;
                    fs_err::write(&path, content)?;
                }
            }
            _ => drop(entry.read(&mut [])?),
        }
    }
    Ok(())
}
