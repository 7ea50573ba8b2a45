//! Text to abstract syntax tree and back: pure functions, no files, no expansion.
//!
//! `parse(print(ast))` is `ast` again, which a property test holds us to.

pub mod ast;
mod cursor;
mod flags;
pub mod heredoc;
mod instruction;
mod lines;
mod print;
#[cfg(test)]
mod tests;
mod words;

pub use print::{print, print_instruction};

use ast::{Dockerfile, Instruction, Located, Position, Span, Warning};
use cursor::Cursor;

/// Text that is not a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Where.
    pub position: Position,
    /// How many characters it concerns.
    pub width: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses a Dockerfile.
pub fn parse(text: &str) -> Result<Dockerfile, SyntaxError> {
    let document = lines::read(text)?;
    let mut warnings = document.warnings;
    let mut instructions = Vec::with_capacity(document.lines.len());
    let mut in_stage = false;
    for line in &document.lines {
        let cursor = Cursor::new(line, document.directives.escape);
        let keyword = cursor.keyword();
        let span =
            Span { start: line.position(keyword.at), width: keyword.text.chars().count(), end_line: line.end_line };
        let instruction = instruction::parse(cursor)?;
        match &instruction {
            Instruction::From(_) => in_stage = true,
            Instruction::Arg(_) => {}
            _ if !in_stage => {
                return Err(line.error(0, span.width, "no build stage yet: a Dockerfile starts with `FROM` or `ARG`"));
            }
            _ => {}
        }
        remark(&instruction, span.start.line, &mut warnings);
        instructions.push(Located { span, instruction });
    }
    if !in_stage {
        let position = Position { line: instructions.last().map_or(1, |last| last.span.end_line), column: 1 };
        return Err(SyntaxError { position, width: 1, message: "there is no `FROM` in this Dockerfile".into() });
    }
    Ok(Dockerfile { directives: document.directives, instructions, warnings })
}

/// Parses one instruction on its own, for `commit --change` and `ONBUILD` triggers.
pub fn parse_instruction(text: &str, escape: char) -> Result<Instruction, SyntaxError> {
    // The directive keeps the escape character; it is the first line of the text this function makes up.
    let document = lines::read(&format!("# escape={escape}\n{text}"))?;
    match document.lines.as_slice() {
        [line] => instruction::parse(Cursor::new(line, escape)),
        lines => Err(SyntaxError {
            position: Position { line: 1, column: 1 },
            width: 1,
            message: format!("expected one instruction, found {}", lines.len()),
        }),
    }
}

fn remark(instruction: &Instruction, line: usize, warnings: &mut Vec<Warning>) {
    let text = match instruction {
        Instruction::From(from) if from.name.as_deref().is_some_and(|name| name != name.to_lowercase()) => {
            "StageNameCasing: stage names are matched in lower case, so write them so"
        }
        Instruction::Cmd(ast::Command::Shell(_)) | Instruction::Entrypoint(ast::Command::Shell(_)) => {
            "JSONArgsRecommended: the shell form puts a shell between signals and the program; prefer `[\"…\"]`"
        }
        Instruction::Env(pairs) | Instruction::Label(pairs) if pairs.style == ast::PairStyle::Legacy => {
            "LegacyKeyValueFormat: write `name=value` instead of `name value`"
        }
        Instruction::Maintainer(_) => "MaintainerDeprecated: use `LABEL org.opencontainers.image.authors=` instead",
        _ => return,
    };
    warnings.push(Warning { line, text: text.into() });
}
