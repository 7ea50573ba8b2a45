//! `commit --change` and `import --change`: single instructions, applied to a config.

use mica_engine::image::ImageConfig;

use crate::error::{Error, Fault, Result};
use crate::plan::config::{Configuring, Words};
use crate::syntax::ast::Instruction;
use crate::syntax::parse_instruction;

/// Applies the instructions in order, or none of them.
pub(crate) fn change(config: &mut ImageConfig, instructions: &[String]) -> Result<()> {
    let mut state = Configuring::new(config.config.clone());
    let mut author = config.author.clone();
    for text in instructions {
        let refused = |message: String| Error::Request(Fault::Invalid(format!("change `{text}`: {message}")));
        let instruction = parse_instruction(text, '\\').map_err(|error| refused(error.message))?;
        if let Instruction::Maintainer(name) = &instruction {
            author = Some(name.clone());
        }
        let applied = state.apply(&instruction, '\\', &mut Words::default());
        if applied.map_err(|fault| refused(fault.to_string()))?.is_none() {
            return Err(refused("only instructions that change the config are allowed".into()));
        }
    }
    config.config = state.config;
    config.author = author;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_config() {
        let mut config = ImageConfig::default();
        config.config.env = vec!["A=1".into(), "B=2".into()];
        config.config.cmd = Some(vec!["old".into()]);
        let all = [
            "ENV A=${B}3 C=\"x y\"",
            "ENTRYPOINT [\"e\"]",
            "EXPOSE 80 53/udp",
            "WORKDIR /a",
            "WORKDIR b/../c",
            "LABEL k=v",
        ];
        change(&mut config, &all.map(str::to_owned)).unwrap();
        let changed = &config.config;
        assert_eq!(changed.env, ["A=23", "B=2", "C=x y"]);
        assert_eq!((changed.entrypoint.clone(), changed.cmd.clone()), (Some(vec!["e".into()]), None));
        assert_eq!(changed.exposed_ports.as_ref().unwrap().keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(changed.working_dir, "/a/c");
    }

    #[test]
    fn a_bad_change_changes_nothing() {
        for (text, message) in [
            ("RUN x", "change `RUN x`: only instructions that change the config are allowed"),
            ("FOO x", "change `FOO x`: unknown instruction `FOO` (did you mean `FROM`?)"),
            ("EXPOSE x", "change `EXPOSE x`: `x` is no port: write `80`, `80/udp` or `8000-8010`"),
        ] {
            let mut config = ImageConfig::default();
            let error = change(&mut config, &["USER u".into(), text.into()]).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(config, ImageConfig::default());
        }
    }
}
