//! The driver's options, `key=value` from the configuration.

use mica_storage_api::{Error, ErrorKind, Result};

use crate::probe::Found;
use crate::stack::Interface;

/// What the options say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// What an earlier `open` of this root has found.
    pub(crate) probed: Option<Found>,
    /// The one mount interface to use; `None`: the newest that works.
    pub(crate) interface: Option<Interface>,
}

impl Options {
    pub(crate) fn parse(options: &[&str]) -> Result<Self> {
        let mut parsed = Self { probed: None, interface: None };
        for option in options {
            match option.split_once('=') {
                Some(("probed", detail)) => {
                    let found = Found::from_detail(detail);
                    parsed.probed =
                        Some(found.ok_or_else(|| bad(option, "`probed` is what the driver said of itself"))?);
                }
                Some(("interface", name)) => {
                    let known = Interface::NEWEST_FIRST.into_iter().find(|interface| interface.name() == name);
                    parsed.interface =
                        Some(known.ok_or_else(|| bad(option, "`interface` is `fd`, `name` or `classic`"))?);
                }
                _ => return Err(bad(option, "the overlay driver knows `interface`")),
            }
        }
        Ok(parsed)
    }
}

fn bad(option: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("unknown storage option `{option}`: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options_parse_and_others_are_named() {
        let parsed = Options::parse(&["probed=mounts by classic, volatile, ids mapped", "interface=classic"]);
        let found = Found { interface: Interface::Classic, volatile: true, mapped: true };
        assert_eq!(parsed, Ok(Options { probed: Some(found), interface: Some(Interface::Classic) }));
        for wrong in ["probed=mounts by magic", "probed=", "interface=new", "size=1", "probed", ""] {
            let error = Options::parse(&[wrong]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{wrong}");
            assert!(error.message.contains(&format!("`{wrong}`")), "{}", error.message);
        }
    }
}
