//! mica-names: answers one container's questions for names. It knows the containers of the networks that its own is in, and
//! asks the host's name servers for everything else, from the host's network.
//!
//! Its standard input brings one line of JSON with two sockets of the container's namespace. It ends when the other end of
//! that input is closed, or when the process ends whose descriptor came as the third.

mod forward;
mod receive;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Whoever starts a container may close its terminal long before the container ends.
    let _ = rustix::process::setsid();
    match receive::request().and_then(serve::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
