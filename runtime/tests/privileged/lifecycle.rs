//! Starting, ending, and what is recorded and left.

use mica_engine::Kind;
use mica_engine::runtime::{Runtime, SessionEvent};
use serde_json::json;

use crate::fixture::{Fixture, Said, block_on, expect, input, listen, runtimes};

#[test]
fn privileged_statuses_and_streams() {
    for runtime in runtimes() {
        for (script, stdout, stderr, code) in [
            ("exit 0", "", "", 0),
            ("echo out; echo err >&2; exit 7", "out\n", "err\n", 7),
            ("kill -KILL $$; kill -TERM 1; exit 3", "", "", 3),
            ("sh -c 'kill -TERM $$' 2>/dev/null; exit $?", "", "", 143),
        ] {
            let fixture = Fixture::new(&runtime, &["sh", "-c", script]);
            let said = block_on(fixture.run());
            let want = Said { stdout: stdout.into(), stderr: stderr.into(), code: Some(code) };
            assert_eq!(said, want, "{script} with {runtime:?}");
            let exit = fixture.exit();
            assert_eq!((exit.code, exit.oom_killed, exit.error), (code, false, None));
            fixture.assert_gone();
        }
    }
}

#[test]
fn privileged_programs_that_cannot_run() {
    for runtime in runtimes() {
        for (program, kind, text) in [
            ("nosuch", Kind::CommandNotFound, "exec: \"nosuch\": executable file not found in $PATH"),
            ("/nosuch", Kind::CommandNotFound, "no such file or directory"),
            ("/etc", Kind::NotExecutable, ""),
            ("/plain", Kind::NotExecutable, "permission denied"),
        ] {
            let fixture = Fixture::new(&runtime, &[program]);
            fs_err::write(fixture.root().join("plain"), "text").unwrap();
            let (got, message) = block_on(fixture.refused());
            assert_eq!(got, kind, "{program} with {runtime:?}: {message}");
            assert!(message.contains(text), "{program} with {runtime:?}: {message}");
            fixture.assert_gone();
        }
    }
}

#[test]
fn privileged_a_program_of_no_known_format() {
    for runtime in runtimes().into_iter().filter(Option::is_none) {
        let fixture = Fixture::new(&runtime, &["/plain"]);
        fs_err::write(fixture.root().join("plain"), "\0\0\0\0").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(fixture.root().join("plain"), mode).unwrap();
        let refused = block_on(fixture.refused());
        assert_eq!(refused, (Kind::NotExecutable, "exec: \"/plain\": exec format error".into()));
        fixture.assert_gone();
    }
}

#[test]
fn privileged_a_bad_bundle_leaves_nothing() {
    for runtime in runtimes() {
        let mut fixture = Fixture::new(&runtime, &["true"]);
        fixture.config["mounts"].as_array_mut().unwrap().push(json!(
            {"destination": "/x", "type": "bind", "source": "/nosuch/source", "options": ["bind"]}
        ));
        let (kind, message) = block_on(fixture.refused());
        assert_eq!(kind, Kind::Internal, "{message}");
        fixture.assert_gone();
    }
}

