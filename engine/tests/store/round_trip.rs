//! Archives in and out: the bytes, names and digests that go in come out.

use std::sync::Arc;

use mica_engine::ops::load::{ArchiveSource, Silent};
use mica_engine::ops::rmi::{RemoveImage, Removed};
use mica_engine::ops::save::{ArchiveFormat, SaveRequest, SaveTarget};
use mica_engine::{Kind, Reference};
use mica_layer::{Compression, Digest, Encoder, Tree};
use std::os::fd::AsFd;

use crate::ground::{
    DRIVERS, Ground, Image, Node, Sink, docker_archive, is_root, layer, oci_members, pack, read, sample, wait,
};

/// The tree of an image: everything a layer can carry.
fn tree(engine: &mica_engine::Engine, name: &str) -> Tree {
    let found = wait(engine.find_image(name)).unwrap();
    let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
    let view = wait(engine.view_mount(&chain)).unwrap();
    Tree::read(view.as_fd()).unwrap()
}

/// The archives have no entry for the root, so its time is that of the unpacking.
fn assert_same(one: &Tree, other: &Tree) {
    let diff = one.diff(other);
    let lines: Vec<&str> = diff.lines().filter(|line| !line[2..].starts_with("/ Directory 0755 0:0 ")).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn privileged_a_loaded_image_shows_its_layers_as_one_tree() {
    if !is_root() {
        return;
    }
    let mut trees = Vec::new();
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        let image = sample("sample:1");
        let loaded = ground.load(&engine, &docker_archive(std::slice::from_ref(&image))).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].image, Digest::sha256_of(image.config.to_string().as_bytes()));
        assert_eq!(loaded[0].references, [Reference::parse("sample:1").unwrap()]);

        let found = wait(engine.find_image("sample:1")).unwrap();
        let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
        let view = wait(engine.view_mount(&chain)).unwrap();
        assert_eq!(read(&view, "etc/kept").unwrap(), "kept", "{driver}");
        assert_eq!(read(&view, "etc/new").unwrap(), "new", "{driver}");
        assert_eq!(read(&view, "deep/er/file").unwrap(), "implicit parents", "{driver}");
        assert_eq!(read(&view, "link").unwrap(), "kept", "{driver}");
        assert_eq!(read(&view, "etc/gone").unwrap_err().kind(), std::io::ErrorKind::NotFound, "{driver}");
        trees.push(Tree::read(view.as_fd()).unwrap());
    }
    assert_same(&trees[0], &trees[1]);
}

#[test]
fn privileged_what_save_writes_load_reads() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    ground.load(&engine, &docker_archive(&[sample("one:1"), sample("registry.example:5000/two/three:2")])).unwrap();
    let names = ["one:1", "registry.example:5000/two/three:2"].map(String::from);
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        let save = || {
            let sink = Sink::default();
            let target = SaveTarget::Stream(Box::new(sink.clone()));
            wait(engine.save(SaveRequest::new(&names, format), target)).unwrap();
            Arc::try_unwrap(sink.0).unwrap().into_inner().unwrap()
        };
        let archive = save();
        assert_eq!(archive, save(), "the same image makes the same archive");
        let other = Ground::new("vfs");
        let fresh = other.engine();
        other.load(&fresh, &archive).unwrap();
        for name in &names {
            assert_eq!(
                wait(fresh.find_image(name)).unwrap(),
                wait(engine.find_image(name)).unwrap(),
                "{name} {format:?}"
            );
            assert_same(&tree(&fresh, name), &tree(&engine, name));
        }
    }
}

#[test]
fn privileged_compressed_archives_and_layers_are_told_by_content() {
    if !is_root() {
        return;
    }
    let image = sample("packed:1");
    let plain = pack(&oci_members(&image));
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let ground = Ground::new("overlay");
        let engine = ground.engine();
        let mut encoder = Encoder::new(compression, None, Vec::new()).unwrap();
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        let stream = std::io::Cursor::new(encoder.finish().unwrap());
        let loaded = wait(engine.load(ArchiveSource::Stream(Box::new(stream)), Arc::new(Silent))).unwrap();
        assert_eq!(loaded[0].references, [Reference::parse("packed:1").unwrap()], "{compression}");
        assert!(wait(engine.images(&[])).unwrap()[0].manifest.is_some());
    }
}

#[test]
fn privileged_images_share_what_they_have_in_common() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    let base = sample("base");
    let mut layers = base.layers.clone();
    layers.push(layer(&[Node::File("more", "more")]));
    ground.load(&engine, &docker_archive(&[base])).unwrap();
    let objects = || {
        ground
            .weight()
            .1
            .iter()
            .filter(|name| name.starts_with("drivers/overlay/layers/") && name.matches('/').count() == 3)
            .count()
    };
    assert_eq!(objects(), 3);
    ground.load(&engine, &docker_archive(&[Image::new("child", layers)])).unwrap();
    assert_eq!(objects(), 4, "the child adds its own layer");
}

#[test]
fn privileged_a_name_that_moves_is_reported_and_its_image_stays() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    let first = ground.load(&engine, &docker_archive(&[sample("app:1")])).unwrap();
    let second =
        ground.load(&engine, &docker_archive(&[Image::new("app:1", vec![layer(&[Node::File("x", "y")])])])).unwrap();
    assert_eq!(second[0].replaced, [(Reference::parse("app:1").unwrap(), first[0].image.clone())]);
    let dangling = wait(engine.images(&[("dangling".into(), "true".into())])).unwrap();
    assert_eq!(dangling.iter().map(|image| &image.id).collect::<Vec<_>>(), [&first[0].image]);
}

#[test]
fn privileged_removing_an_image_gives_every_byte_back() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        wait(engine.driver_name()).unwrap();
        let before = ground.weight();
        let loaded = ground.load(&engine, &docker_archive(&[sample("a:1")])).unwrap();
        wait(engine.tag("a:1", "b:2")).unwrap();
        let by_id = wait(engine.remove_image(loaded[0].image.hex(), RemoveImage::default())).unwrap_err();
        assert_eq!(by_id.kind(), Kind::Conflict, "two names");
        let removed = wait(engine.remove_image("a:1", RemoveImage::default())).unwrap();
        assert_eq!(removed, [Removed::Untagged(Reference::parse("a:1").unwrap())]);
        let removed = wait(engine.remove_image("b:2", RemoveImage::default())).unwrap();
        assert_eq!(
            removed[..2],
            [Removed::Untagged(Reference::parse("b:2").unwrap()), Removed::Deleted(loaded[0].image.clone())]
        );
        assert_eq!(ground.weight(), before, "{driver}");
        assert_eq!(wait(engine.find_image("b:2")).unwrap_err().kind(), Kind::NotFound);
    }
}

#[test]
fn privileged_images_are_found_by_name_and_id() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    let id = ground.load(&engine, &docker_archive(&[sample("library/thing:latest")])).unwrap()[0].image.clone();
    for name in ["thing", "docker.io/library/thing:latest", id.hex(), id.as_str(), id.short(), &id.hex()[..3]] {
        assert_eq!(wait(engine.find_image(name)).unwrap().id, id, "{name}");
    }
    for (name, kind) in [
        ("other", Kind::NotFound),
        ("thing:2", Kind::NotFound),
        ("Thing", Kind::InvalidInput),
        ("ffffffffffff0", Kind::NotFound),
    ] {
        assert_eq!(wait(engine.find_image(name)).unwrap_err().kind(), kind, "{name}");
    }
}
