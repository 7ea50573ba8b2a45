//! What `push` and `pull` show, a `run` that pulls on standard error: a line for each layer, drawn over on a terminal, said once elsewhere.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::output::{self, human};
use crate::terminal;

/// How long a drawing of mere amounts stands before the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Cells of a bar.
const BAR: u64 = 50;

/// What a layer's line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// A state that others follow.
    State(&'a str),
    /// A state with an amount.
    Amount {
        /// The state.
        word: &'a str,
        /// So many bytes of `total`.
        done: u64,
        /// All of them.
        total: u64,
    },
    /// The last state.
    End(&'a str),
}

/// The lines.
#[derive(Debug)]
pub struct Layers {
    style: Style,
    write: fn(&[u8]) -> anyhow::Result<()>,
    board: Mutex<Board>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Plain,
    Terminal,
}

#[derive(Debug, Default)]
struct Board {
    lines: Vec<Line>,
    /// Lines that the next drawing replaces.
    drawn: usize,
    when: Option<Instant>,
}

#[derive(Debug)]
struct Line {
    id: String,
    word: String,
    amount: Option<(u64, u64)>,
    began: Instant,
    ended: bool,
}

impl Layers {
    /// As standard output is.
    pub fn on_stdout() -> Layers {
        Layers::of(if std::io::stdout().is_terminal() { Style::Terminal } else { Style::Plain }, output::raw)
    }

    /// As standard error is.
    pub fn on_stderr() -> Layers {
        Layers::of(if std::io::stderr().is_terminal() { Style::Terminal } else { Style::Plain }, output::raw_error)
    }

    /// Nothing is shown.
    pub fn silent() -> Layers {
        Layers::of(Style::Silent, output::raw)
    }

    fn of(style: Style, write: fn(&[u8]) -> anyhow::Result<()>) -> Layers {
        Layers { style, write, board: Mutex::default() }
    }

    /// Says something that stays. Lines drawn before it stay as they are.
    pub fn say(&self, text: &str) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        match self.style {
            Style::Silent => {}
            Style::Plain => drop((self.write)(format!("{}\n", printable(text)).as_bytes())),
            Style::Terminal => {
                let drawing = board.draw(screen(), true);
                *board = Board::default();
                let _ = (self.write)(format!("{drawing}{}\n", printable(text)).as_bytes());
            }
        }
    }

    /// Changes what a layer's line says.
    pub fn set(&self, id: &str, word: Word<'_>) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        match self.style {
            Style::Silent => {}
            // How far something has come is old before anybody reads a log.
            Style::Plain => {
                if let (Word::State(text) | Word::End(text), true) = (word, board.change(id, word)) {
                    let _ = (self.write)(format!("{}\n", printable(&format!("{id}: {text}"))).as_bytes());
                }
            }
            Style::Terminal => {
                let new = board.change(id, word);
                if new || board.when.is_none_or(|when| when.elapsed() >= PAUSE) {
                    board.when = Some(Instant::now());
                    let drawing = board.draw(screen(), false);
                    let _ = (self.write)(drawing.as_bytes());
                }
            }
        }
    }
}

impl Board {
    /// Takes a word; true when it is another one than before.
    fn change(&mut self, id: &str, word: Word<'_>) -> bool {
        let (text, amount, ended) = match word {
            Word::State(text) => (text, None, false),
            Word::Amount { word, done, total } => (word, Some((done, total)), false),
            Word::End(text) => (text, None, true),
        };
        let at = self.lines.iter().position(|line| line.id == id).unwrap_or_else(|| {
            let word = String::new();
            self.lines.push(Line { id: id.to_owned(), word, amount: None, began: Instant::now(), ended: false });
            self.lines.len() - 1
        });
        let line = &mut self.lines[at];
        // An amount may be told after the end by a thread that was slow to tell it.
        if line.ended {
            return false;
        }
        let new = line.word != text;
        if new {
            text.clone_into(&mut line.word);
            line.began = Instant::now();
        }
        line.amount = amount;
        line.ended = ended;
        new
    }

