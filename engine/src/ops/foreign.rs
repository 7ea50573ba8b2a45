//! Images of other platforms: what a person is told before one runs, and why its program cannot be executed.

use mica_layer::Digest;

use crate::container::ContainerSpec;
use crate::image::ImageConfig;
use crate::{Engine, Error, Kind, Platform};

/// Docker's words for an image that nobody asked for and that this machine was not made for.
pub(super) fn warning(spec: &ContainerSpec, image: &ImageConfig) -> Option<String> {
    let (host, platform) = (Platform::host(), image.platform());
    if spec.platform.is_some() || image.architecture.is_empty() || host.rank(&platform).is_some() {
        return None;
    }
    Some(format!(
        "The requested image's platform ({}) does not match the detected host platform ({host}) and no specific platform \
         was requested",
        shown(&platform)
    ))
}

impl Engine {
    /// Says why the kernel refused a program, where its image tells: it was made for another machine, or for none. Blocks.
    pub(super) fn explain_refusal(&self, error: Error, image: &Digest) -> Error {
        if !matches!(error.kind(), Kind::NotExecutable | Kind::CommandNotFound) {
            return error;
        }
        match self.store().image_config(image) {
            Ok(config) => explained(error, Some(&config.platform())),
            // The image has been removed since.
            Err(_) => error,
        }
    }
}

/// The same for a program of whose image nothing is known, as in a build.
pub(super) fn explain_step(error: Error) -> Error {
    if error.kind() == Kind::NotExecutable { explained(error, None) } else { error }
}

/// An error with what can be done about it, where the platform of the program's image tells.
fn explained(error: Error, platform: Option<&Platform>) -> Error {
    let (text, host) = (chain(&error), Platform::host());
    let native = platform.is_some_and(|platform| platform.architecture.is_empty() || host.rank(platform).is_some());
    let programs = platform.map_or_else(|| "other platforms".to_owned(), shown);
    let hint = match (text.ends_with("exec format error"), native) {
        (true, true) => format!("the file is neither a program for {host} nor a script that begins with `#!`"),
        (true, false) => format!(
            "no handler for programs of {programs} is registered on this machine ({host}): install QEMU's, on Debian and \
             Ubuntu with `apt install qemu-user-static binfmt-support`, on Fedora with `dnf install qemu-user-static`, or \
             use an image for {}/{}",
            host.os, host.architecture
        ),
        (false, false) if text.ends_with("no such file or directory") => format!(
            "the image is for {programs}: if the program is there, its handler is registered without the flag `F` and is \
             looked for inside the container"
        ),
        _ => return error,
    };
    Error::refused(error.kind(), text).with_hint(hint)
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

/// A platform of strangers, short and without control characters.
fn shown(platform: &Platform) -> String {
    platform.to_string().chars().filter(|c| c.is_ascii_alphanumeric() || "/._-".contains(*c)).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign() -> &'static str {
        if std::env::consts::ARCH == "s390x" { "riscv64" } else { "s390x" }
    }

    #[test]
    fn only_an_image_nobody_asked_for_is_warned_of() {
        let host = Platform::host();
        let asked = Some("linux/s390x".to_owned());
        for (platform, architecture, expected) in [
            (None, host.architecture.as_str(), None),
            (None, "", None),
            (asked, foreign(), None),
            (None, foreign(), Some(foreign())),
            (None, "evil\u{1b}[31m", Some("evil31m")),
        ] {
            let spec = ContainerSpec { platform, ..ContainerSpec::default() };
            let image = ImageConfig { os: "linux".into(), architecture: architecture.into(), ..ImageConfig::default() };
            let expected = expected.map(|architecture| {
                format!(
                    "The requested image's platform (linux/{architecture}) does not match the detected host platform ({host}) \
                     and no specific platform was requested"
                )
            });
            assert_eq!(warning(&spec, &image), expected, "{architecture}");
        }
    }

    #[test]
    fn a_refused_program_has_a_reason() {
        let native = Platform::host();
        let foreign = Platform::new("linux", foreign(), None);
        for (kind, words, platform, expected) in [
            (Kind::NotExecutable, "exec: \"/a\": exec format error", &foreign, Some("no handler")),
            (Kind::NotExecutable, "exec: \"/a\": exec format error", &native, Some("begins with `#!`")),
            (Kind::NotExecutable, "exec: \"/a\": permission denied", &foreign, None),
            (Kind::CommandNotFound, "exec: \"/a\": no such file or directory", &foreign, Some("flag `F`")),
            (Kind::CommandNotFound, "exec: \"/a\": no such file or directory", &native, None),
        ] {
            let told = explained(Error::refused(kind, words), Some(platform));
            assert_eq!((told.kind(), told.to_string().as_str()), (kind, words));
            assert_eq!(told.hint().is_some(), expected.is_some(), "{words} {platform}");
            assert!(told.hint().unwrap_or_default().contains(expected.unwrap_or_default()), "{told:?}");
        }
        let step = explain_step(Error::refused(Kind::NotExecutable, "exec: \"/bin/sh\": exec format error"));
        assert!(step.hint().is_some_and(|hint| hint.contains("programs of other platforms")), "{step:?}");
    }
}
