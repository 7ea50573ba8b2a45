//! Which steps run again, and which do not.

use super::host::Bench;

/// Numbers of steps that came from the cache.
fn cached(bench: &Bench) -> Vec<String> {
    bench.said().iter().filter_map(|line| line.strip_suffix(" CACHED").map(str::to_owned)).collect()
}

#[test]
fn a_step_runs_again_when_what_it_depends_on_changes() {
    let mut bench = Bench::new();
    bench.image("base", &[], |_| {});
    bench.file("f", "1");
    let text = "FROM base\nARG A=1\nWORKDIR /w\nCOPY f .\nRUN echo $A\nRUN true\n";
    let first = bench.build(text).unwrap();
    assert_eq!(cached(&bench), Vec::<String>::new());

    let second = bench.build(text).unwrap();
    assert_eq!(cached(&bench), ["1", "2", "3", "4"]);
    assert_eq!(first.config.rootfs, second.config.rootfs);

    let file = bench.file("f", "1");
    fs_err::OpenOptions::new().write(true).open(file).unwrap().file().set_modified(std::time::UNIX_EPOCH).unwrap();
    bench.build(text).unwrap();
    assert_eq!(cached(&bench), ["1", "2", "3", "4"], "a new time is no change");

    bench.request.args.insert("http_proxy".into(), "p".into());
    bench.build(text).unwrap();
    assert_eq!(cached(&bench), ["1", "2", "3", "4"], "a proxy is no change");

    bench.request.args.insert("A".into(), "2".into());
    bench.build(text).unwrap();
    assert_eq!(cached(&bench), ["1", "2"], "an argument counts from its first use");

    bench.file("f", "2");
    bench.build(text).unwrap();
    assert_eq!(cached(&bench), ["1"]);

    bench.request.no_cache = true;
    bench.build(text).unwrap();
    assert_eq!(cached(&bench), Vec::<String>::new());
}

#[test]
fn a_copy_of_equal_content_is_found_under_another_name_of_its_stage() {
    let mut bench = Bench::new();
    bench.file("f", "1");
    let text = |name: &str| {
        format!("FROM scratch AS {name}\nRUN echo {name}\nCOPY f /f\nFROM scratch\nCOPY --from={name} /f /g\n")
    };
    bench.build(&text("one")).unwrap();
    let built = bench.build(&text("two")).unwrap();
    assert_eq!(built.read("g"), "1");
    assert!(bench.said().iter().any(|line| line == "2 CACHED"), "{:?}", bench.said());
}
