//! What a container must not see or do (security.md §4), as far as it is the monitor's part.

use std::io::Write;

use mica_engine::runtime::Runtime;
use serde_json::json;

use crate::fixture::{Fixture, block_on, expect, runtimes};

#[test]
fn privileged_nothing_of_the_caller_gets_in() {
    for runtime in runtimes() {
        let script = "ls /proc/self/fd; umask; pwd; while read n v; do case $n in \
            CapInh:|CapAmb:|CapEff:|CapBnd:|Seccomp:|Groups:) echo $n $v;; esac; done </proc/1/status; \
            env; ls /dev; wc -c </proc/keys; echo 1 2>/dev/null >/proc/sys/kernel/core_pattern || echo read-only";
        let mut fixture = Fixture::new(&runtime, &["sh", "-c", script]);
        fs_err::os::unix::fs::symlink("busybox", fixture.root().join("bin/env")).unwrap();
        fixture.config["process"]["env"] = serde_json::json!(["PATH=/bin", "HOME=/root", "B=2", "A=1"]);
        let said = block_on(fixture.run());
        let text = String::from_utf8(said.stdout).unwrap();
        // `ls` has opened the directory it lists as 3.
        let expected = "0\n1\n2\n3\n0022\n/\n";
        assert!(text.starts_with(expected), "with {runtime:?}: {text}");
        for line in [
            "CapInh: 0000000000000000",
            "CapAmb: 0000000000000000",
            "CapEff: 00000000a80425fb",
            "CapBnd: 00000000a80425fb",
            "Seccomp: 2",
            "read-only",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line} with {runtime:?}: {text}");
        }
        assert!(text.contains("\nGroups: \n") || text.contains("\nGroups:\n"), "{text}");
        let names: Vec<_> =
            text.lines().filter(|line| line.contains('=')).map(|line| line.split('=').next().unwrap()).collect();
        for name in &names {
            assert!(
                ["PATH", "HOME", "A", "B", "SHLVL", "PWD", "OLDPWD", "_"].contains(name),
                "{name} in the environment"
            );
        }
        let devices = "fd\nfull\nnull\nptmx\npts\nrandom\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
        assert!(text.contains(devices), "{text}");
    }
}

#[test]
fn privileged_descriptors_of_the_caller_are_closed() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sleep", "1000"]);
        let mine = fixture.directory.path().join("mine");
        let held = fs_err::File::create(&mine).unwrap();
        // Without close-on-exec, as a careless parent leaves it.
        let _inherited = rustix::io::dup(&held).unwrap();
        block_on(async {
            let _session = fixture.start().await;
            let monitor = fixture.state().monitor_pid;
            for entry in fs_err::read_dir(format!("/proc/{monitor}/fd")).unwrap() {
                assert_ne!(fs_err::read_link(entry.unwrap().path()).ok().as_deref(), Some(mine.as_path()));
            }
            fixture.runtime.kill(&fixture.run_dir(), libc::SIGKILL).await.unwrap();
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_signals_start_with_their_defaults() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["cat", "/proc/self/status"]);
        let text = String::from_utf8(block_on(fixture.run()).stdout).unwrap();
        let mask = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        // glibc ignores 32 and 33 in every child of posix_spawn, which is how an external runtime is run.
        let glibc = if runtime.is_some() { 0x1_8000_0000 } else { 0 };
        assert_eq!((mask("SigBlk:"), mask("SigIgn:") & !glibc), (0, 0), "with {runtime:?}");
    }
}

#[test]
fn privileged_the_filter_answers() {
    for runtime in runtimes() {
        // 71 is EPROTO, which the kernel itself never answers here.
        for (command, answer) in [
            (&["busybox", "mkdir", "/new"][..], "Protocol error"),
            (&["busybox", "unshare", "-U", "true"], "Protocol error"),
            (&["busybox", "unshare", "-i", "true"], "Operation not permitted"),
        ] {
            // With and without no-new-privileges, stated either way; the second run finds the filter in the cache.
            for privileges in [json!(null), json!(false), json!(true)] {
                let mut fixture = Fixture::new(&runtime, command);
                if !privileges.is_null() {
                    fixture.config["process"]["noNewPrivileges"] = privileges;
                }
                for _ in 0..2 {
                    let text = String::from_utf8(block_on(fixture.run()).stderr).unwrap();
                    assert!(text.contains(answer), "{command:?} with {runtime:?}: {text}");
                }
                let cached = fs_err::read_dir(fixture.directory.path().join("cache")).unwrap().count();
                assert_eq!(cached, usize::from(runtime.is_none()));
            }
        }
    }
}

#[test]
fn privileged_the_monitor_cannot_be_overwritten() {
    for runtime in runtimes().into_iter().filter(Option::is_none) {
        let mut fixture = Fixture::new(&runtime, &["sh", "-c", "echo up; cat"]);
        // A file of its own: another test's monitor would keep the common one busy.
        let monitor = fixture.directory.path().join("mica-monitor");
        // Copied by another program: a process that a test beside this one forks would keep our descriptor of it open for
        // writing, and such a file cannot be executed (ETXTBSY).
        let copied = std::process::Command::new("cp").arg(&fixture.runtime.monitor).arg(&monitor).status().unwrap();
        assert!(copied.success());
        fixture.runtime.monitor = monitor;
        block_on(async {
            let mut session = fixture.start().await;
            expect(session.as_mut(), "up\n").await;
            let state = fixture.state();
            let held = fs_err::File::open(format!("/proc/{}/exe", state.monitor_pid)).unwrap();
            fixture.runtime.kill(&fixture.run_dir(), libc::SIGKILL).await.unwrap();
            while session.next().await.unwrap().is_some() {}
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            while mica_runtime::start_time(state.monitor_pid).is_some() {
                tokio::task::yield_now().await;
            }
            // CVE-2019-5736: once it no longer runs, the kernel would allow this on an ordinary file.
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
            let opened = fs_err::OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(b""));
            assert_eq!(opened.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        });
    }
}
