//! The driver's options, `key=value` from the configuration.

use mica_storage_api::{Error, ErrorKind, Result};

use crate::stack::Interface;

/// What the options say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Trust that an earlier `open` of this root has probed it.
    pub(crate) skip_probe: bool,
    /// The one mount interface to use; `None`: the newest that works.
    pub(crate) interface: Option<Interface>,
}

impl Options {
    pub(crate) fn parse(options: &[&str]) -> Result<Self> {
        let mut parsed = Self { skip_probe: false, interface: None };
        for option in options {
            match option.split_once('=') {
                Some(("probe", "always")) => parsed.skip_probe = false,
                Some(("probe", "skip")) => parsed.skip_probe = true,
                Some(("interface", name)) => {
                    let known = Interface::NEWEST_FIRST.into_iter().find(|interface| interface.name() == name);
                    parsed.interface =
                        Some(known.ok_or_else(|| bad(option, "`interface` is `fd`, `name` or `classic`"))?);
                }
                Some(("probe", _)) => return Err(bad(option, "`probe` is `always` or `skip`")),
                _ => return Err(bad(option, "the overlay driver knows `probe` and `interface`")),
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
        let parsed = Options::parse(&["probe=skip", "interface=classic"]);
        assert_eq!(parsed, Ok(Options { skip_probe: true, interface: Some(Interface::Classic) }));
        for wrong in ["probe=maybe", "interface=new", "size=1", "probe", ""] {
            let error = Options::parse(&[wrong]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{wrong}");
            assert!(error.message.contains(&format!("`{wrong}`")), "{}", error.message);
        }
    }
}
