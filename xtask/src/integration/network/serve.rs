//! Servers of datagrams for the checks: one echoes, one gives every question for a name the same answer.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Result, bail};

/// The task that runs them, in whatever namespace it is started.
pub const TASK: &str = "__serve";

/// What the name server answers.
pub const ANSWER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// `echo PORT` or `names PORT`.
pub fn serve(args: &[String]) -> Result<()> {
    let [kind, port] = args else { bail!("usage: {TASK} echo|names PORT") };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port.parse()?))?;
    let mut buffer = [0; 2048];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        let mut message = buffer[..length].to_vec();
        if kind == "names" {
            message = answer(&message);
        }
        socket.send_to(&message, client)?;
    }
}

/// A question with its answer behind it (RFC 1035): a record that names the name of the question, and ours.
fn answer(question: &[u8]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
    let mut message = question[..end].to_vec();
    message[2] |= 0x80;
    message[3] = 0x80;
    let is_ipv4 = message[end - 3] == 1;
    message[6..12].copy_from_slice(&[0, u8::from(is_ipv4), 0, 0, 0, 0]);
    if is_ipv4 {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(ANSWER.octets());
    }
    message
}
