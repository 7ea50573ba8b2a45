//! What a driver's own `tests/conformance.rs` is made of: the suite once through the linked table, once through the built `.so`.

use std::path::{Path, PathBuf};
use std::process::Command;

use mica_storage_api::abi::Exported;
use mica_storage_loader::Plugin;

use crate::{Report, Subject, WorkerCommand, run, serve_worker};

/// Says which plugin a worker process should use; not set for the linked one.
const LIBRARY: &str = "MICA_CONFORMANCE_LIBRARY";

/// A driver crate under its own test.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    /// The driver's name, as in `libmica_storage_<name>.so`.
    pub name: &'static str,
    /// Its `plugin`.
    pub linked: fn() -> &'static Exported,
}

impl Driver {
    /// The body of the test that must be called `worker`.
    pub fn worker(&self) {
        serve_worker(|| match std::env::var_os(LIBRARY) {
            Some(library) => Plugin::load(Path::new(&library)),
            None => Plugin::builtin((self.linked)()),
        });
    }

    /// Runs the suite through the linked table, then through the library, below `scratch`; panics with the report on a failure.
    pub fn must_conform(&self, scratch: &Path, options: &[&str]) {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let linked = Plugin::builtin((self.linked)()).expect("the linked table is sound");
        self.judge(&linked, scratch, &options, &[]);
        let library = self.library();
        let loaded = Plugin::load(&library).unwrap_or_else(|error| panic!("{}", crate::verdict::words(&error)));
        let library = library.to_string_lossy().into_owned();
        self.judge(&loaded, scratch, &options, &[(LIBRARY.to_owned(), library)]);
    }

    fn judge(&self, plugin: &Plugin, scratch: &Path, options: &[String], environment: &[(String, String)]) {
        let args = ["worker", "--exact", "--nocapture"].map(str::to_owned).to_vec();
        let worker = WorkerCommand { args, environment: environment.to_vec() };
        let report: Report = run(&Subject { options, ..Subject::new(plugin, &worker) }, scratch, &mut |_| {})
            .unwrap_or_else(|error| panic!("{}", crate::verdict::words(&error)));
        assert!(report.passed(), "{} by {:?}:\n{report}", self.name, plugin.path());
        let left: Vec<_> = fs_err::read_dir(scratch).expect("the scratch directory can be read").collect();
        assert!(left.is_empty(), "the suite left {left:?}");
    }

    /// The library cargo has built beside the tests of the same package, with which it shares one compilation.
    ///
    /// Where some other runner moved the test away from it, cargo is asked to build it.
    fn library(&self) -> PathBuf {
        let name = format!("libmica_storage_{}.so", self.name);
        let test = std::env::current_exe().expect("the running test has a file");
        let built = || test.ancestors().skip(1).take(2).map(|dir| dir.join(&name)).find(|path| path.is_file());
        if let Some(path) = built() {
            return path;
        }
        let target = test.ancestors().nth(3).expect("a test lies in target/<profile>/deps");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--package", &format!("mica-storage-{}", self.name), "--target-dir"])
            .arg(target)
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "cargo does not build `{name}`");
        built().unwrap_or_else(|| panic!("cargo built `{name}` somewhere else than in {}", target.display()))
    }
}
