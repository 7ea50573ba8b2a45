//! mica-monitor: the small process that stands beside every running container.
//!
//! It is single-threaded on purpose: it forks, changes namespaces and lives as long as its container. Its standard input
//! is a unix socket on which the client sends one request; the same socket is then the first session.

mod cgroup;
mod client;
mod command;
mod console;
mod detach;
mod embedded;
mod enter;
mod exec;
mod external;
mod failure;
mod filter;
mod health;
mod hygiene;
mod limits;
mod log;
mod loopback;
mod mounts;
mod oci;
mod probe;
mod propagation;
mod receive;
mod record;
mod relay;
mod restart;
mod start;
mod stdio;

use std::process::ExitCode;

use mica_runtime::request::Request;

fn main() -> ExitCode {
    let Ok(socket) = hygiene::prepare() else { return ExitCode::from(2) };
    // Without a request there is nobody to tell an error to.
    let Ok((request, descriptors)) = receive::request(&socket) else { return ExitCode::from(2) };
    let done = match request {
        Request::Start { request, mounts, ports, cache } => {
            start::run(*request, cache, start::Came { mounts, ports, descriptors }, socket)
        }
        Request::Exec(request) => exec::run(*request, socket),
        Request::Detach(command) => detach::run(&command),
    };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
