//! Brings up `lo` in a container's own network namespace: a new namespace has it, but down, and libcontainer leaves it so.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `RTM_NEWLINK` (rtnetlink(7)).
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST | NLM_F_ACK` (netlink(7)).
const REQUEST_WITH_ANSWER: u16 = 1 | 4;
/// `NLMSG_ERROR`, which is also the form of an acknowledgement.
const ANSWER: u16 = 2;
/// `IFF_UP`.
const UP: u32 = 1;
/// `lo` is the first interface of every namespace.
const LOOPBACK: i32 = 1;

/// Brings `lo` up in the network namespace of a process, unless that is this process's own.
///
/// By a thread that enters the namespace and ends there: in a user namespace there is no way back to the machine's network.
pub fn bring_up(pid: i32) -> io::Result<()> {
    let own = fs_err::File::open("/proc/self/ns/net")?;
    let theirs = fs_err::File::open(format!("/proc/{pid}/ns/net"))?;
    if own.metadata()?.ino() == theirs.metadata()?.ino() {
        return Ok(());
    }
    let enter_and_ask = move || {
        setns(&theirs, CloneFlags::CLONE_NEWNET)?;
        ask()
    };
    let done = std::thread::Builder::new().spawn(enter_and_ask)?.join();
    done.unwrap_or_else(|_| Err(io::Error::other("the thread that entered the namespace died")))
}

fn ask() -> io::Result<()> {
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(netlink.as_raw_fd(), &request(), MsgFlags::empty())?;
    let mut buffer = [0_u8; 256];
    let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    answer(&buffer[..length])
}

/// A message header and an `ifinfomsg`, in the machine's byte order.
fn request() -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message
}

/// The answer's error number: a negative errno, or 0.
fn answer(message: &[u8]) -> io::Result<()> {
    let garbled = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not an acknowledgement");
    let kind = message.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let errno = message.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, errno) {
        (Some(ANSWER), Some(0)) => Ok(()),
        (Some(ANSWER), Some(errno)) => Err(io::Error::from_raw_os_error(-errno)),
        _ => Err(garbled()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_garbage() {
        let message = |kind: u16, errno: i32| {
            let mut bytes = vec![0; 20];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..].copy_from_slice(&errno.to_ne_bytes());
            bytes
        };
        assert!(answer(&message(ANSWER, 0)).is_ok());
        assert_eq!(answer(&message(ANSWER, -1)).unwrap_err().raw_os_error(), Some(1));
        assert!(answer(&message(NEW_LINK, 0)).is_err());
        assert!(answer(&[]).is_err());
    }
}
