//! Restart policies: what follows when a container's process has ended.

use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result};

/// When a container is started again without anybody asking for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it ended with another status than 0.
    OnFailure {
        /// How many times at most; 0 is any number.
        retries: u32,
    },
    /// Whatever its status, and when the machine has started, even after a stop by hand.
    Always,
    /// Whatever its status, and when the machine has started, unless it was stopped by hand.
    UnlessStopped,
}

impl RestartPolicy {
    /// Parses `no`, `on-failure[:RETRIES]`, `always` or `unless-stopped`; nothing is `no`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, retries) = text.split_once(':').map_or((text, None), |(name, retries)| (name, Some(retries)));
        let policy = match name {
            "" | "no" => Self::No,
            "on-failure" => {
                let retries = retries.unwrap_or("0").parse().map_err(|_| {
                    invalid(format!("invalid restart policy `{text}`: the number of retries is no number"))
                })?;
                return Ok(Self::OnFailure { retries });
            }
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            _ => return Err(invalid(format!("invalid restart policy: unknown policy `{}`", name.escape_debug()))),
        };
        match retries {
            None => Ok(policy),
            Some(_) => Err(invalid(format!(
                "invalid restart policy `{}`: a number of retries can only be used with `on-failure`",
                text.escape_debug()
            ))),
        }
    }

    /// The policy's name without its number.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// How many times at most, where that is limited; 0 is any number.
    pub fn retries(self) -> u32 {
        if let Self::OnFailure { retries } = self { retries } else { 0 }
    }

    /// Whether a process that ended with this status, after so many restarts, is followed by another. Nobody asked for
    /// its end.
    pub fn restarts(self, code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { retries } => code != 0 && (retries == 0 || restarts < retries),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Whether a container that has run before is started with the machine.
    pub fn starts_at_boot(self, stopped_by_hand: bool) -> bool {
        match self {
            // As Docker documents it: a restart of the machine is not the container's failure.
            Self::No | Self::OnFailure { .. } => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped_by_hand,
        }
    }
}

fn invalid(message: String) -> Error {
    Error::refused(Kind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_docker_writes_them() {
        for (text, policy) in [
            ("", RestartPolicy::No),
            ("no", RestartPolicy::No),
            ("on-failure", RestartPolicy::OnFailure { retries: 0 }),
            ("on-failure:3", RestartPolicy::OnFailure { retries: 3 }),
            ("always", RestartPolicy::Always),
            ("unless-stopped", RestartPolicy::UnlessStopped),
        ] {
            assert_eq!(RestartPolicy::parse(text).unwrap(), policy, "{text}");
        }
        for text in ["sometimes", "on-failure:", "on-failure:x", "on-failure:-1", "on-failure:1:2", "always:3", "no:1"]
        {
            assert_eq!(RestartPolicy::parse(text).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn what_follows_an_end() {
        let few = RestartPolicy::OnFailure { retries: 2 };
        let any = RestartPolicy::OnFailure { retries: 0 };
        for (policy, code, restarts, wanted) in [
            (RestartPolicy::No, 1, 0, false),
            (few, 1, 1, true),
            (few, 1, 2, false),
            (few, 0, 0, false),
            (any, 137, 1000, true),
            (RestartPolicy::Always, 0, 7, true),
            (RestartPolicy::UnlessStopped, 1, 7, true),
        ] {
            assert_eq!(policy.restarts(code, restarts), wanted, "{policy:?} {code} {restarts}");
        }
        let boots = [RestartPolicy::No, any, RestartPolicy::Always, RestartPolicy::UnlessStopped]
            .map(|policy| (policy.starts_at_boot(false), policy.starts_at_boot(true)));
        assert_eq!(boots, [(false, false), (false, false), (true, true), (true, false)]);
    }
}
