//! libFuzzer's entry; the target is named by `MICA_FUZZ_TARGET`, because libFuzzer owns the command line.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&mica_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("MICA_FUZZ_TARGET").unwrap_or_default();
    mica_fuzz::target(&name).unwrap_or_else(|| panic!("MICA_FUZZ_TARGET=`{name}` names no target"))
});

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
