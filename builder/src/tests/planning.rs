//! What is known before the first step, and what an image's config and history say after the last.

use mica_engine::Kind;

use super::host::Bench;

#[test]
fn the_seed_story_has_dockers_config_and_history() {
    let mut bench = Bench::new();
    bench.image("node:test", &[("app/.keep", "")], |image| {
        image.config.env = vec!["PATH=/usr/bin:/bin".into()];
        image.config.working_dir = "/app".into();
        image.config.entrypoint = Some(vec!["/init".into()]);
        image.config.cmd = Some(vec!["old".into()]);
        image.history =
            vec![mica_engine::image::HistoryEntry { created_by: Some("debootstrap".into()), ..Default::default() }];
    });
    bench.file("server.js", "x");
    bench.request.tags = vec!["docker.io/library/story:latest".into()];
    bench.request.labels.insert("l".into(), "v".into());
    let built = bench
        .build("FROM node:test\nCOPY server.js .\nENV A=b C=\"d e\"\nEXPOSE 80\nUSER node\nWORKDIR /app\nCMD node server.js\n")
        .unwrap();
    let config = &built.config.config;
    assert_eq!(config.cmd.as_deref().unwrap(), ["/bin/sh", "-c", "node server.js"]);
    assert_eq!(config.entrypoint.as_deref().unwrap(), ["/init"]);
    assert_eq!(config.env, ["PATH=/usr/bin:/bin", "A=b", "C=d e"]);
    assert_eq!(config.labels.as_ref().unwrap()["l"], "v");
    assert_eq!(built.read("app/server.js"), "x");
    let expected = [
        ("debootstrap", false),
        ("COPY server.js . # buildkit", false),
        ("ENV A=b C=d e", true),
        ("EXPOSE map[80/tcp:{}]", true),
        ("USER node", true),
        ("WORKDIR /app", true),
        ("CMD [\"/bin/sh\" \"-c\" \"node server.js\"]", true),
    ];
    assert_eq!(built.history(), expected.map(|(text, empty)| (text.to_owned(), empty)));
    assert_eq!(built.config.history[1].comment.as_deref(), Some("buildkit.dockerfile.v0"));
    let steps: Vec<String> = bench.said().into_iter().filter(|line| !line.starts_with('!')).collect();
    assert_eq!(steps, ["0 [1/3] FROM node:test", "1 [2/3] COPY server.js .", "2 [3/3] WORKDIR /app"]);
}

#[test]
fn stages_are_named_skipped_and_targeted() {
    let mut bench = Bench::new();
    let text = "FROM scratch AS Unused\nRUN false\nFROM scratch AS tools\nRUN echo t > t\nFROM tools\nRUN echo u > u\nCOPY --from=tools t /v\n";
    let built = bench.build(text).unwrap();
    assert_eq!((built.read("t"), built.read("v")), ("t\n".into(), "t\n".into()));
    let steps: Vec<String> = bench.said().into_iter().filter(|line| !line.starts_with('!')).collect();
    assert_eq!(
        steps,
        ["0 [tools 1/1] RUN echo t > t", "1 [stage-2 1/2] RUN echo u > u", "2 [stage-2 2/2] COPY --from=tools t /v"]
    );
    bench.request.target = Some("TOOLS".into());
    assert_eq!(bench.build(text).unwrap().list(), "t 644 0:0\n");
    bench.request.target = Some("nope".into());
    let error = bench.refusal(text).to_string();
    assert_eq!(error, "target stage `nope` could not be found: there are `unused`, `tools`");
}

#[test]
fn run_sees_its_environment_and_its_failure_is_told() {
    let mut bench = Bench::new();
    bench.request.args.insert("GIVEN".into(), "g".into());
    bench.request.args.insert("http_proxy".into(), "p".into());
    let text = "FROM scratch\nARG GIVEN\nARG D=d\nENV E=$D D=env\nUSER 1:2\nWORKDIR /w\n\
                SHELL [\"/bin/bash\", \"-c\"]\nRUN echo $GIVEN $D $E $http_proxy $STEP $0 > out\nRUN <<X\necho one\necho two\nX\n";
    let built = bench.build(text).unwrap();
    assert_eq!(built.read("out"), "g env d p /w 1:2 none /bin/bash\n");
    assert!(bench.said().contains(&"2 > one\ntwo".to_owned()), "{:?}", bench.said());
    let history = built.history();
    assert_eq!(
        history[6].0,
        "RUN |2 GIVEN=g D=env /bin/bash -c echo $GIVEN $D $E $http_proxy $STEP $0 > out # buildkit"
    );

    let error = bench.refusal("FROM scratch\nRUN exit 3\n");
    assert_eq!(
        error.to_string(),
        "Dockerfile:2: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3\n2 | RUN exit 3\n  | ^^^"
    );
}

