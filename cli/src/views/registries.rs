//! What is configured about registries, as `info` shows it.

use mica_registry::config::Summary;
use serde_json::{Map, Value as Json, json};

/// The address that Docker has always given for its own registry.
pub const INDEX_SERVER: &str = "https://index.docker.io/v1/";
const DOCKER_HUB: &str = "docker.io";

/// Docker's `RegistryConfig`. What Docker cannot say, blocked names and mirrors of namespaces, stands beside its keys.
pub fn config(summary: &Summary) -> Json {
    let mirrors = |of: &str| {
        let found = summary.mirrors.iter().filter(|(name, _)| name == of);
        found.flat_map(|(_, mirrors)| mirrors.clone()).collect::<Vec<_>>()
    };
    let names = summary.mirrors.iter().map(|(name, _)| name).chain(&summary.insecure);
    let mut indexes = Map::new();
    for name in names.map(String::as_str).chain([DOCKER_HUB]) {
        let index = json!({
            "Name": name,
            "Mirrors": mirrors(name),
            "Secure": !summary.insecure.iter().any(|insecure| insecure == name),
            "Official": name == DOCKER_HUB,
        });
        indexes.insert(name.to_owned(), index);
    }
    json!({
        "IndexConfigs": indexes,
        "Mirrors": mirrors(DOCKER_HUB),
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
        "Blocked": summary.blocked,
        "Search": summary.search,
    })
}

/// The lines of the text, with what is configured below what it is.
pub fn lines(summary: &Summary) -> Vec<String> {
    let mut lines = vec![format!("Registry: {INDEX_SERVER}")];
    let mut section = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            lines.push(format!("{name}:"));
            lines.extend(values.iter().map(|value| format!(" {value}")));
        }
    };
    let mirrors = summary.mirrors.iter().map(|(name, mirrors)| format!("{name}: {}", mirrors.join(" ")));
    section("Registry Mirrors", mirrors.collect());
    section("Insecure Registries", summary.insecure.clone());
    section("Blocked Registries", summary.blocked.clone());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_dockers_and_everything_else_is_said_too() {
        let summary = Summary {
            search: vec!["docker.io".into()],
            mirrors: vec![("docker.io".into(), vec!["https://m".into()]), ("q/team".into(), vec!["http://n".into()])],
            insecure: vec!["10.0.0.1:5000".into()],
            blocked: vec!["bad".into()],
        };
        let config = config(&summary);
        assert_eq!(config["Mirrors"], json!(["https://m"]));
        assert_eq!(config["IndexConfigs"]["docker.io"]["Secure"], json!(true));
        assert_eq!(config["IndexConfigs"]["10.0.0.1:5000"]["Secure"], json!(false));
        assert_eq!(
            lines(&summary).join("\n"),
            "Registry: https://index.docker.io/v1/\nRegistry Mirrors:\n docker.io: https://m\n q/team: http://n\n\
             Insecure Registries:\n 10.0.0.1:5000\nBlocked Registries:\n bad"
        );
        assert_eq!(lines(&Summary::default()).len(), 1);
    }
}
