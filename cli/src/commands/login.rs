//! `login`: asks for what was not given, proves it to the registry, and only then stores it.

use std::io::Read as _;

use anyhow::{bail, ensure};
use mica_engine::{Error, Kind};
use mica_registry::config::{Kept, Logins, registry_of};
use mica_registry::{Credential, Credentials as _, HttpRegistry, LoginOutcome};

use crate::args::login::Login;
use crate::context::Context;
use crate::failure::{INTERRUPTED, Status};
use crate::terminal::{Echo, ask, stdin_is_terminal};
use crate::{output, wire};

/// The longest secret that is taken from standard input.
const SECRET_MAX: u64 = 1 << 20;

/// `login`.
pub(super) async fn run(context: &Context, args: &Login) -> anyhow::Result<()> {
    let given = given(args)?;
    let registry = registry_of(args.server.as_deref())?;
    let (client, logins) = (wire::registry(&context.settings), wire::logins(&context.settings));
    let mut known = None;
    if args.username.is_none() && given.is_none() {
        known = logins.for_repository(&registry, "").await?;
        if let Some(credential) = &known {
            output::line("Authenticating with existing credentials...")?;
            match client.check_login(&registry, credential).await {
                Ok(_) => return output::line("\nLogin Succeeded"),
                Err(error) if error.kind() == Kind::Denied => {
                    output::warn(format!("Login did not succeed, error: {}", error));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    let (user, secret) = asked(args.username.clone(), given, known.as_ref()).await?;
    // Where a question was asked, the interrupt key has a handler from then on, and no longer ends the program by itself.
    tokio::select! {
        done = log_in(&client, &logins, &registry, Credential::Basic { user, secret }) => done,
        _ = tokio::signal::ctrl_c() => Err(Status(INTERRUPTED).into()),
    }
}

/// The password that the command line leads to.
fn given(args: &Login) -> anyhow::Result<Option<String>> {
    if args.password.is_some() {
        output::warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        ensure!(!args.password_stdin, "--password and --password-stdin are mutually exclusive");
    }
    ensure!(args.username.as_deref() != Some(""), "username is empty");
    ensure!(args.password.as_deref() != Some(""), "password is empty");
    if !args.password_stdin {
        return Ok(args.password.clone());
    }
    ensure!(args.username.is_some(), "Must provide --username with --password-stdin");
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(SECRET_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= SECRET_MAX, "standard input holds more than a password");
    // What else is in it must not be repeated, so the error has no cause.
    let Ok(text) = String::from_utf8(bytes) else { bail!("the password on standard input is not UTF-8") };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    ensure!(!text.is_empty(), "password is empty");
    Ok(Some(text.to_owned()))
}

/// Asks a person for the rest.
async fn asked(
    user: Option<String>,
    secret: Option<String>,
    known: Option<&Credential>,
) -> anyhow::Result<(String, String)> {
    if (user.is_none() || secret.is_none()) && !stdin_is_terminal() {
        bail!("Cannot perform an interactive login from a non TTY device");
    }
    let user = match (user, known) {
        (Some(user), _) => user,
        (None, Some(Credential::Basic { user: known, .. })) => {
            let user = ask(&format!("Username ({known}): "), Echo::Shown).await?;
            if user.trim().is_empty() { known.clone() } else { user }
        }
        (None, _) => ask("Username: ", Echo::Shown).await?,
    };
    let user = user.trim().to_owned();
    ensure!(!user.is_empty(), "username is required");
    let secret = match secret {
        Some(secret) => secret,
        None => ask("Password: ", Echo::Hidden).await?,
    };
    ensure!(!secret.is_empty(), "password is required");
    Ok((user, secret))
}

async fn log_in(client: &HttpRegistry, logins: &Logins, registry: &str, credential: Credential) -> anyhow::Result<()> {
    let outcome = client.check_login(registry, &credential).await.map_err(refused)?;
    let Credential::Basic { user, .. } = &credential else { bail!("a login needs a user and a password") };
    let stored = match outcome {
        LoginOutcome::Accepted => logins.store(registry, user, &credential).await?,
        LoginOutcome::IdentityToken(token) => logins.store(registry, user, &token).await?,
    };
    if let Kept::InFile(path) = stored {
        output::warn(format!(
            "WARNING! The password is kept in clear text in '{}'.\nA credential helper keeps it safe: see \"credsStore\" in \
             docs/registries.md.",
            path.display()
        ));
    }
    output::line("\nLogin Succeeded")
}

/// Somebody who is logging in needs no advice to log in.
fn refused(error: Error) -> Error {
    if error.kind() != Kind::Denied {
        return error;
    }
    Error::refused(Kind::Denied, error.to_string()).with_hint("user or password is wrong; nothing was stored")
}
