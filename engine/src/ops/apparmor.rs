//! Mica's AppArmor profile in the kernel: loaded when it is missing, before a process is to get it.
//!
//! Whatever unloads profiles (an upgrade of AppArmor does) does it without telling, so it is looked for each time.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bundle::apparmor::{self, Around, DEFAULT};
use crate::bundle::host::{APPARMOR, apparmor_parser};
use crate::{Error, Kind, Result};

/// Where the texts are that others build on.
const TEXTS: &str = "/etc/apparmor.d";

/// Loads the profile when it is Mica's own and not there.
pub(super) fn ensure(profile: Option<&str>) -> Result<()> {
    if profile != Some(DEFAULT) {
        return Ok(());
    }
    let list = Path::new(APPARMOR).join("profiles");
    let listed = fs_err::read_to_string(&list).map_err(Error::io("read", &list))?;
    if apparmor::is_listed(&listed, DEFAULT) {
        return Ok(());
    }
    let has = |name: &str| Path::new(TEXTS).join(name).exists();
    let own = fs_err::read_to_string("/proc/self/attr/apparmor/current").unwrap_or_default();
    let own = own.trim().rsplit_once(" (").map_or(own.trim(), |(name, _)| name);
    let around = Around {
        tunables: has("tunables/global"),
        base: has("abstractions/base"),
        own: if own.is_empty() { apparmor::UNCONFINED.to_owned() } else { own.to_owned() },
    };
    load(&apparmor::text(&around)).map_err(|why| {
        let message = format!("AppArmor enabled on system but the {DEFAULT} profile could not be loaded: {why}");
        Error::refused(Kind::Unsupported, message)
            .with_hint("`--security-opt apparmor=unconfined` runs the container without a profile")
    })
}

/// Replaces what there is, so that two at once do not hinder each other; nothing is written to the parser's cache.
fn load(text: &str) -> std::result::Result<(), String> {
    let program = apparmor_parser().ok_or("there is no `apparmor_parser`")?;
    let failed = |error: std::io::Error| format!("`{program}`: {error}");
    let mut command = Command::new(program);
    command.args(["--replace", "--skip-cache", "--quiet"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read everything says why.
        drop(stdin.write_all(text.as_bytes()));
    }
    let done = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("`{program}` ended with {}: {}", done.status, said.trim())) }
}
