//! Platforms `os/arch[/variant]` and the arguments every build has because of them.

/// A platform in Go's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Platform {
    pub os: String,
    pub arch: String,
    pub variant: String,
}

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Self {
        let (arch, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self { os: std::env::consts::OS.into(), arch: arch.into(), variant: variant.into() }
    }

    /// Reads `os/arch[/variant]`, or `arch` alone for the host's system.
    pub fn parse(text: &str) -> Option<Self> {
        let host = Self::host();
        let parts: Vec<&str> = text.split('/').collect();
        let (os, arch, variant) = match parts.as_slice() {
            [arch] => (host.os.as_str(), *arch, ""),
            [os, arch] => (*os, *arch, ""),
            [os, arch, variant] => (*os, *arch, *variant),
            _ => return None,
        };
        let arch = match arch {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            arch => arch,
        };
        let known = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        (!os.is_empty() && !arch.is_empty() && known(os) && known(arch) && known(variant)).then(|| Self {
            os: os.into(),
            arch: arch.into(),
            variant: variant.into(),
        })
    }

    /// `TARGETPLATFORM` and its parts, and the same for `BUILD`.
    pub fn arguments(target: &Self) -> Vec<(String, String)> {
        let host = Self::host();
        let mut all = Vec::new();
        for (prefix, platform) in [("TARGET", target), ("BUILD", &host)] {
            all.push((format!("{prefix}PLATFORM"), platform.to_string()));
            all.push((format!("{prefix}OS"), platform.os.clone()));
            all.push((format!("{prefix}ARCH"), platform.arch.clone()));
            all.push((format!("{prefix}VARIANT"), platform.variant.clone()));
        }
        all
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}
