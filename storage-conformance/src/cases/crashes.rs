//! Processes that are killed between any two verbs or in the middle of one, and processes that do everything at once: what
//! was acknowledged is there, byte for byte, and all the rest can be cleared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use mica_storage_api::{Caps, ObjectKind};
use rustix::fs::FileType;

use crate::Depth;
use crate::cases::{Case, reap};
use crate::ground::Ground;
use crate::script::{Files, Object, Script, Step};
use crate::tree::Tree;
use crate::verdict::{Outcome, Stop, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "crash: killed between any two verbs",
        demands: "Whatever verb was the last before a process is killed, the committed objects are complete, its open stages are listed, and everything can be removed and reaped.",
        run: between_verbs,
    },
    Case {
        name: "crash: killed at any moment",
        demands: "A process that is killed inside of a verb leaves each object as it was before it or as it is after it, and everything can be removed and reaped.",
        run: at_any_moment,
    },
    Case {
        name: "race: processes that do everything at once",
        demands: "Several processes that stage, commit, mount, write, promote, compare, remove, reap and list at once do not harm each other's objects.",
        run: mixed_load,
    },
];

type Objects = BTreeMap<(ObjectKind, String), Object>;

fn promotes(ground: &Ground<'_>) -> bool {
    ground.info().caps.contains(Caps::PROMOTE)
}

fn between_verbs(ground: &Ground<'_>) -> Outcome {
    let (seeds, length) = if ground.depth == Depth::Thorough { (4, 48) } else { (1, 16) };
    for seed in 1..=seeds {
        let mut script = Script::new(seed, "k", promotes(ground));
        for count in 1..=length {
            let step = script.next();
            let mut worker = ground.workers.start_to("script", &ground.root, &format!("{seed} k {count}"))?;
            worker.go()?;
            let said = worker.answers_until("paused");
            worker.kill()?;
            let outcome = said.and_then(|_| must_be_there(ground, &script.objects, &script.objects));
            outcome.and_then(|()| clear(ground)).map_err(|stop| at(stop, seed, count, &step))?;
        }
    }
    Ok(())
}

fn at_any_moment(ground: &Ground<'_>) -> Outcome {
    let rounds = if ground.depth == Depth::Thorough { 200 } else { 20 };
    let mut rng = Rng::with_seed(1);
    for seed in 1..=rounds {
        let mut worker = ground.workers.start_to("script", &ground.root, &format!("{seed} k 1000"))?;
        worker.go()?;
        // The moment is not repeatable, and what is asked is true of every moment.
        std::thread::sleep(Duration::from_micros(rng.u64(0..60_000)));
        let done = worker.kill_and_hear()?.iter().filter(|answer| *answer == "did").count();
        let mut script = Script::new(seed, "k", promotes(ground));
        for _ in 0..done {
            script.next();
        }
        let before = script.objects.clone();
        let step = script.next();
        let outcome = must_be_there(ground, &before, &script.objects);
        outcome.and_then(|()| clear(ground)).map_err(|stop| at(stop, seed, done + 1, &step))?;
    }
    Ok(())
}

fn mixed_load(ground: &Ground<'_>) -> Outcome {
    let (processes, count) = if ground.depth == Depth::Thorough { (8, 200) } else { (4, 40) };
    let mut workers = Vec::new();
    for number in 0..processes {
        workers.push(ground.workers.start_to("script", &ground.root, &format!("{number} p{number} {count}"))?);
    }
    for worker in &mut workers {
        worker.go()?;
    }
    let mut expected = Objects::new();
    for (number, worker) in workers.iter_mut().enumerate() {
        worker.answers_until("paused").map_err(|stop| at(stop, number as u64, count, &Step::List))?;
        let mut script = Script::new(number as u64, &format!("p{number}"), promotes(ground));
        for _ in 0..count {
            script.next();
        }
        expected.extend(script.objects);
    }
    must_be_there(ground, &expected, &expected)?;
    for worker in workers {
        worker.kill()?;
    }
    must_be_there(ground, &expected, &expected)
}

fn at(stop: Stop, seed: u64, count: usize, step: &Step) -> Stop {
    match stop {
        Stop::Fail(reason) => Stop::Fail(format!("seed {seed}, step {count} ({step:?}): {reason}")),
        skip @ Stop::Skip(_) => skip,
    }
}

/// What is in both must be there and whole; what is in one may be there, and is whole if it is; nothing else is there.
fn must_be_there(ground: &Ground<'_>, before: &Objects, after: &Objects) -> Outcome {
    let listed: BTreeSet<_> = ground.list()?.into_iter().collect();
    // A container and a promotion go through a stage of the same name.
    let named = |name: &str| before.keys().chain(after.keys()).any(|(_, known)| known == name);
    for id in &listed {
        let under_way = id.0 == ObjectKind::Stage && named(&id.1);
        let known = before.contains_key(id) || after.contains_key(id) || under_way;
        ensure!(known, "{id:?} is listed and should not exist");
    }
    for id in before.keys().filter(|id| after.contains_key(id)) {
        ensure!(listed.contains(id), "{id:?} was acknowledged and is not listed");
    }
    // Who is promoted or committed is there by its old name or by its new.
    for (_, name) in before.keys().filter(|id| !after.contains_key(id)) {
        let published = after.contains_key(&(ObjectKind::Layer, name.clone()));
        ensure!(!published || listed.iter().any(|(_, listed)| listed == name), "`{name}` was lost on its way");
    }
    for id in listed.iter().filter(|(kind, _)| *kind != ObjectKind::Stage) {
        let known: Vec<&Object> = [before, after].into_iter().filter_map(|objects| objects.get(id)).collect();
        let (Some(first), Some(last)) = (known.first(), known.last()) else { continue };
        // What a promotion has published is the layer; of the rw object no more than the name may be left.
        let layer = (ObjectKind::Layer, id.1.clone());
        if id.0 == ObjectKind::Rw && !after.contains_key(id) && listed.contains(&layer) {
            continue;
        }
        let shown = files(ground, id, first)?;
        // A write may have come half the way; what it does not touch is there.
        let between = first != last
            && shown.iter().all(|(path, _)| first.files.contains_key(path) || last.files.contains_key(path));
        ensure!(
            shown == first.files || shown == last.files || between,
            "{id:?} shows {:?} and should show {:?}",
            shown.keys(),
            first.files.keys()
        );
    }
    Ok(())
}

fn files(ground: &Ground<'_>, id: &(ObjectKind, String), object: &Object) -> Outcome<Files> {
    let (kind, name) = id;
    let mut chain: Vec<&str> = object.chain.iter().map(String::as_str).collect();
    let mounted = if *kind == ObjectKind::Rw {
        ground.mount(name, &chain)?
    } else {
        chain.insert(0, name);
        ground.view(&chain)?
    };
    let regular = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    let nodes = Tree::read(mounted.fd())?.nodes.into_iter().filter(|(_, node)| regular(node.mode));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(nodes.map(|(path, node)| (text(path.as_encoded_bytes()), text(&node.content))).collect())
}

/// Brings the root back to nothing.
fn clear(ground: &Ground<'_>) -> Outcome {
    for (kind, name) in ground.list()? {
        ground.remove(kind, &name)?;
    }
    ground.must_list(&[])?;
    reap(ground)
}