#[test]
fn entrypoint_drops_an_inherited_command_only() {
    let mut bench = Bench::new();
    bench.image("base", &[], |image| image.config.cmd = Some(vec!["old".into()]));
    let cmd = |bench: &mut Bench, text: &str| bench.build(text).unwrap().config.config.cmd;
    assert_eq!(cmd(&mut bench, "FROM base\nENTRYPOINT [\"e\"]\n"), None);
    assert_eq!(cmd(&mut bench, "FROM base\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), Some(vec!["c".into()]));
}

#[test]
fn triggers_run_first_and_once() {
    let mut bench = Bench::new();
    bench.file("f", "x");
    bench.image("base", &[], |image| image.config.on_build = Some(vec!["COPY f /t".into(), "ENV T=1".into()]));
    let built = bench.build("FROM base\nRUN echo $T > u\n").unwrap();
    assert_eq!((built.read("t"), built.read("u")), ("x".into(), "1\n".into()));
    assert_eq!(built.config.config.on_build, None);
}

#[test]
fn health_checks_are_dockers() {
    let mut bench = Bench::new();
    let built = bench.build("FROM scratch\nHEALTHCHECK --interval=5m --retries=3 CMD curl -f x\n").unwrap();
    let expected =
        serde_json::json!({ "Test": ["CMD-SHELL", "curl -f x"], "Interval": 300_000_000_000_i64, "Retries": 3 });
    assert_eq!(built.config.config.healthcheck, Some(expected));
}

#[test]
fn what_cannot_be_done_is_refused_before_the_first_step() {
    let table = [
        ("FROM scratch\nRUN touch x\nRUN --mount=type=cache,target=/c make\n", "3: `RUN --mount` is not supported yet"),
        (
            "FROM scratch\nRUN touch x\nADD https://x/y /\n",
            "3: `ADD` of the remote source `https://x/y` is not supported yet",
        ),
        ("FROM scratch\nRUN touch x\nUSER ${U:?who}\n", "3: cannot expand `${U:?who}`: `U`: who"),
        (
            "FROM scratch\nRUN touch x\nCOPY a b c\n",
            "3: `COPY` with more than one source needs a destination that ends with `/`, not `c`",
        ),
        ("FROM scratch\nRUN touch x\nCOPY --from=99 a b\n", "3: there is no stage `99`"),
        ("FROM scratch\nRUN touch x\nCOPY --from=0 a b\n", "3: stage `0` cannot copy from itself"),
        (
            "FROM scratch\nRUN touch x\nCOPY --chmod=u+x a b\n",
            "3: the symbolic mode `--chmod=u+x` is not supported yet",
        ),
        (
            "FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nCOPY --from=a x y\n",
            "stages depend on each other in a circle",
        ),
        ("FROM $NONE\n", "1: `FROM $NONE` names no image"),
        ("FROM scratch\nRUN touch x\nFROM missing\n", "3: no such image `missing`"),
        (
            "# syntax=example.com/other\nFROM scratch\nRUN x\n",
            "the external frontend `example.com/other` is not supported yet",
        ),
    ];
    for (text, message) in table {
        let mut bench = Bench::new();
        let error = bench.refusal(text).to_string();
        assert!(error.contains(message), "{error}");
        assert!(bench.said().iter().all(|line| line.starts_with('!')), "{text}: {:?}", bench.said());
    }
    let mut bench = Bench::new();
    let error = bench.refusal("FROM missing\n");
    assert_eq!((error.kind(), error.hint()), (Kind::NotFound, Some("load it")));
    bench.request.context = None;
    bench.refusal("FROM scratch\nCOPY a /\n");
}

#[test]
fn remarks_name_the_line() {
    let mut bench = Bench::new();
    bench.request.args.insert("X".into(), "1".into());
    bench.build("# syntax=docker/dockerfile:1.7\nFROM scratch AS A\nENV A $B\n").unwrap();
    assert_eq!(
        bench.said(),
        [
            "! Dockerfile:2: StageNameCasing: stage names are matched in lower case, so write them so",
            "! Dockerfile:3: LegacyKeyValueFormat: write `name=value` instead of `name value`",
            "! build argument `X` was not consumed: no `ARG` declares it",
            "! Dockerfile:3: UndefinedVar: `$B` is used and nothing sets it",
        ]
    );
}
