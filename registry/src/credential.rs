//! Who asks: a user with a secret, or a token that stands for both. Neither is ever shown.

use std::fmt;

use async_trait::async_trait;
use mica_engine::Result;

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password or access token.
    Basic {
        /// The user.
        user: String,
        /// The secret.
        secret: String,
    },
    /// What a token server gave out at login, in place of the password.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { user, .. } => f.debug_struct("Basic").field("user", user).finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// Knows credentials.
#[async_trait]
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credential for a repository of a registry, by the registry's name as people write it; `None` is to ask without.
    async fn for_repository(&self, registry: &str, path: &str) -> Result<Option<Credential>>;
}

/// Nobody in particular.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl Credentials for Anonymous {
    async fn for_repository(&self, _registry: &str, _path: &str) -> Result<Option<Credential>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let basic = Credential::Basic { user: "me".into(), secret: "hidden".into() };
        let shown = format!("{basic:?} {:?}", Credential::IdentityToken("hidden".into()));
        assert!(shown.contains("me") && !shown.contains("hidden"), "{shown}");
    }
}
