//! The `mica` binary. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mica_cli::main()
}
