//! Bytes in and out: pipes, terminals, several clients, slow clients.

use mica_engine::runtime::{Runtime, SessionEvent};
use serde_json::json;

use crate::fixture::{Fixture, Said, block_on, expect, input, listen, runtimes};

#[test]
fn privileged_input_is_echoed_byte_for_byte_and_ends() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["cat"]);
        let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let said = block_on(async {
            let mut session = fixture.start().await;
            let mut input = input(session.as_mut());
            let sent = bytes.clone();
            let writer = tokio::spawn(async move {
                input.write(&sent).await.unwrap();
                input.close().await.unwrap();
                input
            });
            let said = listen(session.as_mut()).await;
            writer.await.unwrap();
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            said
        });
        assert_eq!(said.code, Some(0));
        assert!(said.stdout == bytes, "{} bytes came back", said.stdout.len());
        fixture.assert_gone();
    }
}

#[test]
fn privileged_a_second_client_sees_the_same() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sh", "-c", "read line; echo \"got $line\"; read line; exit 5"]);
        block_on(async {
            let mut first = fixture.start().await;
            let mut second = fixture.runtime.attach(&fixture.run_dir()).await.unwrap();
            let mut typed = input(second.as_mut());
            typed.write(b"hello\n").await.unwrap();
            expect(first.as_mut(), "got hello\n").await;
            expect(second.as_mut(), "got hello\n").await;
            typed.write(b"\n").await.unwrap();
            let end = Said { code: Some(5), ..Said::default() };
            assert_eq!(listen(first.as_mut()).await, end);
            assert_eq!(listen(second.as_mut()).await, end);
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_a_slow_client_loses_nothing_and_a_lost_one_stops_nobody() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sh", "-c", "head -c 20000000 /dev/zero; sleep 0.1; echo end"]);
        let mut request = fixture.request();
        request.log = None;
        block_on(async {
            let mut reader = fixture.runtime.start(request, fixture.root_mount()).await.unwrap();
            let lost = fixture.runtime.attach(&fixture.run_dir()).await.unwrap();
            // The program cannot get ahead of a client that reads nothing.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let state = fixture.state();
            let memory = fs_err::read_to_string(format!("/proc/{}/statm", state.monitor_pid)).unwrap();
            let pages: u64 = memory.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(pages < 16_000, "the monitor holds {pages} pages");
            drop(lost);
            let mut count = 0;
            let mut code = None;
            while let Some(event) = reader.next().await.unwrap() {
                match event {
                    SessionEvent::Stdout(bytes) => count += bytes.len(),
                    SessionEvent::Exited(status) => code = Some(status),
                    SessionEvent::Stderr(_) => {}
                }
            }
            assert_eq!((count, code), (20_000_004, Some(0)));
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_a_terminal_has_a_size_and_an_owner() {
    for runtime in runtimes() {
        let script = "stty size; read line; stty size; ls -ln /dev/pts/0; test -t 1 && exit 4";
        let mut fixture = Fixture::new(&runtime, &["sh", "-c", script]);
        fixture.config["process"]["terminal"] = json!(true);
        fixture.config["process"]["user"] = json!({"uid": 1234, "gid": 1234});
        let mut request = fixture.request();
        request.terminal_size = Some((33, 101));
        block_on(async {
            let mut session = fixture.runtime.start(request, fixture.root_mount()).await.unwrap();
            let mut typed = input(session.as_mut());
            expect(session.as_mut(), "33 101\r\n").await;
            typed.resize(44, 111).await.unwrap();
            typed.write(b"\n").await.unwrap();
            let said = listen(session.as_mut()).await;
            let text = String::from_utf8(said.stdout).unwrap();
            assert!(text.contains("44 111\r\n"), "{text}");
            assert!(text.contains(" 1234 "), "{text}");
            assert_eq!(said.code, Some(4), "{text}");
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
        });
        fixture.assert_gone();
    }
}

#[test]
fn privileged_without_stdin_there_is_the_end_at_once() {
    for runtime in runtimes() {
        let fixture = Fixture::new(&runtime, &["sh", "-c", "cat; readlink /proc/self/fd/0; echo x > /dev/stdout"]);
        let mut request = fixture.request();
        request.stdin = false;
        let said = block_on(async {
            let mut session = fixture.runtime.start(request, fixture.root_mount()).await.unwrap();
            let said = listen(session.as_mut()).await;
            fixture.runtime.wait(&fixture.run_dir()).await.unwrap();
            said
        });
        assert_eq!(String::from_utf8_lossy(&said.stdout), "/dev/null\nx\n");
        fixture.assert_gone();
    }
}
