//! What registries and their configuration say: challenges of servers, files with credentials, `registries.conf`.

use std::path::Path;

use mica_registry::challenge::{self, Challenge};
use mica_registry::config::credentials::{CredentialFile, Source};
use mica_registry::config::registries::RegistriesConf;
use serde_json::Value;

/// A challenge that was understood can be written down and is understood again as the same.
pub(crate) fn challenge(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(understood) = challenge::parse(text.lines()) else { return };
    let written = match &understood {
        Challenge::Basic => "Basic realm=\"r\"".to_owned(),
        Challenge::Bearer(bearer) => {
            let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let more = [("service", &bearer.service), ("scope", &bearer.scope)];
            let more =
                more.into_iter().filter_map(|(name, value)| Some(format!(",{name}={}", quote(value.as_deref()?))));
            format!("Bearer realm={}{}", quote(&bearer.realm), more.collect::<String>())
        }
    };
    assert_eq!(challenge::parse([written.as_str()]), Some(understood), "written as `{written}`");
}

/// Nothing that stands as a value is repeated by a message, and nobody gets what is filed under somebody else.
pub(crate) fn credentials(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match CredentialFile::parse(text) {
        Ok(file) => {
            let found = file.sources("r.example", "team/app");
            assert!(file.sources("r.example", "").iter().all(|source| found.contains(source)), "{file:?}");
            let strangers = file.sources("stranger.example", "team/app");
            let kept_here = |source: &Source| matches!(source, Source::Here(_));
            assert!(text.contains("stranger.example") || !strangers.iter().any(kept_here), "{file:?}");
        }
        Err(message) => {
            let Ok(mut value) = serde_json::from_str(text) else {
                assert!(message.starts_with("line ") && message.ends_with(" is not JSON"), "{message}");
                return;
            };
            mark(&mut value);
            let Err(message) = CredentialFile::parse(&value.to_string()) else { return };
            assert!(text.contains(MARK) || !message.contains(MARK), "a message repeats a value: {message}");
        }
    }
}

const MARK: &str = "hunter3";

/// Puts a mark in the place of every value.
fn mark(value: &mut Value) {
    match value {
        Value::Object(object) => object.values_mut().for_each(mark),
        Value::Array(array) => array.iter_mut().for_each(mark),
        other => *other = MARK.into(),
    }
}

/// A mistake is in a line that is there; a file read twice says what it says once.
pub(crate) fn registries_conf(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parse = || RegistriesConf::parse(Path::new("/r.conf"), text);
    match parse() {
        Ok(mut conf) => {
            let once = conf.clone();
            conf.overlay(once.clone());
            assert_eq!(conf, once);
        }
        Err(message) => {
            let line = message.strip_prefix("/r.conf:").and_then(|rest| rest.split_once(": ")).map(|(line, _)| line);
            let line: usize = line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no line: {message}"));
            assert!((1..=text.split('\n').count()).contains(&line), "line {line} of `{text}`");
        }
    }
}
