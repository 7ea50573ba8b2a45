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
    Package { name: "xfsprogs", proof: Proof::Program("mkfs.xfs"), reason: "xfs on a loop device" },
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
    Package {
        name: "docker-registry",
        proof: Proof::Program("docker-registry"),
        reason: "what pulls and pushes are tried against",
    },
    Package {
        name: "nginx-light",
        proof: Proof::Program("nginx"),
        reason: "slows a registry down, cuts it off, redirects and lies",
    },
    Package { name: "openssl", proof: Proof::Program("openssl"), reason: "certificates and tokens of test registries" },
    Package { name: "apache2-utils", proof: Proof::Program("htpasswd"), reason: "users of test registries" },
    Package { name: "iproute2", proof: Proof::Program("ip"), reason: "other hosts for tests of networks" },
    Package {
        name: "nftables",
        proof: Proof::Program("nft"),
        reason: "shows and flushes packet rules in tests of networks",
    },
    Package {
        name: "uidmap",
        proof: Proof::Program("newuidmap"),
        reason: "subordinate IDs of users without privileges",
    },
    Package { name: "passt", proof: Proof::Program("pasta"), reason: "the network of users without privileges" },
    Package { name: "slirp4netns", proof: Proof::Program("slirp4netns"), reason: "the same where pasta is too old" },
    Package { name: "golang-go", proof: Proof::Program("go"), reason: "compiles the validator of OCI bundles" },
    Package {
        name: "golang-github-opencontainers-runtime-tools-dev",
        proof: Proof::File("/usr/share/gocode/src/github.com/opencontainers/runtime-tools/validate/validate.go"),
        reason: "what that is made of, with the schema of runtime-spec",
    },
    Package { name: "tmux", proof: Proof::Program("tmux"), reason: "a real terminal for `run -it`" },
];

/// What guests need.
const VM: &[Package] = &[Package {
    name: "qemu-system-x86",
    proof: Proof::Program("qemu-system-x86_64"),
    reason: "a guest with another kernel and unified control groups",
}];

/// Units that come with packages which are here for their programs: the tests start these on ports of their own.
const UNWANTED_UNITS: &[(&str, &str)] =
    &[("docker-registry", "docker-registry.service"), ("nginx-light", "nginx.service")];

/// `cargo xtask setup`.
pub fn run(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--print") {
        for package in BUILD.iter().chain(TEST).chain(VM) {
            output::line(format!("{:16} {}", package.name, package.reason));
        }
        return Ok(());
    }
    ensure(&[BUILD, TEST, VM])
}

/// Installs what building and the demo need.
pub fn ensure_build() -> Result<()> {
    ensure(&[BUILD])
}

/// Installs what the tests need.
pub fn ensure_test() -> Result<()> {
    ensure(&[BUILD, TEST])
}

/// Installs what guests need.
pub fn ensure_vm() -> Result<()> {
    ensure(&[BUILD, TEST, VM])
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
    sh::run(install.args(&names).env("DEBIAN_FRONTEND", "noninteractive"))?;
    stop_unwanted(&names)
}

/// Stops the services that the packages just installed have begun; whoever had the package before keeps the service.
fn stop_unwanted(installed: &[&str]) -> Result<()> {
    if !std::path::Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for (_, unit) in UNWANTED_UNITS.iter().filter(|(package, _)| installed.contains(package)) {
        sh::run(&mut sh::command(&["systemctl", "disable", "--quiet", "--now", unit]))?;
    }
    Ok(())
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
