//! `cargo xtask fuzz`: the targets of the crate `fuzz`, driven by libFuzzer with coverage feedback.
//!
//! cargo-fuzz would need a nightly compiler for its address sanitizer. What it hunts is memory errors, and the targets are
//! safe Rust; coverage instrumentation alone works with the compiler that is here.

use anyhow::{Context, Result, ensure};

use crate::workspace::{cargo, root, target};
use crate::{output, sh};

/// What cargo-fuzz passes too: counters for edges, and comparisons, which is how the fuzzer learns magic words.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";
/// How long, unless told.
const SECONDS: &str = "60";

/// Runs one target; what libFuzzer found interesting is kept below `target/fuzz/corpus` for the next run.
pub fn run(args: &[String]) -> Result<()> {
    let seeds = root().join("fuzz/seeds");
    let Some(name) = args.first() else {
        for entry in fs_err::read_dir(&seeds)? {
            output::line(entry?.file_name().to_string_lossy());
        }
        return Ok(());
    };
    let seeds = seeds.join(name);
    ensure!(seeds.is_dir(), "no target `{name}`: `cargo xtask fuzz` lists them");
    let seconds = args.get(1).map_or(SECONDS, String::as_str);
    seconds.parse::<u32>().with_context(|| format!("`{seconds}` is not a number of seconds"))?;

    let compiler = sh::read(&mut sh::command(&["rustc", "--version", "--verbose"]))?;
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not tell its host")?;
    let ground = target().join("fuzz");
    // With a target named, the flags do not reach build scripts and procedural macros.
    let mut build = cargo(&["build", "--release", "--target", host, "--manifest-path", "fuzz/libfuzzer/Cargo.toml"]);
    sh::run(build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &ground))?;

    let corpus = ground.join("corpus").join(name);
    fs_err::create_dir_all(&corpus)?;
    let mut fuzzer = std::process::Command::new(ground.join(host).join("release/mica-libfuzzer"));
    fuzzer.arg(&corpus).arg(&seeds).args(["-max_len=65536", "-timeout=10", "-rss_limit_mb=4096"]);
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", ground.display()));
    sh::run(fuzzer.env("MICA_FUZZ_TARGET", name))
}
