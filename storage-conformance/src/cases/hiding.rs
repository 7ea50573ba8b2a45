//! Whiteouts and opaque directories over several layers, held against a plain directory that was changed in the same way.

use mica_storage_api::{Caps, Whiteout};

use crate::cases::Case;
use crate::ground::Ground;
use crate::model::{Model, Step};
use crate::tree::Tree;
use crate::verdict::{Outcome, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "hiding: deleted, made again, replaced by another type, over many layers",
        demands: "After each layer of each story the view shows what a plain directory shows to which the same was done.",
        run: stories,
    },
    Case {
        name: "hiding: a container deletes everything and starts over",
        demands: "A container may delete all that its layers hold and make the same names anew; mounted again, and as a layer, it shows the new ones alone.",
        run: delete_everything,
    },
];

/// A story and its layers, bottom first.
type Story = (&'static str, &'static [&'static [Step]]);

const STORIES: &[Story] = {
    use Step::{Again, Delete, Dir, File, Link, Opaque};
    &[
        (
            "a file comes and goes",
            &[
                &[File("f", "1"), File("stays", "1")],
                &[Delete("f")],
                &[File("f", "3")],
                &[Delete("f"), File("other", "4")],
                &[Dir("f"), File("f/x", "5")],
                &[Delete("f")],
                &[Link("f", "stays")],
            ],
        ),
        (
            "opaque over opaque",
            &[
                &[Dir("d"), File("d/a", "1"), Dir("d/sub"), File("d/sub/a", "1")],
                &[Opaque("d"), File("d/b", "2"), Dir("d/sub"), File("d/sub/b", "2")],
                &[Dir("d"), File("d/c", "3")],
                &[Opaque("d"), File("d/d", "4")],
                &[Opaque("d")],
                &[File("d/last", "6")],
            ],
        ),
        (
            "directory, file, directory, link, directory",
            &[
                &[Dir("d"), File("d/old", "1"), Dir("d/sub"), File("d/sub/old", "1")],
                &[File("d", "now a file")],
                &[Dir("d"), File("d/new", "3")],
                &[Link("d", "/nowhere")],
                &[Dir("d"), Dir("d/sub"), File("d/sub/newest", "5")],
            ],
        ),
        (
            "whiteouts of nothing",
            &[
                &[Delete("never"), File("f", "1"), Dir("d"), Dir("e"), File("d/f", "1")],
                &[Delete("never"), Dir("e"), Delete("e/never"), Dir("d"), Delete("d/never")],
                &[Delete("e")],
                &[Dir("e"), Dir("d"), Delete("d/never")],
                &[File("never", "5")],
            ],
        ),
        (
            "a directory with whiteouts in it is deleted and made again",
            &[
                &[Dir("d"), File("d/a", "1"), File("d/b", "1"), Dir("d/s"), File("d/s/x", "1")],
                &[Delete("d/a")],
                &[Delete("d")],
                &[Dir("d"), File("d/c", "4")],
                &[Delete("d/c"), Dir("d/s"), File("d/s/y", "5")],
                &[Again("d"), File("d/a", "6")],
            ],
        ),
        (
            "deep below",
            &[
                &[Dir("a"), Dir("a/b"), Dir("a/b/c"), Dir("a/b/c/d"), File("a/b/c/d/e", "1"), File("a/b/f", "1")],
                &[Delete("a/b/c/d/e")],
                &[File("a/b/c/d/g", "3")],
                &[Delete("a/b/c")],
                &[Dir("a/b/c"), File("a/b/c/x", "5")],
                &[Opaque("a/b"), Dir("a/b/c"), File("a/b/c/y", "6")],
                &[Delete("a")],
                &[File("a", "8")],
            ],
        ),
        (
            "an opaque directory and one of the same name with another content beside it",
            &[
                &[Dir("d"), File("d/x", "1"), Dir("e"), File("e/x", "1")],
                &[Opaque("d"), File("d/x", "2"), Dir("e"), File("e/y", "2")],
                &[Dir("d"), Delete("d/x"), Dir("e"), Delete("e/x")],
                &[Dir("d"), Dir("d/x"), File("d/x/in", "4"), Dir("e"), Dir("e/x")],
            ],
        ),
    ]
};

fn stories(ground: &Ground<'_>) -> Outcome {
    for (number, (story, layers)) in STORIES.iter().enumerate() {
        let model = Model::new(ground)?;
        let mut chain: Vec<String> = Vec::new();
        for (depth, steps) in layers.iter().enumerate() {
            let name = format!("story{number}-{depth}");
            let parents: Vec<&str> = chain.iter().map(String::as_str).collect();
            // On a driver of independent layers every other one is staged without its parents.
            let alone = ground.info().caps.contains(Caps::INDEPENDENT_LAYERS) && depth % 2 == 0;
            ground.layer(&name, if alone { &[] } else { &parents }, |fill| {
                steps.iter().try_for_each(|step| step.write(fill.target, fill.style))
            })?;
            steps.iter().try_for_each(|step| step.write(model.writer(), Whiteout::Direct))?;
            chain.insert(0, name);
            let parents: Vec<&str> = chain.iter().map(String::as_str).collect();
            let what = format!("\"{story}\" after layer {} of {}", depth + 1, layers.len());
            ground.read_view(&parents)?.without_directory_times().must_equal(&model.tree()?, &what)?;
        }
        let parents: Vec<&str> = chain.iter().map(String::as_str).collect();
        let name = format!("c{number}");
        ground.container(&name, &parents)?;
        let shown = Tree::read(ground.mount(&name, &parents)?.fd())?.without_directory_times();
        shown.must_equal(&model.tree()?, &format!("a container on \"{story}\""))?;
    }
    Ok(())
}

fn delete_everything(ground: &Ground<'_>) -> Outcome {
    let names = ["a", "b", "c"];
    let fill = |to: crate::writer::Writer<'_>, content: &str| {
        for name in names {
            to.dir(name)?;
            to.file(&format!("{name}/f"), content)?;
            to.dir(&format!("{name}/sub"))?;
            to.file(&format!("{name}/sub/{content}"), content)?;
        }
        Ok(())
    };
    ground.layer("one", &[], |target| fill(target.target, "one"))?;
    ground.layer("two", &["one"], |target| {
        names.iter().try_for_each(|name| {
            crate::whiteout::ensure_dir(target.target, name)?;
            target.target.file(&format!("{name}/g"), "two")
        })
    })?;
    ground.container("c", &["two", "one"])?;
    let mounted = ground.mount("c", &["two", "one"])?;
    for name in names {
        crate::whiteout::delete(mounted.writer(), Whiteout::Direct, name)?;
    }
    ensure!(Tree::read(mounted.fd())?.nodes.len() == 1, "a container that deleted everything is not empty");
    drop(mounted);
    let mounted = ground.mount("c", &["two", "one"])?;
    ensure!(Tree::read(mounted.fd())?.nodes.len() == 1, "what a container deleted comes back when it is mounted again");
    fill(mounted.writer(), "three")?;
    let seen = Tree::read(mounted.fd())?;
    ensure!(seen.nodes.len() == 1 + 4 * names.len(), "what was made again is not alone: {:?}", seen.nodes.keys());
    drop(mounted);
    if !ground.info().caps.contains(Caps::PROMOTE) {
        return Ok(());
    }
    ground.promote("c", &["two", "one"], "three")?;
    ground.read_view(&["three", "two", "one"])?.must_equal(&seen, "the container as a layer")
}
