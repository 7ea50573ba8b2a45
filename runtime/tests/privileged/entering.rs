//! `exec`: further processes in a running container.

use mica_engine::Kind;
use mica_engine::runtime::Runtime;
use serde_json::json;

use crate::fixture::{Fixture, block_on, expect, input, listen, runtimes};

/// A script that prints what a process is allowed and where it lives.
const SELF: &str = "\
while read name value; do case $name in Cap*|Seccomp:|NoNewPrivs:|Groups:) echo $name $value;; esac; done \
</proc/self/status; for ns in mnt pid net ipc uts; do readlink /proc/self/ns/$ns; done; cat /proc/self/cgroup";

#[test]
fn privileged_exec_is_as_confined_as_the_container() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sh", "-c", &format!("{SELF}; echo up; cat")]);
        block_on(async {
            let mut session = fixture.start().await;
            let first = expect(session.as_mut(), "up\n").await;
            let mut inside =
                fixture.runtime.exec(fixture.exec(&["sh", "-c", &format!("{SELF}; echo up; exit 6")])).await.unwrap();
            let said = listen(inside.as_mut()).await;
            assert_eq!(String::from_utf8_lossy(&said.stdout), first, "with {runtime:?}");
            assert_eq!(said.code, Some(6));
            input(session.as_mut()).close().await.unwrap();
            assert_eq!(listen(session.as_mut()).await.code, Some(0));
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_exec_streams_user_terminal_and_refusals() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sleep", "1000"]);
        block_on(async {
            let _session = fixture.start().await;
            for (program, kind) in [("nosuch", Kind::CommandNotFound), ("/etc", Kind::NotExecutable)] {
                let refused = fixture.runtime.exec(fixture.exec(&[program])).await.err().expect("it runs");
                assert_eq!(refused.kind(), kind, "{refused}");
            }

            let mut cat = fixture.runtime.exec(fixture.exec(&["sh", "-c", "cat; echo err >&2"])).await.unwrap();
            let mut typed = input(cat.as_mut());
            typed.write(b"through\0\xff").await.unwrap();
            typed.close().await.unwrap();
            let said = listen(cat.as_mut()).await;
            assert_eq!((said.stdout, said.stderr, said.code), (b"through\0\xff".to_vec(), b"err\n".to_vec(), Some(0)));

            let mut request = fixture.exec(&[
                "sh",
                "-c",
                "id -u; id -g; stty size; echo $VAR; while read n v; do \
                case $n in CapEff:) echo $v;; esac; done </proc/self/status; pwd",
            ]);
            let mut process = serde_json::to_value(&request.spec).unwrap();
            process["terminal"] = json!(true);
            process["user"] = json!({"uid": 77, "gid": 78});
            process["cwd"] = json!("/work");
            process["env"] = json!(["PATH=/bin", "VAR=value"]);
            request.spec = serde_json::from_value(process).unwrap();
            request.terminal_size = Some((11, 22));
            let mut terminal = fixture.runtime.exec(request).await.unwrap();
            let said = listen(terminal.as_mut()).await;
            let text = String::from_utf8(said.stdout).unwrap();
            assert_eq!(text, "77\r\n78\r\n11 22\r\nvalue\r\n0000000000000000\r\n/work\r\n");

            let mut request = fixture.exec(&["sh", "-c", "sleep 0.1; echo later > /work/file"]);
            request.detach = true;
            let mut detached = fixture.runtime.exec(request).await.unwrap();
            assert_eq!(detached.next().await.unwrap(), None);
            drop(detached);
            while fs_err::read(fixture.root().join("work/file")).unwrap_or_default() != b"later\n" {
                tokio::task::yield_now().await;
            }

            let filtered = fixture.exec(&["busybox", "mkdir", "/new"]);
            let said = listen(fixture.runtime.exec(filtered).await.unwrap().as_mut()).await;
            assert!(String::from_utf8_lossy(&said.stderr).contains("Protocol error"), "{said:?}");

            // What still runs ends with the container.
            let mut forever = fixture.runtime.exec(fixture.exec(&["sleep", "1000"])).await.unwrap();
            fixture.runtime.kill(&fixture.run_dir(), libc::SIGKILL).await.unwrap();
            assert_eq!(listen(forever.as_mut()).await.code, Some(137));
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            let gone = fixture.runtime.exec(fixture.exec(&["true"])).await.err().expect("it runs");
            assert_eq!(gone.kind(), Kind::Conflict);
        });
        fixture.assert_gone();
    }
}
