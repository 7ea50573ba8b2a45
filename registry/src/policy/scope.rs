//! Scopes of the `docker` transport: how a policy names images, and under which names an image's rule may stand.
//!
//! Hosts are compared as hosts: without case, and with 443 as the port that need not be written. Otherwise another spelling
//! of a name would leave the rule that is for it.

use mica_engine::Reference;

use crate::config::place::{canonical, check_host, without_port};

/// A scope as it is looked up; the error is a reason. The empty one is the transport's default.
pub(super) fn parse(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if let Some(parent) = text.strip_prefix("*.") {
        check_host(parent)?;
        if without_port(parent) != parent {
            return Err("a wildcard is for hosts with all their ports and has none itself");
        }
        return Ok(format!("*.{}", parent.to_ascii_lowercase()));
    }
    let (host, rest) = split(text)?;
    Ok(format!("{}{rest}", canonical(host)))
}

/// A host or the beginning of repositories' names, without a tag or digest.
pub(super) fn parse_prefix(text: &str) -> Result<String, &'static str> {
    let (host, rest) = split(text)?;
    if rest.contains([':', '@']) {
        return Err("it has a tag or a digest");
    }
    Ok(format!("{}{rest}", canonical(host)))
}

fn split(text: &str) -> Result<(&str, &str), &'static str> {
    if text.contains("://") {
        return Err("it is a host or the beginning of a name, without `https://`");
    }
    let (host, rest) = text.find('/').map_or((text, ""), |slash| text.split_at(slash));
    check_host(host)?;
    let strange = |letter: char| letter == '*' || letter.is_whitespace() || letter.is_control();
    if rest.split('/').skip(1).any(str::is_empty) || rest.contains(strange) {
        return Err("what follows the host is not the beginning of a repository's name");
    }
    Ok((host, rest))
}

/// A repository in the form that is compared.
pub(super) fn repository(reference: &Reference) -> String {
    format!("{}/{}", canonical(reference.domain()), reference.path())
}

/// An image in the form that is compared. Where there is a digest, that says which image it is and the tag says nothing.
pub(super) fn image(reference: &Reference) -> String {
    let repository = repository(reference);
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => repository,
    }
}

/// The scopes that an image is in, the most specific first.
pub(super) fn of(reference: &Reference) -> Vec<String> {
    let mut scopes = vec![image(reference)];
    let mut name = repository(reference);
    loop {
        scopes.push(name.clone());
        let Some(slash) = name.rfind('/') else { break };
        name.truncate(slash);
    }
    let mut host = without_port(&name);
    while let Some((_, parent)) = host.split_once('.') {
        scopes.push(format!("*.{parent}"));
        host = parent;
    }
    scopes.push(String::new());
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn an_image_is_in_every_scope_above_it() {
        let pinned = format!("r.example:5000/a:1@{DIGEST}");
        let by_digest = format!("r.example:5000/a@{DIGEST}");
        for (name, expected) in [
            (
                "alpine",
                vec![
                    "docker.io/library/alpine:latest",
                    "docker.io/library/alpine",
                    "docker.io/library",
                    "docker.io",
                    "*.io",
                    "",
                ],
            ),
            ("R.Example:443/a", vec!["r.example/a:latest", "r.example/a", "r.example", "*.example", ""]),
            (&pinned, vec![&by_digest, "r.example:5000/a", "r.example:5000", "*.example", ""]),
            (
                "x.y.example/a/b:1",
                vec![
                    "x.y.example/a/b:1",
                    "x.y.example/a/b",
                    "x.y.example/a",
                    "x.y.example",
                    "*.y.example",
                    "*.example",
                    "",
                ],
            ),
            ("localhost:5000/a:1", vec!["localhost:5000/a:1", "localhost:5000/a", "localhost:5000", ""]),
            ("[::1]:5000/a:1", vec!["[::1]:5000/a:1", "[::1]:5000/a", "[::1]:5000", ""]),
        ] {
            assert_eq!(of(&Reference::parse(name).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn scopes_are_spelled_in_one_way() {
        let pinned = format!("r.example/a@{DIGEST}");
        for (text, expected) in [
            ("", ""),
            ("R.Example", "r.example"),
            ("r.example:443/a", "r.example/a"),
            ("r.example:5000/a:1", "r.example:5000/a:1"),
            (&pinned, &pinned),
            ("*.Lab.Example", "*.lab.example"),
            ("[::1]:5000/a", "[::1]:5000/a"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "https://r.example",
            "r.example/",
            "r.example//a",
            "*",
            "*.",
            "a.*.b",
            "*.b:5000",
            "*.b/c",
            "r.example/*",
            "/a",
            "a b/c",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["r.example/a:1", &pinned, "*.b", ""] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
        assert_eq!(parse_prefix("R.example:5000/a").as_deref(), Ok("r.example:5000/a"));
    }
}
