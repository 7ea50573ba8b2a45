//! Seccomp filters: a profile becomes the kernel's program, once per machine and profile.
//!
//! libseccomp takes about 15 ms to compile a profile of Docker's size, half of what a short container takes altogether,
//! and always with the same result. The program is therefore kept in a cache directory under the digest of everything it
//! depends on. A cached file is trusted only as far as the monitor's own executable: the same owner, writable by nobody else.

use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libcontainer::seccomp::{initialize_seccomp, is_notify};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, ScmpVersion};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::failure::{Failure, OrFail};

/// Bytes of one instruction, and how many of them the kernel takes.
const INSTRUCTION: usize = 8;
const LONGEST: usize = 4096 * INSTRUCTION;

/// A profile ready to be loaded.
#[derive(Debug, Clone)]
pub enum Filter {
    /// The kernel's program.
    Program(Vec<u8>),
    /// A profile with features that only the library knows how to load.
    Profile(Box<LinuxSeccomp>),
}

impl Filter {
    /// Compiles a profile or finds it in the cache.
    pub fn prepare(profile: &LinuxSeccomp, cache: Option<&Path>) -> Result<Self, Failure> {
        let plain = profile.flags().as_ref().is_none_or(Vec::is_empty) && !is_notify(profile);
        if !plain {
            return Ok(Self::Profile(Box::new(profile.clone())));
        }
        let context = || "cannot compile the seccomp profile".into();
        let entry = cache.map(|directory| entry(directory, profile)).transpose().or_fail(context)?;
        if let Some(program) = entry.as_deref().and_then(|path| cached(path).ok()) {
            return Ok(Self::Program(program));
        }
        let program = compile(profile).or_fail(context)?;
        if let Some(path) = entry {
            // Without the file the next container only waits longer.
            keep(&path, &program).ok();
        }
        Ok(Self::Program(program))
    }

    /// Puts the calling process under the filter, for good.
    pub fn load(&self) -> Result<(), Failure> {
        let context = || "cannot apply the seccomp profile".into();
        match self {
            Self::Program(program) => load(program).or_fail(context),
            Self::Profile(profile) => initialize_seccomp(profile).map(drop).or_fail(context),
        }
    }
}

#[expect(unsafe_code, reason = "no library loads a program that it has not compiled itself")]
fn load(program: &[u8]) -> io::Result<()> {
    let instructions: Vec<libc::sock_filter> = program
        .as_chunks::<INSTRUCTION>()
        .0
        .iter()
        .map(|[c0, c1, jt, jf, k0, k1, k2, k3]| libc::sock_filter {
            code: u16::from_ne_bytes([*c0, *c1]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes([*k0, *k1, *k2, *k3]),
        })
        .collect();
    let length = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: `program` and the instructions it points to live across the call; the kernel copies and checks them and does
    // not write to them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where the program of this profile is kept. The name depends on the profile, the library, the kernel (which calls exist
/// is libseccomp's business, but an upgrade of either may change the answer) and this code.
fn entry(directory: &Path, profile: &LinuxSeccomp) -> io::Result<PathBuf> {
    let library = ScmpVersion::current().map_err(io::Error::other)?;
    let kernel = rustix::system::uname();
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(profile)?);
    digest.update(format!("{library:?} {:?} {}", kernel.release(), env!("CARGO_PKG_VERSION")));
    let name = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(directory.join(format!("seccomp-{name}")))
}

fn cached(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    let length = metadata.len() as usize;
    if !ours || !metadata.is_file() || length == 0 || length > LONGEST || !length.is_multiple_of(INSTRUCTION) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut program = Vec::with_capacity(length);
    file.read_to_end(&mut program)?;
    // A file cut short by a crash must not become a weaker filter: it is renamed into place whole, and checked anyway.
    if program.len() == length { Ok(program) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn keep(path: &Path, program: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(std::process::id().to_string());
    fs_err::write(&temporary, program)?;
    fs_err::rename(&temporary, path)
}

fn compile(profile: &LinuxSeccomp) -> io::Result<Vec<u8>> {
    let failed = |error: libseccomp::error::SeccompError| io::Error::other(error);
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).map_err(failed)?;
    for architecture in profile.architectures().iter().flatten() {
        filter.add_arch(architecture_of(*architecture)?).map_err(failed)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret());
        // The library refuses a rule that changes nothing.
        if action == default {
            continue;
        }
        // A name the library does not know is a call it could not match anyway.
        for call in rule.names().iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
            for condition in conditions(rule.args().as_deref().unwrap_or_default()) {
                filter.add_rule_conditional(action, call, &condition).map_err(failed)?;
            }
        }
    }
    let mut file = std::fs::File::from(rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC)?);
    filter.export_bpf(&file).map_err(failed)?;
    file.rewind()?;
    let mut program = Vec::new();
    file.read_to_end(&mut program)?;
    Ok(program)
}

/// The comparisons of one rule. The library takes one comparison per argument; several of the same argument mean "any of
/// them", as in runc, and become rules of their own.
fn conditions(arguments: &[LinuxSeccompArg]) -> Vec<Vec<ScmpArgCompare>> {
    let compare = |argument: &LinuxSeccompArg| {
        let operator = match argument.op() {
            LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
            LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
            LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
            LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
            LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
            LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
            LinuxSeccompOperator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(argument.value()),
        };
        let datum = match argument.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => argument.value_two().unwrap_or(0),
            _ => argument.value(),
        };
        ScmpArgCompare::new(argument.index() as u32, operator, datum)
    };
    let repeated = arguments
        .iter()
        .enumerate()
        .any(|(at, argument)| arguments.iter().take(at).any(|earlier| earlier.index() == argument.index()));
    if repeated {
        arguments.iter().map(|argument| vec![compare(argument)]).collect()
    } else {
        vec![arguments.iter().map(compare).collect()]
    }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.map_or(libc::EPERM, |errno| errno as i32);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
    }
}

/// Both libraries use the runtime specification's names.
fn architecture_of(architecture: Arch) -> io::Result<ScmpArch> {
    let name = serde_json::to_value(architecture)?;
    name.as_str().unwrap_or_default().parse().map_err(|error: libseccomp::error::SeccompError| io::Error::other(error))
}
