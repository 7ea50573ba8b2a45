//! What a server's answer means for whoever asked: a kind, words that name the thing, and a remedy.

use std::error::Error as _;

use mica_engine::{Error, Kind};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

/// The longest text of a server that is repeated.
const SHOWN: usize = 300;

/// The body of an answer that refuses (OCI distribution-spec, "Error codes").
#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<Reason>,
    #[serde(default)]
    details: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Reason {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Text of strangers: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

/// A server as messages name it.
pub(crate) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// An answer that refuses `what`, for example `pull `a/b:c``.
pub(crate) fn refusal(what: &str, registry: &str, status: StatusCode, body: &[u8]) -> Error {
    let kind = match status.as_u16() {
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        408 | 425 | 429 | 500..=599 => Kind::Unavailable,
        _ => Kind::InvalidInput,
    };
    let mut message = format!("cannot {what}: registry `{registry}` answered {}", status.as_u16());
    match reason(body) {
        Some(reason) => message.push_str(&format!(": {reason}")),
        None => message.push_str(&status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default()),
    }
    let error = Error::refused(kind, message);
    match kind {
        Kind::Denied => error.with_hint(format!(
            "the repository may not exist or may need a login: `mica login {}`",
            if registry == "docker.io" { "" } else { registry }
        )),
        _ => error,
    }
}

/// The server's own words.
fn reason(body: &[u8]) -> Option<String> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let first = body.errors.into_iter().find_map(|reason| match (reason.code, reason.message) {
        (Some(code), Some(message)) if !message.is_empty() => Some(format!("{} ({})", shown(&message), shown(&code))),
        (code, message) => message.filter(|text| !text.is_empty()).or(code).map(|text| shown(&text)),
    });
    first.or_else(|| body.details.map(|text| shown(&text)))
}

/// A server that could not be asked.
pub(crate) fn unreachable(registry: &str, error: reqwest::Error) -> Error {
    // The address may carry a secret: signed links do.
    let error = error.without_url();
    let hint = hint(registry, &error);
    let mut message = format!("cannot reach registry `{registry}`");
    let mut cause = error.source();
    while let Some(next) = cause {
        // Only the innermost cause says something.
        if next.source().is_none() {
            message.push_str(&format!(": {}", shown(&next.to_string())));
        }
        cause = next.source();
    }
    let refused = Error::refused(Kind::Unavailable, message);
    match hint {
        Some(hint) => refused.with_hint(hint),
        None => refused,
    }
}

fn hint(registry: &str, error: &reqwest::Error) -> Option<String> {
    match tls(error)? {
        rustls::Error::InvalidCertificate(_) => {
            Some(format!("the authority that signed its certificate goes into `/etc/docker/certs.d/{registry}/ca.crt`"))
        }
        rustls::Error::AlertReceived(alert) if wants_identity(*alert) => Some(format!(
            "it wants to see a certificate: NAME.cert and NAME.key go into `/etc/docker/certs.d/{registry}`"
        )),
        rustls::Error::InvalidMessage(_) => {
            Some("it does not speak TLS; a registry without goes into `registries.insecure` of the config".to_owned())
        }
        _ => None,
    }
}

/// True when the server that was asked for TLS does not speak it.
pub(crate) fn speaks_no_tls(error: &reqwest::Error) -> bool {
    matches!(tls(error), Some(rustls::Error::InvalidMessage(_)))
}

/// True when one side does not trust the other's certificate, which no further try will change.
pub(crate) fn is_certificate(error: &reqwest::Error) -> bool {
    match tls(error) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidMessage(_)) => true,
        Some(rustls::Error::AlertReceived(alert)) => wants_identity(*alert),
        _ => false,
    }
}

/// What a server says that wants another client certificate, or one at all (RFC 8446 section 6.2; Go's sends the general
/// `bad_certificate` where version 1.2 knows no other).
fn wants_identity(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

fn tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(next) = cause {
        if let Some(error) = next.downcast_ref::<rustls::Error>() {
            return Some(error);
        }
        // An I/O error hides its cause from `source`.
        let inner = next.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| next.source());
    }
    None
}

/// An answer that is not what it claims to be.
pub(crate) fn corrupt(registry: &str, what: impl std::fmt::Display) -> Error {
    Error::refused(Kind::Corrupt, format!("registry `{registry}` sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_kinds_and_the_servers_own_words() {
        for (status, body, kind, words) in [
            (
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
                Kind::Denied,
                "authentication required (UNAUTHORIZED)",
            ),
            (
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":""}]}"#,
                Kind::NotFound,
                "answered 404: MANIFEST_UNKNOWN",
            ),
            (429, r#"{"details":"slow down"}"#, Kind::Unavailable, "answered 429: slow down"),
            (500, "<html>", Kind::Unavailable, "answered 500 Internal Server Error"),
            (400, "", Kind::InvalidInput, "answered 400 Bad Request"),
        ] {
            let error = refusal("pull `a/b`", "r.example", StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(words), "{error}");
        }
        let hostile = refusal("pull `a`", "r", StatusCode::BAD_REQUEST, br#"{"errors":[{"message":"\u001b[31m"}]}"#);
        assert!(!hostile.to_string().contains('\u{1b}'), "{hostile}");
    }
}
