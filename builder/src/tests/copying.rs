//! What COPY, ADD and WORKDIR leave in the image, read back file by file.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::host::Bench;

fn bench() -> Option<Bench> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can give files to others");
        return None;
    }
    Some(Bench::new())
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

fn mode(path: &std::path::Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// a.txt (640), b.md, dir/{x,y.md,sub/z (755)}, dir/link -> x; all owned by 7:8.
fn sample(bench: &Bench) {
    mode(&bench.file("a.txt", "a"), 0o640);
    for (path, bits) in [("b.md", 0o644), ("dir/x", 0o644), ("dir/y.md", 0o644), ("dir/sub/z", 0o755)] {
        mode(&bench.file(path, path), bits);
    }
    for dir in ["dir", "dir/sub"] {
        mode(&bench.context().join(dir), 0o755);
    }
    symlink("x", bench.context().join("dir/link")).unwrap();
    for path in ["a.txt", "dir", "dir/x", "dir/sub/z"] {
        std::os::unix::fs::chown(bench.context().join(path), Some(7), Some(8)).unwrap();
    }
    mode(&bench.context(), 0o700);
}

#[test]
fn privileged_copies_land_where_docker_puts_them() {
    let table: &[(&str, &[&str])] = &[
        ("COPY a.txt /", &["a.txt 640 0:0"]),
        ("COPY a.txt /new", &["new 640 0:0"]),
        ("COPY a.txt new/", &["new 755 0:0", "new/a.txt 640 0:0"]),
        ("COPY ../../a.txt .", &["a.txt 640 0:0"]),
        ("COPY a.txt b.md /d/", &["d 755 0:0", "d/a.txt 640 0:0", "d/b.md 644 0:0"]),
        ("COPY *.md dir/y.md /d/", &["d 755 0:0", "d/b.md 644 0:0", "d/y.md 644 0:0"]),
        ("COPY [ab].* ./", &["a.txt 640 0:0", "b.md 644 0:0"]),
        (
            "COPY dir /d",
            &["d 755 0:0", "d/link -> x", "d/sub 755 0:0", "d/sub/z 755 0:0", "d/x 644 0:0", "d/y.md 644 0:0"],
        ),
        ("COPY dir/sub/ /d/", &["d 755 0:0", "d/z 755 0:0"]),
        ("COPY d* /", &["link -> x", "sub 755 0:0", "sub/z 755 0:0", "x 644 0:0", "y.md 644 0:0"]),
        ("COPY --exclude=*.md --exclude=sub dir /", &["link -> x", "x 644 0:0"]),
        ("COPY --chown=5 --chmod=0705 a.txt /", &["a.txt 705 5:5"]),
        ("COPY --chown=5:6 dir/sub /d", &["d 755 5:6", "d/z 755 5:6"]),
        (
            "COPY --parents dir/sub/z a.txt /d",
            &["d 755 0:0", "d/a.txt 640 0:0", "d/dir 755 0:0", "d/dir/sub 755 0:0", "d/dir/sub/z 755 0:0"],
        ),
        ("COPY --parents ./dir/./sub/z /", &["sub 755 0:0", "sub/z 755 0:0"]),
        ("COPY --parents **/z /", &["dir 755 0:0", "dir/sub 755 0:0", "dir/sub/z 755 0:0"]),
        ("COPY dir/link /copy", &["copy 644 0:0"]),
        ("COPY <<one <<two /d/\n1\none\n2\ntwo", &["d 755 0:0", "d/one 644 0:0", "d/two 644 0:0"]),
        ("WORKDIR /w\nWORKDIR x", &["w 755 0:0", "w/x 755 0:0"]),
        ("WORKDIR /w\nCOPY a.txt b", &["w 755 0:0", "w/b 640 0:0"]),
    ];
    for (lines, expected) in table {
        let Some(mut bench) = bench() else { return };
        sample(&bench);
        let built = bench.build(&format!("FROM scratch\n{lines}\n")).unwrap();
        assert_eq!(built.list().lines().collect::<Vec<_>>(), *expected, "{lines}");
    }
}

#[test]
fn privileged_the_whole_context_lands_without_what_is_ignored() {
    let Some(mut bench) = bench() else { return };
    sample(&bench);
    bench.request.ignore = Some("**/*.md\n!dir/y.md\ndir/sub\n".into());
    let built = bench.build("FROM scratch\nCOPY . /app\n").unwrap();
    // The context's own mode (0700) is an accident of where it lies.
    let expected =
        "app 755 0:0\napp/a.txt 640 0:0\napp/dir 755 0:0\napp/dir/link -> x\napp/dir/x 644 0:0\napp/dir/y.md 644 0:0\n";
    assert_eq!(built.list(), expected);
    bench.request.ignore = Some("*\n!dir/sub/z".into());
    let built = bench.build("FROM scratch\nCOPY . /\n").unwrap();
    assert_eq!(built.list(), "dir 755 0:0\ndir/sub 755 0:0\ndir/sub/z 755 0:0\n");
    let error = bench.refusal("FROM scratch\nCOPY a.txt /\n").to_string();
    assert_eq!(error, "Dockerfile:2: `a.txt` is left out by the ignore file\n2 | COPY a.txt /\n  | ^^^^");
    symlink("a.txt", bench.context().join("alias")).unwrap();
    bench.request.ignore = Some("a.txt".into());
    bench.refusal("FROM scratch\nCOPY alias /\n");
}

#[test]
fn privileged_times_are_the_sources() {
    let Some(mut bench) = bench() else { return };
    let path = bench.file("f", "x");
    let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    file.file().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5)).unwrap();
    let built = bench.build("FROM scratch\nCOPY f /\n").unwrap();
    let meta = fs_err::metadata(built.root.join("f")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
}

