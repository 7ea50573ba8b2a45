//! `cargo xtask vm`: tests in a guest that has another kernel than this machine, and the control groups one asks for.
//!
//! The guest is Debian's stable kernel with systemd, whose unified control groups this machine may lack, and whose kernel lacks
//! what Mica uses where it can: `lowerdir+`, descriptors in fsconfig(2). It sees this checkout, read-only, at the same
//! path over 9p, with a layer in memory on top, so programs and tests are those that were built here.
//!
//! It is emulated (TCG) unless `--accel kvm` says otherwise: inside of another virtual machine KVM may be offered and hang.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{self, cargo};
use crate::{fixtures, output, setup, sh};

/// What is tried in the guest: containers with everything the kernel and its control groups have to do with.
const FILTERS: &[&str] = &[
    "apparmor::",
    "build::",
    "copying::",
    "delegation::",
    "exec::",
    "network_volumes::",
    "leftovers::",
    "lifecycle::",
    "run::",
    "storage::privileged_what",
    "usage::",
];

/// How long a guest may take, which is ten times what it takes on two idle cores.
const PATIENCE: Duration = Duration::from_secs(40 * 60);

/// What is asked for.
struct Request {
    cgroup: Cgroup,
    accel: String,
    /// A command in the guest in place of the tests.
    command: Vec<String>,
}

#[derive(Clone, Copy)]
enum Cgroup {
    V1,
    Hybrid,
    V2,
}

impl Cgroup {
    /// What makes systemd mount them so (systemd(1), KERNEL COMMAND LINE).
    fn kernel_options(self) -> &'static str {
        match self {
            Self::V1 => "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
            Self::Hybrid => "systemd.unified_cgroup_hierarchy=0",
            Self::V2 => "systemd.unified_cgroup_hierarchy=1",
        }
    }
}

impl Request {
    fn parse(args: &[String]) -> Result<Self> {
        let mut request = Self { cgroup: Cgroup::V2, accel: "tcg,thread=multi".to_owned(), command: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--cgroup" => {
                    request.cgroup = match args.next().map(String::as_str) {
                        Some("v1") => Cgroup::V1,
                        Some("hybrid") => Cgroup::Hybrid,
                        Some("v2") => Cgroup::V2,
                        _ => bail!("`--cgroup` is v1, hybrid or v2"),
                    }
                }
                "--accel" => request.accel = args.next().context("`--accel` takes a value, as QEMU's")?.clone(),
                "--" => request.command.extend(args.by_ref().cloned()),
                other => bail!("no option `{other}`: cargo xtask vm [--cgroup v1|hybrid|v2] [--accel A] [-- COMMAND…]"),
            }
        }
        Ok(request)
    }
}

/// Boots the guest, runs the tests or the command in it, and fails as they do.
pub fn run(args: &[String]) -> Result<()> {
    let request = Request::parse(args)?;
    setup::ensure_vm()?;
    let guest = fixtures::guest()?;
    let command = if request.command.is_empty() { tests()? } else { request.command.join(" ") };
    let shared = tempfile::tempdir()?;
    fs_err::write(shared.path().join("run"), script(&command))?;
    let console = shared.path().join("console");
    let ended = sh::run_within(PATIENCE, &mut machine(&request, &guest, shared.path(), &console));
    let said = |name: &str| fs_err::read_to_string(shared.path().join(name)).unwrap_or_default();
    output::line(said("output"));
    ended.with_context(|| format!("the guest's console:\n{}", said("console")))?;
    let status = said("status");
    ensure!(status.trim() == "0", "in the guest it ended with `{}`\n{}", status.trim(), said("console"));
    Ok(())
}

/// Builds the tests and yields the command that runs those which are for guests.
fn tests() -> Result<String> {
    sh::run(&mut cargo(&["build", "-q", "--workspace", "--locked"]))?;
    let mut build = cargo(&["test", "-p", "mica-cli", "--test", "suite", "--no-run", "--locked"]);
    let built = sh::output(&mut build)?;
    let words = String::from_utf8_lossy(&built.stderr).into_owned();
    // Cargo's last line names the program: `Executable tests/suite/main.rs (target/debug/deps/suite-…)`.
    let program = words.lines().rev().find_map(|line| line.trim().strip_suffix(')')?.rsplit_once('('));
    let (_, program) = program.with_context(|| format!("cargo does not name the tests:\n{words}"))?;
    let program = workspace::root().join(program);
    Ok(format!("cd {}/cli && {} {}", workspace::root().display(), program.display(), FILTERS.join(" ")))
}

