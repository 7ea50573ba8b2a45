//! The options of a local volume, mounted: `type`, `device` and `o` as `mount -t TYPE -o O DEVICE` takes them.
//!
//! The mount is made in a namespace of its own and leaves it as a descriptor.

use std::ffi::CString;
use std::net::ToSocketAddrs as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::apart::apart;
use super::sources::copy_tree;
use crate::container::Recursion;
use crate::store::volumes::VolumeRecord;
use crate::{Error, Kind, Result};

/// Mounts a volume's device over its directory, where nobody sees it, and returns the mount. Blocks.
pub(crate) fn mount(record: &VolumeRecord, data: &Path) -> Result<OwnedFd> {
    let option = |name: &str| record.options.get(name).map(String::as_str).unwrap_or_default();
    let kind = option("type");
    let options = addressed(kind, option("o"))?;
    let device = &share(kind, option("device"), &options)?;
    let options = Options::parse(&options);
    let failed = |errno: rustix::io::Errno| {
        let reason = std::io::Error::from(errno);
        let reason = reason.to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default().to_lowercase();
        let error = Error::refused(
            Kind::Internal,
            format!(
                "error while mounting volume `{}`: failed to mount local volume: mount {device}:{}: {reason}",
                data.display(),
                data.display()
            ),
        );
        match errno {
            rustix::io::Errno::NODEV => {
                error.with_hint(format!("the kernel has no file system `{kind}`, which `modprobe {kind}` may change"))
            }
            _ => error,
        }
    };
    let text = CString::new(options.data.join(",")).map_err(|_| failed(rustix::io::Errno::INVAL))?;
    apart(|| {
        if options.flags.intersects(MountFlags::BIND) {
            let recursive = if options.recursive { MountFlags::REC } else { MountFlags::empty() };
            rustix::mount::mount(device, data, "", MountFlags::BIND | recursive, None).map_err(failed)?;
            let more = options.flags - MountFlags::BIND;
            if !more.is_empty() {
                rustix::mount::mount_remount(data, MountFlags::BIND | more, "").map_err(failed)?;
            }
        } else {
            rustix::mount::mount(device, data, kind, options.flags, text.as_c_str()).map_err(failed)?;
        }
        rustix::mount::mount_change(data, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(failed)?;
        copy_tree(data, Recursion::Enabled)
    })
}

/// What `o` says.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    flags: MountFlags,
    recursive: bool,
    data: Vec<String>,
}

impl Options {
    /// Words that are the kernel's for every file system become flags; all else is the file system's.
    fn parse(text: &str) -> Self {
        let mut options = Self { flags: MountFlags::empty(), recursive: false, data: Vec::new() };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "defaults" | "rw" | "exec" | "suid" | "dev" | "async" | "atime" | "diratime" | "private"
                | "rprivate" => {}
                "ro" => options.flags |= MountFlags::RDONLY,
                "noexec" => options.flags |= MountFlags::NOEXEC,
                "nosuid" => options.flags |= MountFlags::NOSUID,
                "nodev" => options.flags |= MountFlags::NODEV,
                "noatime" => options.flags |= MountFlags::NOATIME,
                "nodiratime" => options.flags |= MountFlags::NODIRATIME,
                "relatime" => options.flags |= MountFlags::RELATIME,
                "strictatime" => options.flags |= MountFlags::STRICTATIME,
                "sync" => options.flags |= MountFlags::SYNCHRONOUS,
                "dirsync" => options.flags |= MountFlags::DIRSYNC,
                "bind" => options.flags |= MountFlags::BIND,
                "rbind" => {
                    options.flags |= MountFlags::BIND;
                    options.recursive = true;
                }
                other => options.data.push(other.to_owned()),
            }
        }
        options
    }
}

/// The kernel's NFS and CIFS want an address where people write a name.
fn addressed(kind: &str, text: &str) -> Result<String> {
    if !matches!(kind, "nfs" | "nfs4" | "cifs") {
        return Ok(text.to_owned());
    }
    let resolved = |word: &str| match word.strip_prefix("addr=") {
        Some(name) => Ok(format!("addr={}", address(name)?)),
        None => Ok(word.to_owned()),
    };
    Ok(text.split(',').map(resolved).collect::<Result<Vec<_>>>()?.join(","))
}

/// The share `//host/name` of CIFS, whose kernel side takes the server's address from there when no option has it.
fn share(kind: &str, device: &str, options: &str) -> Result<String> {
    let is_stated = options.split(',').any(|word| word.starts_with("addr=") || word.starts_with("ip="));
    match device.strip_prefix("//").and_then(|rest| rest.split_once('/')) {
        Some((name, path)) if kind == "cifs" && !is_stated => Ok(format!("//{}/{path}", address(name)?)),
        _ => Ok(device.to_owned()),
    }
}

/// An address, asked for where it is a name.
fn address(name: &str) -> Result<String> {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Ok(name.to_owned());
    }
    let unresolved =
        || Error::refused(Kind::Unavailable, format!("error resolving passed in network volume address: {name}"));
    let found: Vec<_> = (name, 0).to_socket_addrs().map_err(|_| unresolved())?.collect();
    // As Docker: servers are more often reached over IPv4.
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first()).ok_or_else(unresolved)?;
    Ok(first.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_or_the_file_systems() {
        for (text, flags, recursive, data) in [
            ("", MountFlags::empty(), false, ""),
            ("size=1m,uid=1000,noexec,nodev", MountFlags::NOEXEC | MountFlags::NODEV, false, "size=1m,uid=1000"),
            ("bind", MountFlags::BIND, false, ""),
            ("rbind,ro", MountFlags::BIND | MountFlags::RDONLY, true, ""),
            ("addr=10.0.0.1,rw,nfsvers=4", MountFlags::empty(), false, "addr=10.0.0.1,nfsvers=4"),
        ] {
            let found = Options::parse(text);
            assert_eq!(
                (found.flags, found.recursive, found.data.join(",").as_str()),
                (flags, recursive, data),
                "{text}"
            );
        }
        assert_eq!(addressed("nfs", "addr=127.0.0.1,rw").unwrap(), "addr=127.0.0.1,rw");
        assert_eq!(addressed("nfs", "addr=localhost,rw").unwrap(), "addr=127.0.0.1,rw");
        let unknown = addressed("nfs", "addr=nobody.invalid").unwrap_err();
        assert_eq!(unknown.to_string(), "error resolving passed in network volume address: nobody.invalid");
        for (kind, device, options, expected) in [
            ("cifs", "//localhost/share/a", "username=u", "//127.0.0.1/share/a"),
            ("cifs", "//localhost/share", "addr=127.0.0.1", "//localhost/share"),
            ("cifs", "//10.0.0.1/share", "", "//10.0.0.1/share"),
            ("nfs", ":/export", "addr=127.0.0.1", ":/export"),
            ("ext4", "//localhost/x", "", "//localhost/x"),
        ] {
            assert_eq!(share(kind, device, options).unwrap(), expected, "{kind} {device}");
        }
        assert_eq!(addressed("tmpfs", "addr=localhost").unwrap(), "addr=localhost");
    }
}