    /// Replaces what was drawn. Ended lines at the top are left behind, so that no more is ever drawn over than fits.
    fn draw(&mut self, (rows, columns): (usize, usize), all: bool) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        let room = rows.saturating_sub(1).max(1);
        let mut left = 0;
        while self.lines.len() - left > room && self.lines[left].ended {
            left += 1;
        }
        for line in self.lines.drain(..left) {
            let _ = writeln!(text, "{}", line.shown(columns));
        }
        let shown = if all { self.lines.len() } else { self.lines.len().min(room) };
        for line in &self.lines[..shown] {
            let _ = writeln!(text, "{}", line.shown(columns));
        }
        self.drawn = shown;
        text
    }
}

impl Line {
    fn shown(&self, columns: usize) -> String {
        let mut text = format!("{}: {}", self.id, self.word);
        if let Some((done, total)) = self.amount {
            let amounts = format!("  {}/{}", human::size(done), human::size(total));
            let filled = done.min(total).saturating_mul(BAR).checked_div(total).unwrap_or(BAR);
            let filled = usize::try_from(filled).unwrap_or_default();
            let arrow = if filled == 0 { String::new() } else { format!("{}>", "=".repeat(filled - 1)) };
            let bar = format!(" [{arrow:<width$}]", width = usize::try_from(BAR).unwrap_or_default());
            let seconds = self.began.elapsed().as_secs();
            let speed =
                done.checked_div(seconds).map(|speed| format!("  {}/s", human::size(speed))).unwrap_or_default();
            // The bar goes first where the terminal is narrow.
            if text.len() + bar.len() + amounts.len() + speed.len() < columns {
                text.push_str(&bar);
            }
            text.push_str(&amounts);
            text.push_str(&speed);
        }
        printable(&text).chars().take(columns.saturating_sub(1)).collect()
    }
}

fn screen() -> (usize, usize) {
    let (rows, columns) = terminal::size().unwrap_or((24, 80));
    (if rows == 0 { 24 } else { usize::from(rows) }, if columns == 0 { 80 } else { usize::from(columns).max(20) })
}

/// Names come from strangers, and a line must not move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(done: u64) -> Word<'static> {
        Word::Amount { word: "Pushing", done, total: 1000 }
    }

    #[test]
    fn lines_are_drawn_over_and_scroll_away_once_they_end() {
        let mut board = Board::default();
        assert!(board.change("a", Word::State("Preparing")));
        assert!(!board.change("a", Word::State("Preparing")));
        assert_eq!(board.draw((24, 80), false), "a: Preparing\n");
        board.change("b", amount(500));
        let bar = format!("{}>{}", "=".repeat(24), " ".repeat(25));
        assert_eq!(board.draw((24, 90), false), format!("\x1b[1A\x1b[Ja: Preparing\nb: Pushing [{bar}]  500B/1kB\n"));
        assert_eq!(board.draw((24, 40), false), "\x1b[2A\x1b[Ja: Preparing\nb: Pushing  500B/1kB\n");
        assert!(board.change("a", Word::End("Pushed")));
        assert!(!board.change("a", amount(700)), "nothing comes after the end");
        // Room for one line: the ended one stays above for good.
        assert_eq!(board.draw((2, 40), false), "\x1b[2A\x1b[Ja: Pushed\nb: Pushing  500B/1kB\n");
        assert_eq!(board.draw((2, 40), false), "\x1b[1A\x1b[Jb: Pushing  500B/1kB\n");
        for id in ["c", "d"] {
            board.change(id, Word::State("Waiting\x1b[2J"));
        }
        assert_eq!(board.draw((3, 40), false), "\x1b[1A\x1b[Jb: Pushing  500B/1kB\nc: Waiting [2J\n");
        assert_eq!(board.draw((3, 40), true).lines().count(), 3);
    }
}
