//! System packages: which ones, what for, and how they get here.

use anyhow::{Result, bail};

use crate::{output, sh};

/// A Debian package, how to see that it is there, and why it is needed.
struct Package {
    name: &'static str,
    proof: Proof,
    reason: &'static str,
}

enum Proof {
    Program(&'static str),
    File(&'static str),
}

/// What it takes to build Mica and to run the demo.
const BUILD: &[Package] = &[
    Package { name: "gcc", proof: Proof::Program("cc"), reason: "links Rust, compiles SQLite and zstd" },
    Package { name: "libc6-dev", proof: Proof::File("/usr/include/stdio.h"), reason: "C headers" },
    Package { name: "pkg-config", proof: Proof::Program("pkg-config"), reason: "finds libseccomp" },
    Package {
        name: "libseccomp-dev",
        proof: Proof::File("/usr/include/seccomp.h"),
        reason: "system call filters of containers",
    },
    Package { name: "debootstrap", proof: Proof::Program("debootstrap"), reason: "makes the base image" },
];

/// What the tests need on top: real file systems, real runtimes, real clients.
const TEST: &[Package] = &[
    Package { name: "g++", proof: Proof::Program("c++"), reason: "checks that the driver header is C++ too" },
    Package { name: "busybox-static", proof: Proof::Program("busybox"), reason: "the small test image" },
    Package { name: "btrfs-progs", proof: Proof::Program("mkfs.btrfs"), reason: "btrfs on a loop device" },
    Package { name: "libcap2-bin", proof: Proof::Program("setcap"), reason: "file capabilities in layers" },
    Package { name: "attr", proof: Proof::Program("setfattr"), reason: "extended attributes in layers" },
    Package { name: "runc", proof: Proof::Program("runc"), reason: "the second runtime" },
    Package { name: "skopeo", proof: Proof::Program("skopeo"), reason: "reads what `mica save` writes" },
    Package { name: "umoci", proof: Proof::Program("umoci"), reason: "unpacks and repacks layers independently" },
    Package {
        name: "podman",
        proof: Proof::Program("podman"),
        reason: "exchanges archives, and is a peer in benchmarks",
    },
    Package {
        name: "docker.io",
        proof: Proof::Program("dockerd"),
        reason: "exchanges archives, and is a peer in benchmarks",
    },
    Package { name: "tmux", proof: Proof::Program("tmux"), reason: "a real terminal for `run -it`" },
];

/// `cargo xtask setup`.
pub fn run(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--print") {
        for package in BUILD.iter().chain(TEST) {
            output::line(format!("{:16} {}", package.name, package.reason));
        }
        return Ok(());
    }
    ensure(&[BUILD, TEST])
}

/// Installs what building and the demo need.
pub fn ensure_build() -> Result<()> {
    ensure(&[BUILD])
}

/// Installs what the tests need.
pub fn ensure_test() -> Result<()> {
    ensure(&[BUILD, TEST])
}

fn ensure(sets: &[&[Package]]) -> Result<()> {
    let missing: Vec<&Package> = sets.iter().copied().flatten().filter(|package| !package.is_here()).collect();
    if missing.is_empty() {
        output::line("all system packages are here");
        return Ok(());
    }
    output::line("missing system packages:");
    for package in &missing {
        output::line(format!("  {:16} {}", package.name, package.reason));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let line = format!("apt-get install --no-install-recommends {}", names.join(" "));
    if !sh::exists("apt-get") {
        bail!("this is not a Debian system; install what provides these (Debian names): {}", names.join(" "));
    }
    if !is_root()? {
        bail!("run this as root, then try again:\n  {line}");
    }
    sh::run(sh::command(&["apt-get", "update", "-q"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut install = sh::command(&["apt-get", "install", "-y", "-q", "--no-install-recommends"]);
    sh::run(install.args(&names).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// True when the effective user is root.
pub fn is_root() -> Result<bool> {
    Ok(sh::read(&mut sh::command(&["id", "-u"]))? == "0")
}

impl Package {
    fn is_here(&self) -> bool {
        match self.proof {
            Proof::Program(program) => sh::exists(program) || std::path::Path::new("/usr/sbin").join(program).is_file(),
            Proof::File(path) => std::path::Path::new(path).exists(),
        }
    }
}
