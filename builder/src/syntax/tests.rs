//! The parser: shapes, errors, and the law that printing loses nothing.

use proptest::prelude::*;

use super::ast::*;
use super::heredoc::Heredoc;
use super::*;

fn instructions(text: &str) -> Vec<Instruction> {
    parse(text).unwrap().instructions.into_iter().map(|located| located.instruction).collect()
}

#[test]
fn continuations_comments_and_escapes_join() {
    let text = "FROM a\nRUN one \\\n  # a comment\n\n    two \\  \n three\n  cmd [\"x\", \"y z\"]\n";
    let parsed = instructions(text);
    let Instruction::Run(run) = &parsed[1] else { panic!("{parsed:?}") };
    assert_eq!(run.command, Command::Shell("one     two  three".into()));
    assert_eq!(parsed[2], Instruction::Cmd(Command::Exec(vec!["x".into(), "y z".into()])));
    assert_eq!(parse(text).unwrap().warnings[0].line, 4);

    let parsed = instructions("# ESCAPE=`\nFROM a\nRUN dir C:\\ `\n&& x\n");
    let Instruction::Run(run) = &parsed[1] else { panic!("{parsed:?}") };
    assert_eq!(run.command, Command::Shell("dir C:\\ && x".into()));
}

#[test]
fn directives_stand_at_the_top_only() {
    let file = parse("# syntax=docker/dockerfile:1\n# check=skip=all\n#x\n# escape=`\nFROM a").unwrap();
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.directives.check.as_deref(), Some("skip=all"));
    assert_eq!(file.directives.escape, '\\');
}

#[test]
fn heredocs_belong_to_their_instruction() {
    let text = "FROM a\nRUN <<EOF cat <<-'B'\n$x\nEOF\n\t\ty\n\tB\nCOPY <<a <<b /d/\n1\na\n2\nb\nUSER <<x\n";
    let parsed = instructions(text);
    let Instruction::Run(run) = &parsed[1] else { panic!("{parsed:?}") };
    assert_eq!(run.heredocs[0].content(), "$x\n");
    assert_eq!(run.heredocs[1].content(), "y\n");
    assert!(run.heredocs[0].expand && !run.heredocs[1].expand);
    let Instruction::Copy(copy) = &parsed[2] else { panic!("{parsed:?}") };
    assert_eq!(copy.transfer.sources, ["<<a", "<<b"]);
    assert_eq!(copy.transfer.heredocs[1].content(), "2\n");
    assert_eq!(parsed[3], Instruction::User("<<x".into()));
}

#[test]
fn what_looks_like_a_flag_and_is_none_is_printed_behind_two_dashes() {
    for text in [
        "FROM a\nRUN -- --x y\n",
        "FROM a\nRUN --network=none -- --x\n",
        "FROM a\nCMD -- --x\n",
        "FROM a\nCOPY -- --x y\n",
    ] {
        let file = parse(text).unwrap();
        let printed = print(&file);
        assert_eq!(printed, text);
    }
}

#[test]
fn flags_are_typed() {
    let parsed = instructions(
        "FROM --platform=$P a AS B\nCOPY --from=b --chown=1:2 --link --exclude=*.md --exclude=x [\"a b\", \"c\"]\n\
         RUN --mount=type=cache,target=/x,ro --network=none make\nADD --keep-git-dir=true --unpack=false u d\n\
         HEALTHCHECK --interval=1m --retries=4 CMD x\nONBUILD COPY . .\n",
    );
    let Instruction::From(from) = &parsed[0] else { panic!() };
    assert_eq!((from.platform.as_deref(), from.name.as_deref()), (Some("$P"), Some("B")));
    let Instruction::Copy(copy) = &parsed[1] else { panic!() };
    assert_eq!(copy.from.as_deref(), Some("b"));
    assert_eq!((copy.transfer.link, copy.transfer.exclude.len()), (true, 2));
    assert_eq!(copy.transfer.sources, ["a b"]);
    let Instruction::Run(run) = &parsed[2] else { panic!() };
    assert_eq!(run.mounts[0].fields[2], ("ro".into(), None));
    let Instruction::Add(add) = &parsed[3] else { panic!() };
    assert_eq!((add.keep_git_dir, add.unpack), (true, Some(false)));
    let Instruction::Onbuild(onbuild) = &parsed[5] else { panic!() };
    assert_eq!(onbuild.text, "COPY . .");
}

