//! `version`.

use serde_json::json;

use crate::args::version::Version;
use crate::output;
use crate::template::{Template, Value};

/// `version`. There is no daemon, so the client and the server that scripts ask about are the same program.
pub(super) fn run(args: &Version) -> anyhow::Result<()> {
    let program = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Os": std::env::consts::OS,
        "Arch": goarch(std::env::consts::ARCH),
    });
    let view = json!({ "Client": program, "Server": program });
    match args.format.as_deref() {
        None | Some("") => output::raw(
            format!(
                "Client: Mica\n Version:    {}\n OS/Arch:    {}/{}\n",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::OS,
                goarch(std::env::consts::ARCH)
            )
            .as_bytes(),
        ),
        Some("json") => output::line(view),
        Some(format) => output::line(Template::parse(format)?.render(&Value::from_json(&view))?),
    }
}

/// Docker names machines as Go does.
fn goarch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}
