//! Images of several platforms: lists made here and pushed, names that stand for several images, programs of other machines.

use std::process::Command;

use serde_json::Value;

use crate::registry::{Server, tool};
use crate::support::{Store, finish, skip};

/// A registry with what these tests ask of it.
struct Registry(Server);

impl Registry {
    fn start() -> Option<Registry> {
        Server::start().map(Registry)
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.0.host)
    }

    /// Puts an image of a store there with skopeo, in Docker's or the image specification's format.
    fn take(&self, store: &Store, image: &str, name: &str, format: &str) {
        store.mica(&["save", "--format", "oci-archive", "-o", "pushed.tar", image]).ok();
        let archive = format!("oci-archive:{}", store.path("pushed.tar").display());
        let to = format!("docker://{}", self.name(name));
        skopeo(&["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--format", format, &archive, &to]);
        fs_err::remove_file(store.path("pushed.tar")).expect("removed");
    }

    /// The document behind a name.
    fn document(&self, name: &str) -> String {
        skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{}", self.name(name))])
    }
}

fn skopeo(args: &[&str]) -> String {
    String::from_utf8(tool(Command::new("skopeo").args(args))).expect("text")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The platforms of an index, with whatever is said beyond system and architecture.
fn platforms(index: &Value) -> Vec<String> {
    let words = |platform: &Value| {
        let part = |key: &str| platform[key].as_str().map(str::to_owned);
        [part("os"), part("architecture"), part("variant"), part("os.version")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    let entries = index["manifests"].as_array().expect("manifests");
    entries.iter().map(|entry| words(&entry["platform"]).join("/")).collect()
}

/// This machine's architecture and one that it is not.
fn architectures() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("arm64", "s390x"),
        "x86_64" => ("amd64", "arm64"),
        other => (other, "arm64"),
    }
}

/// A store with `base` for this machine and `foreign` for another, which differ in a file.
fn with_both() -> Option<Store> {
    let store = Store::with_base()?;
    let (_, other) = architectures();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(4);
    archive.append_data(&mut header, "program", &b"\x7fELF"[..]).expect("written");
    let bytes = archive.into_inner().expect("an archive");
    store.mica_with(&["import", "--platform", &format!("linux/{other}/v8"), "-", "foreign"], &bytes).ok();
    Some(store)
}

#[test]
fn privileged_a_list_of_local_images_is_pushed_and_pulled_by_everybody() {
    let (Some(store), Some(registry)) = (with_both(), Registry::start()) else { return };
    let (host, other) = architectures();
    let list = registry.name("app:1");
    assert_eq!(
        store.mica(&["manifest", "create", &list, "base", "foreign"]).ok(),
        format!("Created manifest list {list}")
    );
    store.mica(&["manifest", "exists", &list]).ok();
    let made = store.mica(&["manifest", "inspect", &list]).ok();
    assert!(made.starts_with("{\n   \"schemaVersion\": 2,\n"), "{made}");
    assert_eq!(platforms(&json(&made)), [format!("linux/{host}"), format!("linux/{other}/v8")]);
    store
        .mica(&[
            "manifest",
            "annotate",
            &list,
            "foreign",
            "--os-version",
            "10",
            "--variant",
            "v9",
            "--annotation",
            "a=b",
        ])
        .ok();
    let made = store.mica(&["manifest", "inspect", &list]).ok();

    let pushed = store.mica(&["manifest", "push", &list]).ok();
    let lines: Vec<&str> = pushed.lines().collect();
    assert_eq!(lines.len(), 3, "{pushed}");
    assert!(lines[..2].iter().all(|line| line.starts_with(&format!("Pushed ref {}@sha256:", registry.name("app")))));
    let there = registry.document("app:1");
    assert_eq!(json(&there)["manifests"][1]["annotations"]["a"], "b");
    assert_eq!(platforms(&json(&there)), [format!("linux/{host}"), format!("linux/{other}/v9/10")]);
    assert_eq!(json(&there)["manifests"][0]["platform"], json(&made)["manifests"][0]["platform"]);
    let digest = skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{list}")]);
    assert_eq!(digest.trim(), lines[2]);
    // A second push sends nothing new and says the same, and `push` of a list's name is no other.
    assert_eq!(store.mica(&["manifest", "push", "-q", &list]).ok(), lines[2]);
    assert!(store.mica(&["push", &list]).ok().contains(&format!("1: digest: {} size: ", lines[2])));
    store.mica(&["push", "--platform", "linux/arm64", &list]).fails(1, "is a manifest list");
    // Layers that were made here are compressed on the way.
    let manifest = json(
        &registry.document(&format!("app@{}", json(&there)["manifests"][0]["digest"].as_str().unwrap_or_default())),
    );
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let zstd = registry.name("app:zstd");
    store.mica(&["manifest", "push", "--compression", "zstd", "--force-compression", &list, &zstd]).ok();
    let index = json(&registry.document("app:zstd"));
    let manifest =
        json(&registry.document(&format!("app@{}", index["manifests"][1]["digest"].as_str().unwrap_or_default())));
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(index["manifests"][1]["annotations"]["a"], "b");

    // Another store knows it by its index, with either image.
    let Some(puller) = Store::privileged() else { return };
    puller.mica(&["pull", "-q", "--platform", &format!("linux/{other}/v9"), &list]).ok();
    assert_eq!(puller.mica(&["inspect", "-f", "{{.Architecture}}", &list]).ok(), other);
    puller.mica(&["pull", "-q", "--all-platforms", &list]).ok();
    assert_eq!(puller.mica(&["inspect", "-f", "{{.Architecture}}", &list]).ok(), host);
    assert_eq!(
        puller.mica(&["inspect", "-f", "{{index .RepoDigests 0}}", &list]).ok(),
        format!("{}@{}", registry.name("app"), lines[2])
    );
    assert_eq!(puller.mica(&["run", "--rm", &list, "cat", "/etc/secret"]).ok(), "old");
    let copied = format!("oci:{}", puller.path("layout").display());
    skopeo(&[
        "copy",
        "-q",
        "--all",
        "--insecure-policy",
        "--src-tls-verify=false",
        &format!("docker://{list}"),
        &copied,
    ]);

    // The list is forgotten, its images stay.
    assert_eq!(store.mica(&["manifest", "rm", &list]).ok(), "");
    store.mica(&["manifest", "exists", &list]).fails(1, "");
    assert_eq!(store.mica(&["images", "-q"]).ok().lines().count(), 2);
    assert_eq!(store.mica(&["system", "check"]).code, 0);
}

#[test]
fn privileged_a_list_of_a_registrys_images_keeps_their_bytes() {
    let (Some(store), Some(registry)) = (with_both(), Registry::start()) else { return };
    let (host, other) = architectures();
    registry.take(&store, "base", "in/app:host", "v2s2");
    registry.take(&store, "foreign", "in/app:other", "v2s2");
    let (native, foreign) = (registry.name("in/app:host"), registry.name("in/app:other"));
    store.mica(&["rmi", "-f", "base", "foreign"]).ok();
    store.mica(&["manifest", "create", "list", &native]).ok();
    store.mica(&["manifest", "create", "list", &foreign]).fails(1, "refusing to amend an existing manifest list");
    store.mica(&["manifest", "create", "--amend", "list", &foreign]).ok();
    // Nothing of it is here, and nothing takes it away.
    store.mica(&["system", "prune", "-af"]).ok();
    assert_eq!(store.mica(&["images", "-q"]).ok(), "");
    let list = json(&store.mica(&["manifest", "inspect", "list"]).ok());
    assert_eq!(list["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    assert_eq!(platforms(&list), [format!("linux/{host}"), format!("linux/{other}/v8")]);
    let tree = store.mica(&["images", "--tree"]).ok();
    let tree: Vec<Vec<&str>> = tree.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(tree[1], ["list:latest", "-", "0B", "0B", "list"]);
    assert_eq!(tree[3], ["└─", &format!("linux/{other}"), "-", "0B", "0B"]);

    // Within the registry blobs are mounted; to another one they are carried over.
    let Some(second) = Registry::start() else { return };
    let first = &registry;
    for registry in [first, &second] {
        let target = registry.name("out/app:1");
        store.mica(&["manifest", "push", "list", &format!("docker://{target}")]).ok();
        let there = json(&registry.document("out/app:1"));
        assert_eq!(there, list);
        for (entry, source) in ["host", "other"].into_iter().enumerate() {
            let digest = there["manifests"][entry]["digest"].as_str().expect("a digest");
            let document = registry.document(&format!("out/app@{digest}"));
            assert_eq!(document, first.document(&format!("in/app:{source}")));
        }
        let copied = format!("oci:{}", store.path(&format!("layout-{}", registry.0.host)).display());
        let target = format!("docker://{target}");
        skopeo(&["copy", "-q", "--all", "--insecure-policy", "--src-tls-verify=false", &target, &copied]);
    }
    store.mica(&["manifest", "push", "--purge", "list", &registry.name("again:1")]).ok();
    store.mica(&["manifest", "exists", "list"]).fails(1, "");

    // What is there can go into further lists: as a whole by `--all`, one by its digest.
    let index = registry.name("out/app:1");
    store.mica(&["manifest", "create", "next", &index]).fails(1, "is a manifest list");
    store.mica(&["manifest", "create", "--all", "next", &index]).ok();
    let next = json(&store.mica(&["manifest", "inspect", "next"]).ok());
    assert_eq!(next, list);
    let digest = next["manifests"][0]["digest"].as_str().expect("a digest");
    store.mica(&["manifest", "remove", "next", digest]).ok();
    assert_eq!(platforms(&json(&store.mica(&["manifest", "inspect", "next"]).ok())), [format!("linux/{other}/v8")]);
    store.mica(&["manifest", "add", "--variant", "v1", "next", &format!("{}@{digest}", registry.name("out/app"))]).ok();
    let next = json(&store.mica(&["manifest", "inspect", "next"]).ok());
    assert_eq!(platforms(&next), [format!("linux/{other}/v8"), format!("linux/{host}/v1")]);

    // What the registry has, as Docker shows it.
    let raw = store.mica(&["manifest", "inspect", &native]).ok();
    assert_eq!(json(&raw), json(&registry.document("in/app:host")));
    assert!(raw.starts_with("{\n\t\"schemaVersion\": 2,"), "{raw}");
    let verbose = json(&store.mica(&["manifest", "inspect", "-v", &index]).ok());
    assert_eq!(verbose[0]["Descriptor"]["platform"]["architecture"], host);
    assert_eq!(verbose[0]["SchemaV2Manifest"], json(&raw));
    store.mica(&["manifest", "inspect", &registry.name("in/app:none")]).fails(1, "no such manifest: ");
}

#[test]
fn privileged_a_lists_name_leads_to_the_image_of_this_machine() {
    let Some(store) = with_both() else { return };
    let (host, other) = architectures();
    store.mica(&["manifest", "create", "both", "foreign", "base"]).ok();
    assert_eq!(store.mica(&["run", "--rm", "both", "cat", "/etc/secret"]).ok(), "old");
    assert_eq!(store.mica(&["inspect", "-f", "{{.Architecture}}", "both"]).ok(), host);
    let platform = format!("linux/{other}");
    store.mica(&["create", "--name", "cc", "--platform", &platform, "--pull", "never", "both", "/program"]).ok();
    let id = store.mica(&["images", "-q", "--no-trunc", "foreign"]).ok();
    assert_eq!(store.mica(&["inspect", "-f", "{{.Image}}", "cc"]).ok(), id);
    store.mica(&["create", "--platform", "linux/riscv64", "--pull", "never", "both"]).fails(1, "both");

    // Listings have its name beside the image's own, unless an image has it.
    let names = || {
        let rows = store.mica(&["images", "--format", "{{.Repository}} {{.ID}}"]).ok();
        let mut rows: Vec<String> = rows.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    };
    let base = store.mica(&["images", "-q", "base"]).ok();
    let own = [format!("base {base}"), format!("both {base}"), format!("foreign {}", &id[7..19])];
    assert_eq!(names(), own);
    assert_eq!(store.mica(&["images", "-q", "both"]).ok(), base);
    store.mica(&["tag", "foreign", "both"]).ok();
    assert_eq!(store.mica(&["images", "-q", "both"]).ok(), id[7..19]);
    store.mica(&["rmi", "both"]).ok();
    assert_eq!(names(), own);

    // An image without a name of its own is not dangling while a list names it.
    store.mica(&["rm", "cc"]).ok();
    store.mica(&["tag", "base", "foreign"]).ok();
    store.mica(&["image", "prune", "-f"]).ok();
    let tree = store.mica(&["image", "ls", "--tree", "--no-trunc", "both"]).ok();
    let lines: Vec<Vec<&str>> = tree.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[2][1], lines[2][2]), (platform.as_str(), id.as_str()), "{tree}");

    store.mica(&["manifest", "rm", "both"]).ok();
    let pruned = store.mica(&["image", "prune", "-f"]).ok();
    assert!(pruned.contains(&id), "{pruned}");
    assert_eq!(store.mica(&["run", "--rm", "base", "cat", "/etc/secret"]).ok(), "old");
}

#[test]
fn privileged_wrong_lists_are_refused() {
    let Some(store) = with_both() else { return };
    store.mica(&["manifest", "create", "list", "base"]).ok();
    store.mica(&["manifest", "create", "empty"]).ok();
    let nowhere = "127.0.0.1:1/x:1";
    let cases: [(&[&str], &str); 18] = [
        (&["create", "UPPER", "base"], "invalid reference format"),
        (&["create", "a@sha256:0", "base"], "invalid reference format"),
        (&["create", &format!("a@sha256:{}", "0".repeat(64)), "base"], "has a digest"),
        (&["create", "new", nowhere], "127.0.0.1:1"),
        (&["create", "new", "list"], "is a manifest list"),
        (&["create", "new", "base", "no name"], "invalid reference format"),
        (&["create", "--annotation", "x", "new", "base"], "expected KEY=VALUE"),
        (&["add", "nothere", "base"], "no such manifest: nothere:latest"),
        (&["add", "--arch", "a b", "list", "foreign"], "is not a platform"),
        (
            &["annotate", "list", "foreign", "--arch", "arm64"],
            "manifest for image foreign:latest does not exist in list:latest",
        ),
        (&["annotate", "list", "base", "--os", "../x"], "is not a platform"),
        (&["annotate", "list", "base", "--arch", ""], "must have an OS and Architecture"),
        (&["remove", "list", "foreign"], "does not exist in"),
        (&["rm", "list", "nothere"], "no such manifest: nothere:latest"),
        (&["rm", "list"], "no such manifest: list:latest"),
        (&["push", "list"], "no such manifest: list:latest"),
        (&["push", "empty"], "names no image"),
        (&["inspect", nowhere], "127.0.0.1:1"),
    ];
    for (args, words) in cases {
        let line = [&["manifest"], args].concat();
        let done = store.mica(&line);
        assert!(done.code == 1 && done.stderr.contains(words), "{line:?} {words:?}: {done:#?}");
        assert_eq!(done.stdout, "", "{line:?}");
    }
    store.mica(&["manifest", "exists", "new"]).fails(1, "");
}

#[test]
fn privileged_a_build_for_several_platforms_makes_a_list() {
    let Some(store) = Store::with_base() else { return };
    let (host, other) = architectures();
    let (own, foreign) = (format!("linux/{host}"), format!("linux/{other}"));
    fs_err::create_dir(store.path("context")).expect("a folder");
    fs_err::write(store.path("context/file"), "text").expect("written");
    let build = |dockerfile: &str, platforms: &str, tag: &str| -> Vec<String> {
        fs_err::write(store.path("context/Dockerfile"), dockerfile).expect("written");
        let ids = store.mica(&["build", "-q", "--platform", platforms, "-t", tag, "context"]).ok();
        ids.lines().map(str::to_owned).collect()
    };
    let inspect = |image: &str, format: &str| store.mica(&["inspect", "-f", format, image]).ok();
    let dockerfile = "FROM scratch\nARG TARGETPLATFORM TARGETARCH BUILDPLATFORM\n\
                      LABEL to=$TARGETPLATFORM arch=$TARGETARCH from=$BUILDPLATFORM\nCOPY file /\n";
    let both = format!("{own},{foreign}");
    let ids = build(dockerfile, &both, "made");
    assert_eq!(ids.len(), 2, "{ids:?}");
    for (id, platform, arch) in [(&ids[0], &own, host), (&ids[1], &foreign, other)] {
        let labels = inspect(id, "{{.Config.Labels.to}} {{.Config.Labels.arch}} {{.Config.Labels.from}}");
        assert_eq!(labels, format!("{platform} {arch} {own}"));
        assert_eq!(inspect(id, "{{.Os}}/{{.Architecture}}"), *platform);
    }
    assert_eq!(platforms(&json(&store.mica(&["manifest", "inspect", "made"]).ok())), [own.clone(), foreign.clone()]);
    assert_eq!(store.mica(&["images", "-q", "--no-trunc", "made"]).ok(), ids[0]);

    // Each stage takes the image for its platform from the list, and a second build takes its place.
    let derived = build("FROM made\nLABEL more=1\n", &both, "next");
    for (id, platform) in [(&derived[0], &own), (&derived[1], &foreign)] {
        assert_eq!(inspect(id, "{{.Config.Labels.to}} {{.Config.Labels.more}}"), format!("{platform} 1"));
    }
    let again = build("FROM scratch\nCOPY file /\nLABEL again=1\n", &both, "next");
    assert_eq!(store.mica(&["images", "-q", "--no-trunc", "next"]).ok(), again[0]);
    // A name is an image's or a list's.
    let one = build("FROM scratch\nCOPY file /\n", &own, "next");
    assert_eq!(store.mica(&["images", "-q", "--no-trunc", "next"]).ok(), one[0]);
    let list = build("FROM scratch\nCOPY file /\nLABEL again=2\n", &both, "next");
    assert_eq!(store.mica(&["images", "-q", "--no-trunc", "next"]).ok(), list[0]);

    store.mica(&["image", "prune", "-f"]).ok();
    let removed = store.mica(&["rmi", "made", "next"]).ok();
    for id in ids.iter().chain(&list) {
        assert!(removed.contains(&format!("Deleted: {id}")), "{removed}");
    }
    assert_eq!(store.mica(&["images", "-q", "--no-trunc"]).ok().lines().count(), 1);
    store.mica(&["build", "--platform", "linux/amd64,a b", "context"]).fails(1, "is not a platform");
}

#[test]
fn privileged_an_image_of_another_platform_is_said_to_be_one() {
    let Some(store) = with_both() else { return };
    let (_, other) = architectures();
    let words = format!("WARNING: The requested image's platform (linux/{other}");
    let created = store.mica(&["create", "foreign", "/program"]);
    assert_eq!(created.code, 0, "{created:#?}");
    assert!(created.stderr.starts_with(&words), "{created:#?}");
    assert!(created.stderr.trim_end().ends_with("and no specific platform was requested"), "{created:#?}");
    let asked =
        store.mica(&["create", "--platform", &format!("linux/{other}/v8"), "--pull", "never", "foreign", "/program"]);
    assert_eq!((asked.code, asked.stderr.as_str()), (0, ""), "{asked:#?}");
    let refused = store.mica(&["run", "--rm", "foreign", "/program"]);
    assert_eq!(refused.code, 126, "{refused:#?}");
    for words in [words.as_str(), "exec format error", "no handler for programs of linux/", "qemu-user-static"] {
        assert!(refused.stderr.contains(words), "{words}: {refused:#?}");
    }
    let own = store.mica(&["run", "--rm", "base", "/data/none"]);
    assert!(own.code == 127 && !own.stderr.contains("hint"), "{own:#?}");
}

/// What no other program has in the byte that names a system's conventions, which QEMU does not look at.
const OWN: u8 = 0xd7;

/// A program of the architecture `arm64` that says `hello` and ends with 7.
fn arm64_program() -> Vec<u8> {
    let code: [u32; 8] = [
        0xd280_0020, // mov x0, #1
        0x1000_00e1, // adr x1, text
        0xd280_00c2, // mov x2, #6
        0xd280_0808, // mov x8, #64 (write)
        0xd400_0001, // svc #0
        0xd280_00e0, // mov x0, #7
        0xd280_0ba8, // mov x8, #93 (exit)
        0xd400_0001, // svc #0
    ];
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    program[7] = OWN;
    let (base, entry) = (0x40_0000u64, 0x40_0078u64);
    program.extend([entry, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    program.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    let size = 0x78 + 32 + 6;
    program.extend(b"\x01\0\0\0\x05\0\0\0");
    program.extend([0, base, base, size, size, 0x1000].iter().flat_map(|word| word.to_le_bytes()));
    program.extend(code.iter().flat_map(|word| word.to_le_bytes()));
    program.extend(b"hello\n");
    program
}

/// The exit code of [`HANDLED`] where no handler can be registered.
const UNHANDLED: i32 = 99;

/// Runs a command while a handler is registered, which is the kernel's and not a namespace's: so it takes no program but this
/// test's, and goes with the mount by which it came.
const HANDLED: &str = "\
cd /proc/sys/fs && mount -t binfmt_misc none binfmt_misc && printf '%s' \":$1:M::$2::$3:F\" > binfmt_misc/register || exit 99
name=$1; shift 3; cd / || exit 99
\"$@\"; code=$?
printf -- -1 > /proc/sys/fs/binfmt_misc/$name
exit $code";

#[test]
fn privileged_a_registered_handler_runs_programs_of_another_platform() {
    let named = std::env::var("MICA_TEST_QEMU_AARCH64").ok();
    let usual = ["/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64"].map(str::to_owned);
    let Some(qemu) = named.into_iter().chain(usual).find(|path| std::path::Path::new(path).exists()) else {
        return skip(
            "no qemu-aarch64-static, which `cargo xtask test` unpacks and `apt-get install qemu-user-static` installs",
        );
    };
    let Some(store) = Store::privileged() else { return };
    let program = arm64_program();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    archive.append_data(&mut header, "hello", program.as_slice()).expect("written");
    let bytes = archive.into_inner().expect("an archive");
    store.mica_with(&["import", "--platform", "linux/arm64", "-c", "CMD [\"/hello\"]", "-", "arm"], &bytes).ok();
    let mica = |args: &[&str]| {
        let inner = store.command(args);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", HANDLED, "sh"]);
        command
            .arg(format!("mica-test-{}", std::process::id()))
            .arg(format!(r"\x7fELF\x02\x01\x01\x{OWN:02x}"))
            .arg(&qemu);
        command.arg(inner.get_program()).args(inner.get_args()).env("MICA_CONFIG", "/dev/null");
        finish(command, b"")
    };
    let done = mica(&["run", "--rm", "--platform", "linux/arm64", "arm"]);
    if done.code == UNHANDLED {
        return skip(&format!("no handler can be registered: {}", done.stderr.trim()));
    }
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (7, "hello\n", ""), "{done:#?}");
    let done = mica(&["run", "--rm", "arm"]);
    assert_eq!((done.code, done.stdout.as_str()), (7, "hello\n"), "{done:#?}");
    assert_eq!(done.stderr.contains("WARNING: The requested image's platform"), std::env::consts::ARCH != "aarch64");
    if std::env::consts::ARCH != "aarch64" {
        store.mica(&["run", "--rm", "arm"]).fails(126, "no handler for programs of linux/arm64");
    }
}
