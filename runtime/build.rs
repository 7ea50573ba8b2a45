//! Builds the small init of `--init` (`init/main.rs`) as a static program, which `mica-monitor` carries in itself: nothing
//! has to be installed beside it, and no other engine's init has to be there.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=init/main.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let output = Path::new(&variable("OUT_DIR")).join("init");
    let mut compiler = Command::new(variable("RUSTC"));
    compiler.args(["--edition=2024", "--crate-name=init", "--crate-type=bin", "-Copt-level=s", "-Cpanic=abort"]);
    compiler.args(["-Cstrip=symbols", "-Clto=fat", "-Ccodegen-units=1", "-Ctarget-feature=+crt-static"]);
    compiler.arg("-Crelocation-model=static").arg("--target").arg(variable("TARGET"));
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        compiler.arg(format!("-Clinker={linker}"));
    }
    let status = compiler.arg("-o").arg(&output).arg("init/main.rs").status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the init did not compile; it is linked statically, so the C library's archive must be there (Debian: libc6-dev)"
    );
}
