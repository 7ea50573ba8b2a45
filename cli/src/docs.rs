//! Man pages and completions, made from the same tree that parses the command line.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;

/// The whole command tree.
pub fn command() -> Command {
    Cli::command()
}

/// Writes one man page per command into a folder.
pub fn write_man_pages(folder: &Path) -> std::io::Result<()> {
    fs_err::create_dir_all(folder)?;
    clap_mangen::generate_to(command(), folder)
}

/// Writes the completion scripts of bash, zsh and fish into a folder, under the names their shells look for.
pub fn write_completions(folder: &Path) -> std::io::Result<()> {
    fs_err::create_dir_all(folder)?;
    for (shell, name) in [(Shell::Bash, "mica"), (Shell::Zsh, "_mica"), (Shell::Fish, "mica.fish")] {
        let mut script = Vec::new();
        write_completion(shell, &mut script);
        fs_err::write(folder.join(name), script)?;
    }
    Ok(())
}

/// The completion script of one shell.
pub(crate) fn write_completion(shell: Shell, out: &mut Vec<u8>) {
    clap_complete::generate(shell, &mut command(), "mica", out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_command_has_a_page_and_every_shell_a_script() {
        let folder = tempfile::tempdir().expect("a folder");
        write_man_pages(folder.path()).expect("pages");
        write_completions(folder.path()).expect("scripts");
        for name in ["mica.1", "mica-run.1", "mica-container-ls.1", "mica-system-df.1", "mica", "_mica", "mica.fish"] {
            let text = fs_err::read_to_string(folder.path().join(name)).expect(name);
            assert!(text.contains("mica"), "{name}");
        }
        assert!(!folder.path().join("mica-__docs.1").exists());
    }
}
