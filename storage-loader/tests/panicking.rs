//! A driver in Rust that panics in every verb: each panic is an error of its own kind, and the host goes on.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mica_storage_api::{
    Caps, ErrorKind, Flow, Host, Info, Key, Left, MountArgs, ObjectKind, OpenArgs, Result, Stage, StageArgs, StageKind,
    StorageDriver, Target, Usage, Whiteout,
};
use mica_storage_loader::{Driver, Error, Plugin};

mica_storage_api::export_driver!(Panicking);

#[derive(Debug)]
struct Panicking(OwnedFd);

#[derive(Debug)]
struct PanickingStage(OwnedFd);

impl StorageDriver for Panicking {
    const NAME: &'static CStr = c"panicking";
    type Stage = PanickingStage;

    fn open(_host: Host, args: &OpenArgs<'_>) -> Result<(Self, Info)> {
        assert!(args.options.is_empty(), "open with options");
        let info = Info {
            caps: Caps::empty(),
            max_parents: 0,
            whiteout: Whiteout::Direct,
            backing_fs: "x".into(),
            detail: String::new(),
        };
        Ok((Self(args.root.try_clone_to_owned().unwrap()), info))
    }

    fn stage_begin(&self, args: &StageArgs<'_>) -> Result<PanickingStage> {
        assert!(args.kind != StageKind::Rw, "stage_begin of an rw object");
        Ok(PanickingStage(self.0.try_clone().unwrap()))
    }

    fn mount(&self, _args: &MountArgs<'_>) -> Result<OwnedFd> {
        panic!("mount")
    }

    fn usage(&self, _kind: ObjectKind, _id: Key<'_>) -> Result<Usage> {
        unreachable!("usage")
    }

    fn remove(&self, _kind: ObjectKind, _id: Key<'_>) -> Result<()> {
        std::panic::panic_any(7)
    }

    fn reap(&self, budget: Duration) -> Result<Left> {
        assert!(budget.is_zero(), "reap");
        Ok(Left::Nothing)
    }

    fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        yield_object(ObjectKind::Layer, Key::new("first")?);
        panic!("list")
    }
}

impl Stage for PanickingStage {
    fn target(&self) -> Target<'_> {
        Target { dir: self.0.as_fd(), merged: None, whiteout: Whiteout::Direct }
    }

    fn commit(self, _key: Key<'_>) -> Result<u64> {
        panic!("commit")
    }

    fn abort(self) {
        panic!("abort")
    }
}

fn key(name: &str) -> Key<'_> {
    Key::new(name).unwrap()
}

#[test]
fn every_panic_is_an_error_with_its_place() {
    let root = tempfile::tempdir().unwrap();
    let plugin = Plugin::builtin(plugin()).unwrap();
    let open = mica_storage_loader::OpenArgs::new(root.path());
    let options = ["a=b".to_owned()];
    let refused = plugin.open(&mica_storage_loader::OpenArgs { options: &options, ..open.clone() });
    expect(refused.map(drop), "open", "open with options");

    let driver: Driver = plugin.open(&open).unwrap();
    let layer = StageArgs::new(StageKind::Layer, key("s"), &[]);
    expect(driver.mount(&MountArgs::view(&[])).map(drop), "mount", "mount");
    expect(driver.usage(ObjectKind::Rw, key("a")).map(drop), "usage", "usage");
    expect(driver.remove(ObjectKind::Rw, key("a")), "remove", "no message");
    expect(driver.reap(Duration::from_secs(1)).map(drop), "reap", "reap");
    let rw = driver.stage_begin(&StageArgs::new(StageKind::Rw, key("s"), &[]));
    expect(rw.map(drop), "stage_begin", "stage_begin of an rw object");
    expect(driver.stage_begin(&layer).unwrap().commit(key("k")).map(drop), "stage_commit", "commit");
    let mut seen = 0;
    let list = driver.list(&mut |_, _| {
        seen += 1;
        Flow::Continue
    });
    expect(list, "list", "list");
    assert_eq!(seen, 1);

    // An abort has no error to give; the panic ends at the boundary.
    driver.stage_begin(&layer).unwrap().abort();
    assert!(!driver.reap(Duration::ZERO).unwrap());
}

fn expect(outcome: std::result::Result<(), Error>, verb: &str, message: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic, "{verb}");
    assert_eq!(error.to_string(), format!("storage driver `panicking`: {verb} failed"));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("the driver panicked at storage-loader/tests/panicking.rs:"), "{cause}");
    assert!(cause.ends_with(message), "{cause}");
}
