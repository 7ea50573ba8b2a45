//! Listings of a store with 1,000 images, 5,000 layers and 1,000 containers, while another process loads.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::archive::{Archive, Stored};
use super::{quiet, sandbox};
use crate::mica::Sandbox;
use crate::output;

const IMAGES: usize = 1_000;
/// Of each image; one more layer is everybody's.
const LAYERS: usize = 5;
const CONTAINERS: usize = 1_000;
const ROUNDS: usize = 40;
/// What a listing may take.
const LIMIT: Duration = Duration::from_millis(50);

const LISTINGS: [(&str, &[&str]); 7] = [
    ("images", &["images"]),
    ("ps -a", &["ps", "-a"]),
    ("ps -a -s", &["ps", "-a", "-s"]),
    ("system df", &["system", "df"]),
    ("system df -v", &["system", "df", "-v"]),
    ("inspect -s", &["inspect", "-s", "c500"]),
    ("version (starting the program alone)", &["--version"]),
];

/// Fills a store and times its listings.
pub fn run(memory: &Path) -> Result<()> {
    let mica = sandbox(memory)?;
    let made = Instant::now();
    fill(&mica)?;
    output::heading(format!(
        "listings over {IMAGES} images, {} layers, {CONTAINERS} containers (made in {:.0} s), {ROUNDS} rounds",
        IMAGES * LAYERS + 1,
        made.elapsed().as_secs_f64()
    ));
    let first = time(&mica, &["system", "df"])?;
    output::line(format!("  the first `system df`, which measures every container: {}", shown(first)));
    report(&mica, "nobody else at work")?;
    let archive = loaded(&mica)?;
    let done = AtomicBool::new(false);
    let loads = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                quiet(mica.command(&["load", "-q", "-i"]).arg(&archive))?;
                quiet(&mut mica.command(&["rmi", "moving:1"]))?;
                loads.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let result = report(&mica, "while another process loads and removes an image of 60 MB over and over");
        done.store(true, Ordering::Relaxed);
        load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        result
    })?;
    output::line(format!("  {} loads meanwhile", loads.load(Ordering::Relaxed)));
    Ok(())
}

/// Times every listing, interleaved, and says which are slower than they may be.
fn report(mica: &Sandbox, when: &str) -> Result<()> {
    let mut times = vec![Vec::new(); LISTINGS.len()];
    for _ in 0..ROUNDS {
        for ((_, args), times) in LISTINGS.iter().zip(&mut times) {
            times.push(time(mica, args)?);
        }
    }
    output::line(format!("  {when}:"));
    for ((name, _), times) in LISTINGS.iter().zip(&mut times) {
        times.sort_unstable();
        let (middle, late) = (times[ROUNDS / 2], times[ROUNDS * 95 / 100]);
        let verdict = if late <= LIMIT { "within" } else { "BEYOND" };
        output::line(format!(
            "    {name:38} p50 {}   p95 {}   {verdict} {} ms",
            shown(middle),
            shown(late),
            LIMIT.as_millis()
        ));
    }
    Ok(())
}

fn time(mica: &Sandbox, args: &[&str]) -> Result<Duration> {
    let started = Instant::now();
    quiet(&mut mica.command(args))?;
    Ok(started.elapsed())
}

fn shown(time: Duration) -> String {
    format!("{:>6.1} ms", time.as_secs_f64() * 1e3)
}

/// Makes the store by the verbs that a person would use.
fn fill(mica: &Sandbox) -> Result<()> {
    let path = mica.path("many.tar");
    let mut archive = Archive::create(&path)?;
    let base = archive.layer(&vec![("bin/true".to_owned(), b"#!".to_vec())])?;
    for image in 0..IMAGES {
        let own = (0..LAYERS)
            .map(|layer| archive.layer(&vec![(format!("layer-{layer}/file"), format!("{image} {layer}").into_bytes())]))
            .collect::<Result<Vec<Stored>>>()?;
        let stack: Vec<&Stored> = std::iter::once(&base).chain(&own).collect();
        archive.image(&format!("many/image-{image}:1"), &stack)?;
    }
    archive.finish()?;
    quiet(mica.command(&["load", "-q", "-i"]).arg(&path))?;
    fs_err::remove_file(&path)?;
    for container in 0..CONTAINERS {
        let (name, image) = (format!("c{container}"), format!("many/image-{container}:1"));
        quiet(&mut mica.command(&["create", "--name", &name, "--network", "none", &image]))?;
    }
    Ok(())
}

/// The archive that is loaded meanwhile.
fn loaded(mica: &Sandbox) -> Result<std::path::PathBuf> {
    let path = mica.path("moving.tar");
    let mut archive = Archive::create(&path)?;
    let layers = (0..6_u8)
        .map(|layer| {
            let files = (0..200).map(|file| (format!("moving-{layer}/file-{file}"), vec![layer ^ b'x'; 50_000]));
            archive.layer(&files.collect())
        })
        .collect::<Result<Vec<Stored>>>()?;
    archive.image("moving:1", &layers.iter().collect::<Vec<_>>())?;
    archive.finish()?;
    Ok(path)
}
