//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` and `?`, which match any character.

/// A compiled pattern.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    items: Vec<Item>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Literal(char),
    Any,
    Star,
}

impl Pattern {
    /// Adds a character which may be a wildcard.
    pub fn push(&mut self, c: char) {
        match c {
            '*' if self.items.last() == Some(&Item::Star) => {}
            '*' => self.items.push(Item::Star),
            '?' => self.items.push(Item::Any),
            _ => self.push_literal(c),
        }
    }

    /// Adds a character that stands for itself.
    pub fn push_literal(&mut self, c: char) {
        self.items.push(Item::Literal(c));
    }

    /// The value without its shortest or longest matching head.
    pub fn strip_prefix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let ends = self.ends(&chars);
        let end = if longest { ends.last() } else { ends.first() };
        chars[end.copied().unwrap_or(0)..].iter().collect()
    }

    /// The value without its shortest or longest matching tail.
    pub fn strip_suffix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().rev().collect();
        let mut items = self.items.clone();
        items.reverse();
        let stripped = Self { items }.strip_prefix(&chars.into_iter().collect::<String>(), longest);
        stripped.chars().rev().collect()
    }

    /// The value with the first match, or all of them, replaced; matches are as long as they can be.
    pub fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut done = false;
        while at < chars.len() {
            match self.ends(&chars[at..]).last() {
                Some(length) if *length > 0 && !done => {
                    out.push_str(replacement);
                    at += length;
                    done = !all;
                }
                _ => {
                    out.push(chars[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// All lengths of heads that match, ascending. The set of states is bounded by the text, so no pattern is slow
    /// beyond text × pattern.
    fn ends(&self, chars: &[char]) -> Vec<usize> {
        let mut reachable = vec![false; chars.len() + 1];
        reachable[0] = true;
        for item in &self.items {
            let mut next = vec![false; chars.len() + 1];
            let mut open = false;
            for at in 0..=chars.len() {
                match item {
                    Item::Star => {
                        open |= reachable[at];
                        next[at] = open;
                    }
                    Item::Any => next[at] = at > 0 && reachable[at - 1],
                    Item::Literal(c) => next[at] = at > 0 && reachable[at - 1] && chars[at - 1] == *c,
                }
            }
            reachable = next;
        }
        (0..=chars.len()).filter(|at| reachable[*at]).collect()
    }
}
