//! Disks that are really full, out of inodes or read-only: every case on a small file system of its own, with less and
//! less room, and the same verdict afterwards.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::cases::{Case, Effect, words};
use super::ground::Site;
use super::session::{Session, Tally};
use super::{refusal, tracer, verdict};
use crate::{output, sh};

/// Bytes that are left free, from nearly nothing to more than any case needs.
const ROOM: [u64; 6] = [0, 40_000, 200_000, 700_000, 1_500_000, 2_500_000];
/// Inodes that are left free.
const INODES: [u64; 5] = [0, 1, 4, 12, 30];

/// Tries every case on small disks: on all of them, or on each `step`-th, beginning where `seed` says.
pub fn run(session: &Session, cases: &[&'static Case], step: usize, seed: usize) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut turn = seed;
    // What works through containers writes outside the store too, and the other cases show all that differs.
    for case in cases.iter().filter(|case| case.before.is_empty() && !case.fresh) {
        let mut one = |what: String, shortage: Shortage| {
            turn += 1;
            if !turn.is_multiple_of(step) {
                return;
            }
            tally.points += 1;
            match full(session, case, shortage) {
                Ok(()) => tally.checked += 1,
                Err(error) => tally.count(&format!("FAILED {} with {what}", case.name), &error),
            }
        };
        ROOM.iter().for_each(|room| one(format!("{room} bytes left"), Shortage::Bytes(*room)));
        INODES.iter().for_each(|left| one(format!("{left} inodes left"), Shortage::Inodes(*left)));
    }
    tally.points += 1;
    match read_only(session) {
        Ok(()) => tally.checked += 1,
        Err(error) => tally.count("FAILED on a read-only disk", &error),
    }
    Ok(tally)
}

#[derive(Debug, Clone, Copy)]
enum Shortage {
    Bytes(u64),
    Inodes(u64),
}

/// A small mounted file system with a copy of the prepared store.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
    site: Site,
}

impl Disk {
    fn new(session: &Session) -> Result<Self> {
        let (image, mount) = (session.path("small.img"), session.path("small"));
        fs_err::create_dir_all(&mount)?;
        sh::read(sh::command(&["truncate", "-s", "128M"]).arg(&image))?;
        // The inodes are few, so that filling them is quick.
        sh::read(sh::command(&["mkfs.ext4", "-q", "-F", "-m", "0", "-N", "4096"]).arg(&image))?;
        sh::read(sh::command(&["mount", "-o", "loop,noatime"]).arg(&image).arg(&mount))?;
        let site = session.template().moved_to(&mount.join("store"));
        let disk = Self { image, mount, site };
        // Holes where the database's shared memory has zeroes would need room when they are written: SIGBUS.
        let mut copy = sh::command(&["cp", "-a", "--sparse=never"]);
        sh::read(copy.arg(&session.template().directory).arg(&disk.site.directory))?;
        for entry in fs_err::read_dir(disk.site.run_root())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("boot-")) {
                fs_err::remove_file(path)?;
            }
        }
        disk.site.read(&["images"])?;
        ensure!(disk.site.root().join("db/reserve").exists(), "a store with plenty of room keeps none back");
        Ok(disk)
    }

    fn fill(&self, shortage: Shortage) -> Result<()> {
        let free = |inodes: bool| -> Result<u64> {
            let field = if inodes { "--output=iavail" } else { "--output=avail" };
            let said = sh::read(sh::command(&["df", "-B1", field]).arg(&self.mount))?;
            said.lines().last().unwrap_or_default().trim().parse().context("df says no number")
        };
        let filler = self.mount.join("filler");
        fs_err::create_dir_all(&filler)?;
        match shortage {
            Shortage::Bytes(room) => {
                let fill = free(false)?.saturating_sub(room);
                let blocks = fill / 4096 * 4096;
                let _as_much_as_fits =
                    sh::output(sh::command(&["fallocate", "-l", &blocks.to_string()]).arg(filler.join("bytes")))?;
            }
            Shortage::Inodes(left) => {
                for number in 0..free(true)?.saturating_sub(left) {
                    fs_err::write(filler.join(number.to_string()), "")?;
                }
            }
        }
        Ok(())
    }

    fn relieve(&self) -> Result<()> {
        Ok(fs_err::remove_dir_all(self.mount.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = verdict::removed(&self.site);
        let _ = sh::output(sh::command(&["umount"]).arg(&self.mount));
        let _ = fs_err::remove_file(&self.image);
    }
}

fn full(session: &Session, case: &'static Case, shortage: Shortage) -> Result<()> {
    let disk = Disk::new(session)?;
    disk.fill(shortage)?;
    let output = disk.site.output(&words(case.command, session.files()))?;
    let trace = tracer::Trace {
        status: output.status.code().unwrap_or(255),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        struck: true,
        ..tracer::Trace::default()
    };
    // What a container's process or libcontainer meets is told in its own words.
    if !matches!(case.effect, Effect::Living(_)) {
        refusal::told(&trace, &disk.site)?;
    }
    // Reading what was acknowledged works on a full disk.
    disk.site.read(&["images"]).context("on the full disk")?;
    // What a person does then: removing must work without room.
    let _not_there = disk.site.output(&["rm", "-f", "-v", "box"])?;
    disk.site.read(&["system", "prune", "-f"]).context("on the full disk")?;
    disk.relieve()?;
    verdict::check_after_prune(case, &disk.site, session.files(), session.known(case)?)
}

/// Commands that only read work, the others say why they do not.
fn read_only(session: &Session) -> Result<()> {
    let disk = Disk::new(session)?;
    let remount = |mode: &str| -> Result<()> {
        sh::read(sh::command(&["mount", "-o", &format!("remount,{mode}")]).arg(&disk.mount)).map(drop)
    };
    // The run root is in memory on every machine.
    let run = session.path("run");
    sh::read(sh::command(&["cp", "-a"]).arg(disk.site.run_root()).arg(&run))?;
    sh::read(sh::command(&["mount", "--bind"]).arg(&run).arg(disk.site.run_root()))?;
    remount("ro")?;
    let result = on_read_only(&disk.site, session.files());
    remount("rw")?;
    sh::read(sh::command(&["umount"]).arg(disk.site.run_root()))?;
    result
}

fn on_read_only(site: &Site, files: &Path) -> Result<()> {
    let reads: [&[&str]; 9] = [
        &["images"],
        &["ps", "-a"],
        &["inspect", "base:1"],
        &["history", "two:1"],
        &["save", "two:1"],
        &["system", "df"],
        &["info"],
        &["version"],
        &["system", "check"],
    ];
    let mut faults = Vec::new();
    for command in reads {
        let output = site.output(command)?;
        if !output.status.success() {
            faults.push(format!("`{}` only reads: {}", command.join(" "), String::from_utf8_lossy(&output.stderr)));
        }
    }
    let writes: [&[&str]; 6] = [
        &["tag", "two:1", "three:1"],
        &["load", "-q", "-i", "@/new.tar"],
        &["create", "--name", "box", "base:1", "true"],
        &["rm", "used"],
        &["rmi", "spare:1"],
        &["system", "prune", "-f"],
    ];
    for command in writes {
        let output = site.output(&words(command, files))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains("read-only") || !said.contains("hint: ") {
            faults.push(format!("`{}` ended with {}: {said}", command.join(" "), output.status));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n  "));
    output::line("a read-only store is read and says why it is not written");
    Ok(())
}
