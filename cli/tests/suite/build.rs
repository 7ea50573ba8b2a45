//! `build` from the outside: where the Dockerfile comes from, what goes where, and the words of progress.

use crate::support::Store;

fn context(store: &Store, dockerfile: &str) {
    fs_err::create_dir_all(store.path("ctx")).expect("a folder");
    fs_err::write(store.path("ctx/Dockerfile"), dockerfile).expect("written");
    fs_err::write(store.path("ctx/file"), "content\n").expect("written");
    fs_err::write(store.path("ctx/ignored"), "x").expect("written");
    fs_err::write(store.path("ctx/.dockerignore"), "ignored\n").expect("written");
}

const DOCKERFILE: &str = "FROM base\nARG WHO=nobody\nCOPY . /app/\nRUN echo made by $WHO > /app/who && echo sh''outed\nCMD [\"cat\", \"/app/who\"]\n";

#[test]
fn privileged_build_run_and_cache() {
    let Some(store) = Store::with_base() else { return };
    context(&store, DOCKERFILE);
    let first =
        store.mica(&["build", "-t", "app", "--build-arg", "WHO=me", "--label", "a=b", "--iidfile", "iid", "ctx"]);
    assert_eq!((first.code, first.stdout.as_str()), (0, ""), "{}", first.stderr);
    assert!(first.stderr.contains("shouted") && first.stderr.contains(" DONE "), "{}", first.stderr);
    let id = fs_err::read_to_string(store.path("iid")).expect("the file");
    assert_eq!(store.mica(&["images", "-q", "--no-trunc", "app"]).ok(), id);
    assert_eq!(store.mica(&["run", "--rm", "app"]).ok(), "made by me");
    assert_eq!(store.mica(&["run", "--rm", "app", "ls", "/app"]).ok(), "Dockerfile\nfile\nwho");
    assert_eq!(store.mica(&["inspect", "-f", "{{.Config.Labels.a}}", "app"]).ok(), "b");
    let again = store.mica(&["build", "-t", "app", "--build-arg", "WHO=me", "--label", "a=b", "ctx"]);
    assert!(again.code == 0 && again.stderr.contains(" CACHED") && !again.stderr.contains("shouted"), "{again:#?}");
    let quiet = store.mica(&["build", "-q", "--build-arg", "WHO=me", "--label", "a=b", "ctx"]);
    assert!(quiet.code == 0 && quiet.stdout.starts_with("sha256:") && quiet.stderr.is_empty(), "{quiet:#?}");
}

#[test]
fn privileged_dockerfiles_from_elsewhere() {
    let Some(store) = Store::with_base() else { return };
    context(&store, "FROM nothere\n");
    fs_err::write(store.path("other.df"), "FROM base AS one\nRUN echo 1 > /one\nFROM one\nRUN echo 2 > /two\n")
        .expect("written");
    store.mica(&["build", "-q", "-f", "other.df", "-t", "two", "ctx"]).ok();
    assert_eq!(store.mica(&["run", "--rm", "two", "cat", "/one", "/two"]).ok(), "1\n2");
    store.mica(&["build", "-q", "-f", "other.df", "--target", "one", "-t", "one", "ctx"]).ok();
    assert_eq!(store.mica(&["run", "--rm", "one", "test", "-e", "/two"]).code, 1);
    assert_eq!(store.mica_with(&["build", "-q", "-t", "in", "-"], b"FROM base\nRUN echo in > /in\n").code, 0);
    assert_eq!(store.mica(&["run", "--rm", "in", "cat", "/in"]).ok(), "in");
    assert_eq!(store.mica_with(&["build", "-q", "-f", "-", "-t", "in2", "ctx"], b"FROM base\nCOPY file /\n").code, 0);
    assert_eq!(store.mica(&["run", "--rm", "in2", "cat", "/file"]).ok(), "content");
}

#[test]
fn privileged_failures_say_where() {
    let Some(store) = Store::with_base() else { return };
    context(&store, "FROM base\nRUN exit 7\n");
    let failed = store.mica(&["build", "-t", "bad", "ctx"]);
    assert!(failed.code == 1 && failed.stderr.contains("exit") && failed.stderr.contains('7'), "{failed:#?}");
    context(&store, "FROM base\nBOGUS x\n");
    store.mica(&["build", "ctx"]).fails(1, "BOGUS");
    context(&store, "FROM nothere\n");
    store.mica(&["build", "ctx"]).fails(1, "nothere");
    assert_eq!(store.mica(&["images", "-q", "bad"]).ok(), "");
}
