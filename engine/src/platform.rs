//! Platforms: `os/architecture[/variant]`, their one normal form, and which of an index's images suits a machine.
//!
//! Names are those of Go (`GOOS`, `GOARCH`), as the image specification has them; the spellings of `uname` are understood.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result};

/// A platform as an index or a person names it (OCI image-spec, `image-index.md`).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `GOARCH`, for example `amd64`.
    pub architecture: String,
    /// `GOOS`, for example `linux`.
    pub os: String,
    /// For example `v8`; absent where the architecture's usual one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Windows' build number.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// For example `win32k`.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Platform {
        Platform::new("linux", std::env::consts::ARCH, variant())
    }

    /// A platform in its normal form.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let os = os.to_ascii_lowercase();
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("powerpc64", variant) => ("ppc64le", variant),
            ("loongarch64", variant) => ("loong64", variant),
            (other, variant) => (other, variant),
        };
        Platform {
            os: if os == "macos" { "darwin".to_owned() } else { os },
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            ..Platform::default()
        }
    }

    /// The same platform in its normal form.
    pub fn normalized(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            ..Platform::new(&self.os, &self.architecture, self.variant.as_deref())
        }
    }

    /// How well an image for `offered` runs where this platform is wanted: smaller is better, `None` not at all. A processor
    /// runs what is made for the variants below its own.
    pub fn rank(&self, offered: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.normalized(), offered.normalized());
        if (&wanted.os, &wanted.architecture) != (&offered.os, &offered.architecture) {
            return None;
        }
        let level = |platform: &Platform| -> Option<u32> {
            match (platform.architecture.as_str(), platform.variant.as_deref()) {
                ("amd64", None) => Some(1),
                ("arm64", None) => Some(8),
                (_, variant) => variant?.strip_prefix('v')?.parse().ok(),
            }
        };
        if wanted.variant == offered.variant {
            return Some(0);
        }
        match (level(&wanted), level(&offered)) {
            (Some(wanted), Some(offered)) => wanted.checked_sub(offered),
            _ => None,
        }
    }
}

/// The level of this machine's instructions, as the x86-64 psABI counts them.
#[cfg(target_arch = "x86_64")]
fn variant() -> Option<&'static str> {
    macro_rules! has {
        ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let v2 = has!("cmpxchg16b" "popcnt" "sse3" "sse4.1" "sse4.2" "ssse3");
    let v3 = v2 && has!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe");
    let v4 = v3 && has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
    [(v4, "v4"), (v3, "v3"), (v2, "v2")].into_iter().find(|(has, _)| *has).map(|(_, level)| level)
}

/// The usual one.
#[cfg(not(target_arch = "x86_64"))]
fn variant() -> Option<&'static str> {
    None
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/architecture[/variant]`, or an architecture alone, of Linux.
    fn from_str(text: &str) -> Result<Platform> {
        let fits = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            parts if !parts.iter().all(fits) => {}
            [architecture] => return Ok(Platform::new("linux", architecture, None)),
            [os, architecture] => return Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => return Ok(Platform::new(os, architecture, Some(variant))),
            _ => {}
        }
        let shown: String = text.chars().take(100).flat_map(char::escape_debug).collect();
        Err(Error::refused(Kind::InvalidInput, format!("`{shown}` is not a platform"))
            .with_hint("write it as os/architecture, for example linux/amd64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_have_one_normal_form() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("armel", "linux/arm/v6"),
            ("Linux/S390X", "linux/s390x"),
            ("linux/i686", "linux/386"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
        for text in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux/\u{1b}"] {
            let error = text.parse::<Platform>().expect_err(text);
            assert!(!error.to_string().contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn this_machine_runs_what_is_made_for_its_architecture() {
        let host = Platform::host();
        assert_eq!((host.os.as_str(), host.rank(&host)), ("linux", Some(0)));
        if std::env::consts::ARCH == "x86_64" {
            let plain = Platform::new("linux", "amd64", None);
            assert!(host.rank(&plain).is_some());
            assert_eq!(host.rank(&Platform::new("linux", "amd64", Some("v9"))), None);
        }
    }

    #[test]
    fn a_processor_runs_the_variants_below_its_own() {
        for (wanted, offered, rank) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64", "linux/amd64", None),
            ("linux/riscv64", "linux/riscv64", Some(0)),
        ] {
            let (wanted, offered): (Platform, Platform) = (wanted.parse().unwrap(), offered.parse().unwrap());
            assert_eq!(wanted.rank(&offered), rank, "{wanted} {offered}");
        }
    }
}
