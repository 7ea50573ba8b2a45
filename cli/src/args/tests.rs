//! Command lines and what they become.

use clap::{CommandFactory, Parser};

use super::groups::{ContainerCommand, ImageCommand};
use super::{Cli, Command};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("mica").chain(line.split_whitespace()))
}

#[test]
fn the_tree_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn both_spellings_are_the_same_command() {
    let ps = parse("container ls -a --filter status=exited -q").expect("valid");
    match ps.command {
        Command::Container(group) => match &group.command {
            ContainerCommand::Ls(ps) => assert!(ps.all && ps.quiet && ps.filters == ["status=exited"]),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    let rm = parse("image rm -f a b").expect("valid");
    match rm.command {
        Command::Image(group) => match &group.command {
            ImageCommand::Rm(rmi) => assert!(rmi.force && rmi.images == ["a", "b"]),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    for line in [
        "container list",
        "container ps",
        "container run x",
        "container create x",
        "container prune -f",
        "container inspect x",
        "container exec c cmd",
        "image ls",
        "image list",
        "image history x",
        "image inspect x",
        "image load",
        "image save x",
        "image import -",
        "image tag a b",
        "image prune -a",
        "image build .",
        "images --tree --no-trunc",
        "image ls --tree app",
        "manifest create --amend --insecure l a b",
        "manifest create l",
        "manifest add --all l a",
        "manifest add --os linux --arch arm64 --variant v8 --features a,b --os-version 1 --annotation a=b l a",
        "manifest annotate l a --os-features a,b",
        "manifest annotate --index --annotation a=b l",
        "manifest inspect -v --insecure l",
        "manifest push -p --all --insecure --compression zstd:3 --force-compression l docker://h.example/l:1",
        "manifest remove l sha256:0",
        "manifest rm a b",
        "manifest exists l",
        "builder prune",
        "builder build .",
        "buildx build -t x .",
        "system df",
        "system prune -f",
        "system check --repair",
        "system info",
        "storage ls --digests --format json",
        "storage list -q",
        "storage info overlay",
        "storage probe --root /mnt",
        "storage test --thorough -o a=b --format json ./x.so",
        "completion bash",
        "restart -t 1 x",
        "container pause -a",
        "unpause x y",
        "container top x -o pid,args",
        "top x aux",
        "container stats -a --no-stream --no-trunc x",
        "system events --since 0 --until 1h --filter event=die --format json",
        "container update --memory 1g --restart on-failure:3 x",
        "wait --condition removed x",
        "start --at-boot",
        "generate systemd",
        "generate systemd --restart-policy always x",
        "logs --details x",
        "version --format json",
        "login",
        "login -u me --password-stdin r.example:5000",
        "login --username me --password p",
        "logout r.example:5000",
        "search --limit 5 --no-trunc -f stars=3 --filter is-official=true term",
        "image tags --format json alpine",
    ] {
        assert!(
            parse(line).is_ok(),
            "{line}: {}",
            parse(line).err().map(|error| error.to_string()).unwrap_or_default()
        );
    }
}

#[test]
fn words_after_the_container_are_its_own() {
    let exec = parse("exec -it -e A=1 c sh -c echo -i").expect("valid");
    match exec.command {
        Command::Exec(exec) => {
            assert!(exec.interactive && exec.tty && exec.env == ["A=1"]);
            assert_eq!(exec.words, ["c", "sh", "-c", "echo", "-i"]);
        }
        other => panic!("{other:?}"),
    }
    let run = parse("run --rm -v /a:/b img --rm -h --help").expect("valid");
    match run.command {
        Command::Run(run) => assert_eq!(run.container.words, ["img", "--rm", "-h", "--help"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn flags_with_optional_and_negative_values() {
    let sig_proxy = |line: &str| match parse(line).expect(line).command {
        Command::Run(run) => run.sig_proxy,
        other => panic!("{other:?}"),
    };
    assert!(sig_proxy("run img") && sig_proxy("run --sig-proxy img") && sig_proxy("run --sig-proxy=true img"));
    assert!(!sig_proxy("run --sig-proxy=false img"));
    for line in [
        "stop -t -1 c",
        "stop --time 3 c",
        "ps -n -1",
        "logs --tail -1 c",
        "run --pids-limit -1 --memory-swap -1 img",
        "history -H=false img",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn wrong_lines_are_refused_with_what_is_wrong() {
    let cases = [
        ("run", "IMAGE"),
        ("exec c", "COMMAND"),
        ("run --nonsense img", "--nonsense"),
        ("run -Z img", "-Z"),
        ("run --network container: img", "names no container"),
        ("build --network container:x .", "cannot share the network"),
        ("run --mac-address x img", "invalid MAC address"),
        ("network create --subnet 10.1.0.0 x", "is no subnet"),
        ("run --pull sometimes img", "sometimes"),
        ("run --detach-keys ctrl-1 img", "ctrl-1"),
        ("run --log-driver syslog img", "json-file"),
        ("ps --format", "--format"),
        ("frobnicate", "frobnicate"),
        ("images --tree -q", "--quiet"),
        ("images --tree --format json", "--format"),
        ("manifest rm", "LIST"),
        ("manifest create", "LIST"),
        ("manifest annotate l", "IMAGE"),
        ("manifest annotate --index --arch arm64 l", "--arch"),
        ("stop", "CONTAINER"),
        ("search --limit 0 x", "1..=100"),
        ("search --limit 101 x", "1..=100"),
        ("login a b", "unexpected argument"),
        ("--storage-driver", "--storage-driver"),
    ];
    for (line, expected) in cases {
        let error = parse(line).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn global_flags_come_first() {
    let cli = parse("--root /r --run-root /q --storage-driver vfs --storage-opt a=b -D ps").expect("valid");
    assert_eq!(cli.global.root.as_deref(), Some(std::path::Path::new("/r")));
    assert_eq!(cli.global.storage_driver.as_deref(), Some("vfs"));
    assert_eq!(cli.global.storage_options, ["a=b"]);
    assert!(cli.global.debug);
}