#[test]
fn privileged_nothing_outside_the_context_is_read() {
    let Some(mut bench) = bench() else { return };
    fs_err::write(bench.dir.path().join("secret"), "secret").unwrap();
    let outside = bench.dir.path().join("secret");
    symlink(&outside, bench.context().join("absolute")).unwrap();
    symlink("../secret", bench.context().join("relative")).unwrap();
    symlink("..", bench.context().join("up")).unwrap();
    for source in ["absolute", "relative", "up/secret", "../secret", "/secret", "up/../../secret"] {
        let error = bench.refusal(&format!("FROM scratch\nCOPY {source} /\n")).to_string();
        assert!(error.contains("was not found"), "{source}: {error}");
    }
    let built = bench.build("FROM scratch\nCOPY . /\n").unwrap();
    assert_eq!(fs_err::read_link(built.root.join("absolute")).unwrap(), outside);
}

#[test]
fn privileged_links_of_the_image_do_not_lead_out_of_it() {
    let Some(mut bench) = bench() else { return };
    bench.file("f", "new");
    let canary = bench.dir.path().join("canary");
    fs_err::create_dir(&canary).unwrap();
    let root = bench.image("base", &[("real/old", "")], |_| {});
    symlink("/real", root.join("inside")).unwrap();
    symlink(&canary, root.join("outside")).unwrap();
    let built = bench.build("FROM base\nCOPY f /inside/\n").unwrap();
    assert_eq!(built.read("real/f"), "new");
    let _ = bench.build("FROM base\nCOPY f /outside/\n");
    let _ = bench.build("FROM base\nCOPY <<x /outside/\n1\nx\n");
    let _ = bench.build("FROM base\nWORKDIR /outside/deep\n");
    assert_eq!(fs_err::read_dir(&canary).unwrap().count(), 0);
}

#[test]
fn privileged_names_of_owners_are_the_images() {
    let Some(mut bench) = bench() else { return };
    bench.file("f", "x");
    let accounts = [("etc/passwd", "root:x:0:0::/:\nnode:x:1000:1001::/:\n"), ("etc/group", "staff:x:50:node\n")];
    let root = bench.image("base", &accounts, |_| {});
    let built = bench
        .build("FROM base\nCOPY --chown=node f /1\nCOPY --chown=node:staff f /2\nCOPY --chown=3:staff f /3\n")
        .unwrap();
    for (file, owner) in [("1", (1000, 1000)), ("2", (1000, 50)), ("3", (3, 50))] {
        let meta = fs_err::metadata(built.root.join(file)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), owner, "{file}");
    }
    let error = bench.refusal("FROM base\nCOPY --chown=nobody f /\n").to_string();
    assert!(error.contains("there is no user `nobody` in the image's `/etc/passwd`"), "{error}");

    fs_err::remove_file(root.join("etc/passwd")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("etc/passwd"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let error = bench.refusal("FROM base\nCOPY --chown=node f /\n").to_string();
    assert!(error.contains("`/etc/passwd` is not a regular file"), "{error}");

    fs_err::remove_file(root.join("etc/passwd")).unwrap();
    let file = fs_err::File::create(root.join("etc/passwd")).unwrap();
    file.set_len(512 << 20).unwrap();
    let error = bench.refusal("FROM base\nCOPY --chown=node f /\n").to_string();
    assert!(error.contains("is larger than 1 MiB"), "{error}");
}

#[test]
fn privileged_archives_are_extracted_by_add_only() {
    let Some(mut bench) = bench() else { return };
    bench.file("tree/in", "in");
    for args in [["-cf", "plain.tar"], ["-czf", "zipped"]] {
        let status = std::process::Command::new("tar")
            .args(args)
            .args(["--owner=9", "--group=9", "-C", "tree", "in"])
            .current_dir(bench.context())
            .status()
            .unwrap();
        assert!(status.success());
    }
    bench.file("no.tar.gz", "not an archive");
    let built = bench
        .build("FROM scratch\nADD plain.tar /1/\nADD zipped /2\nADD no.tar.gz /3/\nCOPY plain.tar /4/\nADD --unpack=false plain.tar /5/\n")
        .unwrap();
    assert_eq!((built.read("1/in"), built.read("2/in")), ("in".into(), "in".into()));
    assert_eq!(fs_err::metadata(built.root.join("1/in")).unwrap().uid(), 9);
    assert_eq!(built.read("3/no.tar.gz"), "not an archive");
    assert!(built.root.join("4/plain.tar").exists() && built.root.join("5/plain.tar").exists());
}

#[test]
fn privileged_stages_keep_owners_of_what_they_pass_on() {
    let Some(mut bench) = bench() else { return };
    bench.file("f", "x");
    let built = bench
        .build("FROM scratch AS one\nCOPY --chown=3:4 f /d/f\nFROM scratch\nARG S=one\nCOPY --from=$S /d /a\nCOPY --from=0 --chown=1 /d/f /b\n")
        .unwrap();
    assert_eq!(built.list(), "a 755 3:4\na/f 644 3:4\nb 644 1:1\n");
}

#[test]
fn heredocs_expand_unless_quoted() {
    let mut bench = Bench::new();
    let built =
        bench.build("FROM scratch\nENV V=1\nCOPY <<a <<'b' /\n$V \"q\"\na\n$V\nb\nCOPY <<-c /\n\ttab\n\tc\n").unwrap();
    assert_eq!(
        (built.read("a"), built.read("b"), built.read("c")),
        ("1 \"q\"\n".into(), "$V\n".into(), "tab\n".into())
    );
}