#[test]
fn what_is_no_dockerfile_is_refused_where_it_is_wrong() {
    let table = [
        ("FRM a", (1, 1, 3), "unknown instruction `FRM` (did you mean `FROM`?)"),
        ("\n# c\nRUN x", (3, 1, 3), "no build stage yet: a Dockerfile starts with `FROM` or `ARG`"),
        ("", (1, 1, 1), "there is no `FROM` in this Dockerfile"),
        ("ARG A=1", (1, 1, 1), "there is no `FROM` in this Dockerfile"),
        ("FROM", (1, 1, 4), "`FROM` takes an image, and `AS` and a name if the stage has one"),
        ("FROM a b c", (1, 1, 4), "`FROM` takes an image, and `AS` and a name if the stage has one"),
        (
            "FROM a AS 1x",
            (1, 11, 2),
            "`1x` cannot name a stage: names start with a letter and consist of letters, digits, `-`, `_` and `.`",
        ),
        ("FROM a\nCOPY x", (2, 1, 4), "`COPY` needs at least one source and a destination"),
        ("FROM a\nCOPY --frm=x a b", (2, 6, 7), "`COPY` has no flag `--frm`"),
        ("FROM a\nCOPY --from a b", (2, 6, 6), "`--from` needs a value: `--from=…`"),
        ("FROM a\nCOPY --from=a --from=b a b", (2, 15, 8), "`--from` can be given once only"),
        ("FROM a\nADD --parents x y", (2, 1, 3), "`ADD` has no flag `--parents`"),
        ("FROM a\nENV A=1 \\\n  B\n", (3, 3, 1), "no `=` in `B`: `ENV` takes `name=value`"),
        ("FROM a\nENV A", (2, 5, 1), "`ENV` needs a value: `ENV A=…`"),
        ("FROM a\nENV =b", (2, 5, 2), "`ENV` has a name that is empty"),
        ("FROM a\nSHELL sh", (2, 7, 2), "`SHELL` needs the JSON form: `SHELL [\"/bin/sh\", \"-c\"]`"),
        ("FROM a\nRUN", (2, 1, 3), "`RUN` needs an argument"),
        ("FROM a\nRUN --mount=typ=x y", (2, 5, 13), "`--mount` has no field `typ`"),
        ("FROM a\nRUN <<E\nx", (2, 1, 7), "unterminated heredoc: no line says `E`"),
        ("FROM a\nONBUILD FROM b", (2, 9, 4), "`FROM` is not allowed as an `ONBUILD` trigger"),
        (
            "FROM a\nHEALTHCHECK --interval=5 CMD x",
            (2, 13, 12),
            "`5` is no duration: write for example `30s` or `1m30s`",
        ),
        ("# escape=x\nFROM a", (1, 1, 10), "invalid escape `x`: it must be a backslash or a backtick"),
        ("# syntax=a\n# syntax=b\nFROM a", (2, 1, 10), "only one `syntax` parser directive can be used"),
        ("FROM a\nRUN \0", (2, 5, 1), "a NUL byte does not belong in a Dockerfile"),
    ];
    for (text, (line, column, width), message) in table {
        let error = parse(text).unwrap_err();
        assert_eq!((error.position.line, error.position.column, error.width), (line, column, width), "{text:?}");
        assert_eq!(error.message, message, "{text:?}");
    }
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/.$*_:{}-]{0,6}[a-z0-9]"
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z$&|;>()/-][a-zA-Z0-9 '\"$&|;>()=/-]{0,20}[a-z0-9]"
        .prop_filter("flags are not text", |text| !text.starts_with("--"))
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![text().prop_map(Command::Shell), prop::collection::vec(".{0,8}", 1..3).prop_map(Command::Exec)]
        .prop_filter("no NUL, no heredoc", |command| match command {
            Command::Exec(args) => !args.iter().any(|arg| arg.contains('\0') || arg.contains("<<")),
            Command::Shell(_) => true,
        })
}

fn flag_value() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[a-z0-9 \"'$:,/\\\\]{1,8}")
}

fn transfer() -> impl Strategy<Value = Transfer> {
    let path = prop_oneof![word(), "[a-z \\[\"]{1,6}"];
    let flags = (flag_value(), flag_value(), any::<bool>(), prop::collection::vec("[a-z* ]{1,4}", 0..2));
    (flags, prop::collection::vec(path, 1..3), word(), prop::option::of("[a-z$\" \n]{0,12}")).prop_map(
        |((chown, chmod, link, exclude), mut sources, destination, heredoc)| {
            let mut heredocs = Vec::new();
            if let Some(text) = heredoc {
                sources = vec!["<<EOT".into()];
                let text = if text.is_empty() { text } else { text + "\n" };
                heredocs.push(Heredoc { name: "EOT".into(), expand: true, strip_tabs: false, text });
            }
            Transfer { chown, chmod, link, parents: false, exclude, sources, destination, heredocs }
        },
    )
}