/// What the guest's one unit runs. Tests mark in the target directory what has been staged, which is done here already.
fn script(command: &str) -> String {
    let root = workspace::root().display();
    format!(
        "set -e\nmount -t tmpfs tmpfs /tmp\nmkdir -p {root} /tmp/below /tmp/upper /tmp/work\n\
         mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,ro,cache=loose checkout /tmp/below\n\
         mount -t overlay -o lowerdir=/tmp/below,upperdir=/tmp/upper,workdir=/tmp/work none {root}\n\
         export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NEXTEST_RUN_ID=vm MICA_TEST_GUEST=1\n\
         for profile in debug release; do if [ -d {root}/target/$profile ]; then printf vm > {root}/target/$profile/.mica-staged; fi; done\n\
         uname -sr\nstat -f -c 'control groups: %T' /sys/fs/cgroup\n{command}\n"
    )
}

fn machine(request: &Request, guest: &Path, shared: &Path, console: &Path) -> std::process::Command {
    let mut qemu =
        sh::command(&["qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-m", "4G", "-smp", "2"]);
    qemu.args(["-accel", &request.accel, "-cpu", if request.accel.starts_with("kvm") { "host" } else { "max" }]);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    qemu.arg("-kernel").arg(guest.join("vmlinuz")).arg("-initrd").arg(guest.join("initrd.img"));
    qemu.arg("-append").arg(format!("root=/dev/vda rw console=ttyS0 quiet {}", request.cgroup.kernel_options()));
    let disk = guest.join("disk.img");
    qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw,snapshot=on", disk.display()));
    for (path, tag, more) in [(shared, "host", ""), (workspace::root(), "checkout", ",readonly=on")] {
        let share = format!("local,path={},mount_tag={tag},security_model=none,multidevs=remap{more}", path.display());
        qemu.arg("-virtfs").arg(share);
    }
    qemu
}

/// The packages of a guest beside Debian's minimum.
pub const PACKAGES: &str = "systemd-sysv,udev,kmod,linux-image-amd64,initramfs-tools,dbus,busybox-static,runc,crun,\
                            iproute2,nftables,uidmap,passt,btrfs-progs,procps,libcap2-bin,attr,apparmor,\
                            nfs-kernel-server,samba,libpam-systemd";

/// Services of these packages that would only make the guest slower to start: what needs them starts them.
const UNWANTED: [&str; 6] = [
    "apparmor.service",
    "nfs-server.service",
    "smbd.service",
    "nmbd.service",
    "samba-ad-dc.service",
    "nfs-blkmap.service",
];

/// Makes a root file system into a guest: one unit that runs what the host wants, and a disk of it.
pub fn make(root: &Path, into: &Path) -> Result<()> {
    fs_err::create_dir_all(root.join("host"))?;
    fs_err::write(root.join("etc/fstab"), "host /host 9p trans=virtio,version=9p2000.L,msize=1048576 0 0\n")?;
    fs_err::write(root.join("etc/systemd/system/mica-vm.service"), UNIT)?;
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs_err::create_dir_all(&wants)?;
    fs_err::os::unix::fs::symlink("../mica-vm.service", wants.join("mica-vm.service"))?;
    for unit in UNWANTED {
        fs_err::os::unix::fs::symlink("/dev/null", root.join("etc/systemd/system").join(unit))?;
    }
    fs_err::create_dir_all(into)?;
    for (begins, name) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd.img")] {
        let found: Option<PathBuf> = fs_err::read_dir(root.join("boot"))?.filter_map(Result::ok).find_map(|entry| {
            entry.file_name().to_str().is_some_and(|file| file.starts_with(begins)).then(|| entry.path())
        });
        fs_err::copy(found.with_context(|| format!("the guest has no `/boot/{begins}*`"))?, into.join(name))?;
    }
    let mut make = sh::command(&["mkfs.ext4", "-q", "-F", "-d"]);
    sh::run(make.arg(root).arg(into.join("disk.img")).arg("4G"))
}

/// Runs the host's script, tells how it ended, and turns the guest off.
const UNIT: &str = "\
[Unit]
Description=What the host wants to be run
After=local-fs.target dbus.service

[Service]
Type=oneshot
TimeoutStartSec=infinity
Delegate=yes
ExecStart=/bin/sh /host/run
StandardOutput=file:/host/output
StandardError=inherit
ExecStopPost=/bin/sh -c 'echo \"$EXIT_STATUS\" > /host/status; sync; systemctl poweroff --force --force'
";