#[test]
fn privileged_signals_and_wait() {
    for runtime in runtimes() {
        let fixture = Fixture::new(
            &runtime,
            &["sh", "-c", "trap 'echo got; exit 9' USR1; echo up; while :; do sleep 0.05; done"],
        );
        block_on(async {
            let mut session = fixture.start().await;
            expect(session.as_mut(), "up\n").await;
            let again = fixture
                .runtime
                .start(fixture.request(), fixture.root_mount())
                .await
                .err()
                .expect("a second monitor started");
            assert_eq!(again.kind(), Kind::Conflict);
            fixture.runtime.kill(&fixture.run_dir(), libc::SIGUSR1).await.unwrap();
            assert_eq!(listen(session.as_mut()).await, Said { stdout: b"got\n".into(), stderr: vec![], code: Some(9) });
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            let error = fixture.runtime.kill(&fixture.run_dir(), libc::SIGTERM).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
            let gone = fixture.runtime.attach(&fixture.run_dir()).await.err().expect("attached to nothing");
            assert_eq!(gone.kind(), Kind::Conflict);
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_session_signals_and_monitor_term() {
    for runtime in runtimes() {
        let script = "trap 'echo usr' USR2; trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let fixture = Fixture::new(&runtime, &["sh", "-c", script]);
        block_on(async {
            let mut session = fixture.start().await;
            expect(session.as_mut(), "up\n").await;
            input(session.as_mut()).signal(libc::SIGUSR2).await.unwrap();
            expect(session.as_mut(), "usr\n").await;
            let state = fixture.state();
            let start = mica_runtime::start_time(state.monitor_pid).unwrap();
            mica_runtime::signal_process(state.monitor_pid, start, libc::SIGTERM).unwrap();
            assert_eq!(listen(session.as_mut()).await.code, Some(0));
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_a_killed_monitor_is_recognised() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sleep", "1000"]);
        block_on(async {
            let mut session = fixture.start().await;
            let state = fixture.state();
            assert_eq!(mica_runtime::start_time(state.pid), Some(state.pid_start));
            let start = mica_runtime::start_time(state.monitor_pid).unwrap();
            mica_runtime::signal_process(state.monitor_pid, start, libc::SIGKILL).unwrap();
            assert_eq!(session.next().await.unwrap(), None);
            // The lock is free, so `wait` returns, and the state tells whom to kill.
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            assert_eq!(fixture.state(), state);
            if runtime.is_none() {
                // The embedded runtime ties the container to its monitor.
                while mica_runtime::start_time(state.pid).is_some() {
                    tokio::task::yield_now().await;
                }
            } else {
                mica_runtime::signal_process(state.pid, state.pid_start, libc::SIGKILL).unwrap();
            }
            // The same container starts again over what is left.
            let mut again = fixture.start().await;
            fixture.runtime.kill(&fixture.run_dir(), libc::SIGKILL).await.unwrap();
            assert_eq!(listen(again.as_mut()).await.code, Some(137));
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_on_exit_and_dying_with_the_client() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sleep", "1000"]);
        let marker = fixture.directory.path().join("marker");
        let mut request = fixture.request();
        request.die_with_client = true;
        // The lock is free and the record is there when the command runs.
        let script = format!(
            "flock -n {run}/lock cp {state}/exit.json {marker}.new && mv {marker}.new {marker}",
            run = fixture.run_dir().display(),
            state = fixture.directory.path().join("state").display(),
            marker = marker.display()
        );
        request.on_exit = Some(vec!["sh".into(), "-c".into(), script]);
        block_on(async {
            drop(fixture.runtime.start(request, fixture.root_mount()).await.unwrap());
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            while !marker.exists() {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(fixture.exit().code, 137);
        fixture.assert_gone();
    }
}

#[test]
fn privileged_a_container_outlives_its_client_and_its_log_is_whole() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sh", "-c", "echo one; cat; echo two >&2; sleep 0.1; echo three"]);
        block_on(async {
            drop(fixture.start().await);
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        let text = fs_err::read_to_string(fixture.log()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let seen: Vec<_> =
            lines.iter().map(|line| (line["stream"].as_str().unwrap(), line["log"].as_str().unwrap())).collect();
        assert_eq!(seen, [("stdout", "one\n"), ("stderr", "two\n"), ("stdout", "three\n")]);
        fixture.assert_gone();
    }
}

#[test]
fn privileged_memory_limit_is_recorded() {
    for runtime in runtimes() {
        let mut fixture = Fixture::new(&runtime, &["sh", "-c", "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"]);
        fixture.config["linux"]["resources"] = json!({"memory": {"limit": 32 << 20}});
        let said = block_on(fixture.run());
        if fixture.exit().oom_killed {
            assert_eq!(said.code, Some(137));
        } else {
            // A shell may give up by itself where the machine refuses the allocation first.
            assert_ne!(said.code, Some(0));
        }
        fixture.assert_gone();
    }
}

#[test]
fn privileged_a_grandchild_does_not_hold_the_end() {
    for runtime in runtimes() {
        let mut fixture = Fixture::new(&runtime, &["sh", "-c", "sleep 1000 & echo done"]);
        // Without a PID namespace of its own the kernel does not end the grandchild with its parent.
        fixture.config["linux"]["namespaces"] = json!([{"type": "mount"}]);
        fixture.config["hostname"] = serde_json::Value::Null;
        let said = block_on(async {
            let mut session = fixture.start().await;
            let mut stdout = Vec::new();
            let mut code = None;
            while let Some(event) = session.next().await.unwrap() {
                match event {
                    SessionEvent::Stdout(bytes) => stdout.extend(bytes),
                    SessionEvent::Exited(status) => code = Some(status),
                    SessionEvent::Stderr(_) => {}
                }
            }
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            (stdout, code)
        });
        assert_eq!(said, (b"done\n".to_vec(), Some(0)));
        fixture.assert_gone();
    }
}
