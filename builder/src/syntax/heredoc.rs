//! Here-documents: finding their words in a line, and their text.

/// A here-document of `RUN`, `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The terminator, which for `COPY` is the file's name.
    pub name: String,
    /// Whether variables are expanded: the terminator was not quoted.
    pub expand: bool,
    /// Whether leading tabs are stripped: `<<-`.
    pub strip_tabs: bool,
    /// Lines as they stand in the Dockerfile, each with its newline.
    pub text: String,
}

impl Heredoc {
    /// The text without the leading tabs that `<<-` drops.
    pub fn content(&self) -> String {
        if !self.strip_tabs {
            return self.text.clone();
        }
        self.text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// Whether a line ends this document.
    pub fn ends_with(&self, line: &str) -> bool {
        let line = if self.strip_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The heredocs that a line's words announce, without their text.
pub(crate) fn announced(line: &str, escape: char) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    words(line, escape).into_iter().filter_map(|word| parse_word(word, escape)).collect()
}

/// Reads one word as `[n]<<[-]NAME`. The name may be quoted; it cannot contain `<`, so `<<<` is no heredoc.
pub(crate) fn parse_word(word: &str, escape: char) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, raw) = match rest.strip_prefix('-') {
        Some(raw) => (true, raw),
        None => (false, rest),
    };
    if raw.is_empty() || raw.contains('<') {
        return None;
    }
    let mut name = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                quoted = true;
            }
            None if c == escape => {
                quoted = true;
                name.extend(chars.next());
            }
            _ => name.push(c),
        }
    }
    (quote.is_none() && !name.is_empty()).then_some(Heredoc { name, expand: !quoted, strip_tabs, text: String::new() })
}

/// Splits at white space outside quotes; quotes and escapes stay in the words.
fn words(line: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if let Some(from) = start.take() {
                words.push(&line[from..at]);
            }
            continue;
        }
        start.get_or_insert(at);
        match quote {
            Some(q) if c == q => quote = None,
            Some('\'') => {}
            _ if c == escape => {
                chars.next();
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(&line[from..]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_announce_documents() {
        let table: &[(&str, &[&str])] = &[
            ("<<EOF", &["EOF expand"]),
            ("cat <<-'EOF' > /x", &["EOF strip"]),
            ("<<a <<\"b\" /dest/", &["a expand", "b"]),
            ("3<<EOF cat", &["EOF expand"]),
            ("cat <<<EOF", &[]),
            ("echo \"<<EOF\"", &[]),
            ("echo '<<EOF'", &[]),
            ("echo $((1<<2))", &[]),
            ("cat << EOF", &[]),
        ];
        let shown = |document: Heredoc| {
            let expand = if document.expand { " expand" } else { "" };
            let strip = if document.strip_tabs { " strip" } else { "" };
            format!("{}{expand}{strip}", document.name)
        };
        for (line, expected) in table {
            let found: Vec<String> = announced(line, '\\').into_iter().map(shown).collect();
            assert_eq!(found, *expected, "{line}");
        }
    }

    #[test]
    fn stripping_takes_tabs_only() {
        let doc = Heredoc { name: "E".into(), expand: true, strip_tabs: true, text: "\t\ta\n  b\n".into() };
        assert_eq!(doc.content(), "a\n  b\n");
        assert!(doc.ends_with("\tE"));
    }
}
