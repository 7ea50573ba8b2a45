//! Expansion, one row a case.

use super::*;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "V" => "value",
        "EMPTY" => "",
        "FILE" => "foo.tar.gz",
        "SPACES" => "a b  c",
        "PAT" => "*.",
        _ => return None,
    };
    Some(value.into())
}

#[test]
fn words_expand_as_the_language_says() {
    let table = [
        ("plain", "plain"),
        ("$V", "value"),
        ("${V}x", "valuex"),
        ("$Vx", ""),
        ("$", "$"),
        ("a$ b", "a$ b"),
        (r"\$V", "$V"),
        (r"\\$V", r"\value"),
        ("'$V'", "$V"),
        ("\"$V\"", "value"),
        (r#""\$V""#, "$V"),
        (r#""a\b""#, r"a\b"),
        (r"a\b", "ab"),
        (r"'a\b'", r"a\b"),
        ("${V:-w}", "value"),
        ("${U:-w}", "w"),
        ("${U-w}", "w"),
        ("${EMPTY:-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${V:+w}", "w"),
        ("${V+w}", "w"),
        ("${EMPTY:+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${U+w}", ""),
        ("${U:-${V:-x}}", "value"),
        ("${U:-'}'}", "}"),
        ("${V:?no}", "value"),
        ("${FILE#*.}", "tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE%.*}", "foo.tar"),
        ("${FILE%%.*}", "foo"),
        ("${FILE#$PAT}", "tar.gz"),
        (r"${FILE#\*.}", "foo.tar.gz"),
        ("${FILE/o/0}", "f0o.tar.gz"),
        ("${FILE//o/0}", "f00.tar.gz"),
        ("${FILE/.*/}", "foo"),
        ("${FILE//[/x}", "foo.tar.gz"),
        ("$1", ""),
        ("ünï", "ünï"),
    ];
    for (raw, expected) in table {
        assert_eq!(expand(raw, '\\', &environment).unwrap().text, expected, "{raw}");
    }
    assert_eq!(expand(r"C:\$V`$V", '`', &environment).unwrap().text, r"C:\value$V");
}

#[test]
fn bad_words_are_refused_with_the_reason() {
    let deep = format!("{}{}", "${U:-".repeat(20_000), "}".repeat(20_000));
    let table = [
        ("${U:?not given}", "`U`: not given"),
        ("${EMPTY:?}", "`EMPTY` must be set"),
        ("${V", "missing `}`"),
        ("${}", "a name must follow"),
        ("${V:=x}", "unsupported modifier `:=`"),
        ("${V^}", "unsupported modifier `^`"),
        ("'open", "missing `'`"),
        ("\"open", "missing `\"`"),
        (deep.as_str(), "nested more than"),
    ];
    for (raw, part) in table {
        let error = expand(raw, '\\', &environment).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn words_split_where_nothing_is_quoted() {
    assert_eq!(expand("$SPACES x", '\\', &environment).unwrap().words, ["a", "b", "c", "x"]);
    assert_eq!(expand("\"$SPACES\" ''", '\\', &environment).unwrap().words, ["a b  c", ""]);
}

#[test]
fn heredoc_text_keeps_its_quotes() {
    let text = expand_text("it's \"$V\" \\$V \\n\n", '\\', &environment).unwrap().text;
    assert_eq!(text, "it's \"value\" $V \\n\n");
}

#[test]
fn unset_names_are_reported() {
    let unset = expand("$A ${B:-x} ${C} $V", '\\', &environment).unwrap().unset;
    assert_eq!(unset.into_iter().collect::<Vec<_>>(), ["A", "C"]);
}
