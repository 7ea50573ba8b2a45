//! `cargo xtask install --prefix P`: the layout a package would have.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{output, sh, workspace};

/// Installs below the prefix.
pub fn run(args: &[String]) -> Result<()> {
    let prefix = match args {
        [flag, prefix] if flag == "--prefix" => PathBuf::from(prefix),
        [joined] if joined.starts_with("--prefix=") => PathBuf::from(&joined["--prefix=".len()..]),
        _ => bail!("usage: cargo xtask install --prefix P"),
    };
    let mica = workspace::build_release()?;
    let release = mica.parent().context("the binary has no directory")?;
    place(&mica, &prefix.join("bin/mica"), 0o755)?;
    for program in ["mica-holder", "mica-monitor", "mica-names", "mica-ports"] {
        place(&release.join(program), &prefix.join("libexec/mica").join(program), 0o755)?;
    }
    let suite = "mica-storage-conformance";
    place(&release.join(suite), &prefix.join("lib/mica").join(suite), 0o755)?;
    for driver in ["overlay", "vfs", "btrfs"] {
        let name = format!("libmica_storage_{driver}.so");
        place(&workspace::driver(driver), &prefix.join("lib/mica/storage").join(name), 0o644)?;
    }
    let header = workspace::root().join("storage-api/include/mica_storage.h");
    place(&header, &prefix.join("include/mica_storage.h"), 0o644)?;

    let docs = prefix.join("share/mica.docs");
    sh::run(sh::command(&[mica.to_string_lossy().as_ref(), "__docs"]).arg(&docs))?;
    for entry in fs_err::read_dir(docs.join("man1"))? {
        let entry = entry?;
        place(&entry.path(), &prefix.join("share/man/man1").join(entry.file_name()), 0o644)?;
    }
    for (name, directory) in [
        ("mica", "share/bash-completion/completions"),
        ("_mica", "share/zsh/site-functions"),
        ("mica.fish", "share/fish/vendor_completions.d"),
    ] {
        place(&docs.join("completions").join(name), &prefix.join(directory).join(name), 0o644)?;
    }
    fs_err::remove_dir_all(&docs)?;
    output::line(format!("installed below {}", prefix.display()));
    Ok(())
}

/// Copies through a new file and a rename, so that a running `mica` keeps the one it has.
fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs_err::create_dir_all(to.parent().context("the target has no directory")?)?;
    let partial = to.with_extension("new");
    fs_err::copy(from, &partial)?;
    fs_err::set_permissions(&partial, std::fs::Permissions::from_mode(mode))?;
    fs_err::rename(&partial, to)?;
    Ok(())
}
