//! One key, two writers; and what the host's mount table shows of it all: nothing.

use mica_storage_api::{ErrorKind, ObjectKind, StageKind};
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::cases::Case;
use crate::ground::{Ground, filling, key};
use crate::verdict::{Context, Outcome, Stop, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "race: threads commit one key",
        demands: "Of several threads that commit one key at once exactly one succeeds; the others get EXISTS.",
        run: threads,
    },
    Case {
        name: "race: processes commit one key",
        demands: "Of several processes that commit one key at once exactly one succeeds; the others get EXISTS.",
        run: processes,
    },
    Case {
        name: "race: many containers at once",
        demands: "Containers that are made, written and removed at once share nothing and leave nothing.",
        run: many_containers,
    },
    Case {
        name: "mount: nothing is attached on the host",
        demands: "A mount is detached: it is in no mount table, and neither is the driver's root.",
        run: mount_table_stays_clean,
    },
];

fn threads(ground: &Ground<'_>) -> Outcome {
    let contenders = 4;
    let barrier = std::sync::Barrier::new(contenders);
    for round in 0..5 {
        let name = format!("k{round}");
        let results: Vec<Outcome<bool>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..contenders)
                .map(|number| {
                    let (name, barrier) = (&name, &barrier);
                    scope.spawn(move || {
                        let stage = ground.stage(StageKind::Layer, &format!("s{number}"), &[]);
                        let filled = stage
                            .and_then(|stage| filling(&stage)?.target.file("who", number.to_string()).map(|()| stage));
                        // Everybody arrives, whatever has failed, since the others wait.
                        barrier.wait();
                        match filled?.commit(key(name)?) {
                            Ok(_) => Ok(true),
                            Err(error) if error.kind() == ErrorKind::Exists => Ok(false),
                            Err(error) => Err(error).doing(|| "commit".to_owned()),
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(Stop::Fail("a thread panicked".to_owned()))))
                .collect()
        });
        let winners = results.into_iter().collect::<Outcome<Vec<_>>>()?.into_iter().filter(|&won| won).count();
        ensure!(winners == 1, "{winners} of {contenders} threads published the same key");
        ensure!(ground.view(&[&name])?.writer().read("who")?.len() == 1, "the published layer is a mixture");
        ground.must_list(&[(ObjectKind::Layer, &name)])?;
        ground.remove(ObjectKind::Layer, &name)?;
    }
    Ok(())
}

fn processes(ground: &Ground<'_>) -> Outcome {
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(ground.workers.start(&ground.root, "raced")?);
    }
    for worker in &mut workers {
        worker.go()?;
    }
    let mut answers = workers.iter_mut().map(|worker| worker.answer()).collect::<Outcome<Vec<_>>>()?;
    answers.sort();
    ensure!(answers == ["exists", "exists", "published"], "three processes with one key say {answers:?}");
    ground.must_list(&[(ObjectKind::Layer, "raced")])?;
    ensure!(ground.view(&["raced"])?.writer().exists("who"), "the published layer is empty");
    Ok(())
}

fn many_containers(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", "base"))?;
    let results: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let name = format!("c{number}");
                    ground.container(&name, &["base"])?;
                    let mounted = ground.mount(&name, &["base"])?;
                    mounted.writer().file("f", &name)?;
                    ensure!(mounted.writer().read("f")? == name.as_bytes(), "containers made at once share a file");
                    drop(mounted);
                    ground.remove(ObjectKind::Rw, &name)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Stop::Fail("a thread panicked".to_owned()))))
            .collect()
    });
    results.into_iter().collect::<Outcome>()?;
    ground.must_list(&[(ObjectKind::Layer, "base")])?;
    ensure!(ground.view(&["base"])?.writer().read("f")? == b"base", "containers changed the image");
    Ok(())
}

fn mount_table_stays_clean(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| fill.target.file("f", "x"))?;
    ground.layer("b", &["a"], |fill| fill.target.file("g", "x"))?;
    ground.container("c", &["b", "a"])?;
    let mounts = [ground.view(&["a"])?, ground.view(&["b", "a"])?, ground.mount("c", &["b", "a"])?];
    let table = fs_err::read_to_string("/proc/self/mountinfo").doing(|| "read the mount table".to_owned())?;
    for mounted in &mounts {
        let stat =
            statx(mounted.fd(), "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).doing(|| "stat a mount".to_owned())?;
        let id = stat.stx_mnt_id.to_string();
        ensure!(!table.lines().any(|line| line.split(' ').next() == Some(&id)), "mount {id} is attached on the host");
    }
    let root = ground.root.to_string_lossy();
    ensure!(!table.contains(&*root), "the mount table names the driver root");
    Ok(())
}