fn pairs() -> impl Strategy<Value = Pairs> {
    let value = prop_oneof![word(), "\"[a-z $']{0,6}\"", Just(String::new())];
    prop_oneof![
        prop::collection::vec(("[A-Z_]{1,4}", value), 1..4).prop_map(|pairs| Pairs { pairs, style: PairStyle::Equals }),
        ("[A-Z]{1,4}", text()).prop_map(|pair| Pairs { pairs: vec![pair], style: PairStyle::Legacy }),
    ]
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let words = || prop::collection::vec(word(), 1..3);
    let plain = prop_oneof![
        (flag_value(), transfer()).prop_map(|(from, transfer)| Instruction::Copy(ast::Copy { from, transfer })),
        (flag_value(), any::<bool>(), prop::option::of(any::<bool>()), transfer()).prop_map(
            |(checksum, keep_git_dir, unpack, transfer)| Instruction::Add(Add {
                checksum,
                keep_git_dir,
                unpack,
                transfer
            })
        ),
        prop::collection::vec(("[A-Z]{1,4}", prop::option::of(word())), 1..3).prop_map(|all| Instruction::Arg(
            all.into_iter().map(|(name, default)| ArgDeclaration { name, default }).collect()
        )),
        command().prop_map(Instruction::Cmd),
        command().prop_map(Instruction::Entrypoint),
        pairs().prop_map(Instruction::Env),
        pairs().prop_map(Instruction::Label),
        words().prop_map(Instruction::Expose),
        prop::collection::vec("[a-z/ ]{1,5}", 1..3).prop_map(Instruction::Volume),
        (prop::option::of("[0-9]{1,3}s"), prop::option::of(0u32..9), command()).prop_map(
            |(interval, retries, command)| Instruction::Healthcheck(Healthcheck::Test(HealthTest {
                interval,
                timeout: None,
                start_period: None,
                start_interval: None,
                retries,
                command
            }))
        ),
        Just(Instruction::Healthcheck(Healthcheck::None)),
        text().prop_map(Instruction::Workdir),
        text().prop_map(Instruction::User),
        text().prop_map(Instruction::Maintainer),
        word().prop_map(Instruction::Stopsignal),
        prop::collection::vec(".{1,5}", 1..3)
            .prop_filter("no NUL", |words| !words.iter().any(|word| word.contains('\0')))
            .prop_map(Instruction::Shell),
        (prop::collection::vec(("(type|from|target)", prop::option::of("[a-z /\"]{1,5}")), 0..3), command()).prop_map(
            |(fields, command)| Instruction::Run(Run {
                mounts: if fields.is_empty() { Vec::new() } else { vec![Mount { fields }] },
                network: Some("host".into()),
                security: None,
                devices: Vec::new(),
                command,
                heredocs: Vec::new()
            })
        ),
    ];
    (plain, any::<bool>()).prop_map(|(instruction, trigger)| match instruction {
        Instruction::Maintainer(_) => instruction,
        _ if trigger => Instruction::Onbuild(Onbuild {
            text: print_instruction(&instruction, '\\'),
            trigger: Box::new(instruction),
        }),
        _ => instruction,
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_is_the_identity(all in prop::collection::vec(instruction(), 0..6)) {
        let from = Instruction::From(ast::From { platform: None, image: "base".into(), name: None });
        let mut expected = vec![from];
        expected.extend(all);
        let file = Dockerfile {
            directives: Directives::default(),
            instructions: expected
                .iter()
                .map(|instruction| Located { span: Span::default(), instruction: instruction.clone() })
                .collect(),
            warnings: Vec::new(),
        };
        let printed = print(&file);
        let parsed = parse(&printed).map_err(|error| TestCaseError::fail(format!("{error:?} in\n{printed}")))?;
        let parsed: Vec<_> = parsed.instructions.into_iter().map(|located| located.instruction).collect();
        prop_assert_eq!(parsed, expected, "{}", printed);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(FROM a\n)?([A-Z]{3,7} )?[-a-zA-Z<>=\\\\ \n'\"\\[\\]#,|`]{0,60}") {
        let _ = parse(&text);
    }
}
