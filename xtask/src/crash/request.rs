//! What was asked of `cargo xtask crash`, `enospc` and `power`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::cases::{CASES, Case};
use super::ground;
use super::point::{self, Point};
use crate::workspace;

/// What was asked for.
#[derive(Debug)]
pub struct Request {
    pub points: usize,
    pub fs: String,
    pub driver: Option<String>,
    pub jobs: usize,
    pub seed: usize,
    pub spread: bool,
    pub debug: bool,
    pub list: bool,
    pub cases: Vec<&'static Case>,
    pub at: Option<Point>,
}

impl Request {
    /// Reads the arguments.
    pub fn parse(args: &[String]) -> Result<Self> {
        let mut request = Self {
            points: 300,
            fs: "ext4".to_owned(),
            driver: None,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            seed: std::process::id() as usize,
            spread: false,
            debug: false,
            list: false,
            cases: Vec::new(),
            at: None,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--points" => request.points = value()?.parse().context("--points")?,
                "--fs" => request.fs = value()?.clone(),
                "--storage-driver" => request.driver = Some(value()?.clone()),
                "--jobs" => request.jobs = value()?.parse().context("--jobs")?,
                "--seed" => request.seed = value()?.parse().context("--seed")?,
                "--case" => request.cases.push(point::named(value()?)?),
                "--at" => request.at = Some(value()?.parse()?),
                "--spread" => request.spread = true,
                "--debug" => request.debug = true,
                "--list" => request.list = true,
                other => bail!("no option `{other}`"),
            }
        }
        if let Some(point) = &request.at {
            request.cases = vec![point.case];
        }
        if request.cases.is_empty() {
            request.cases = CASES.iter().collect();
        }
        Ok(request)
    }

    /// The driver that is tried.
    pub fn driver(&self) -> &str {
        self.driver.as_deref().unwrap_or_else(|| ground::usual_driver(&self.fs))
    }

    /// The program that is tried.
    pub fn binary(&self) -> Result<PathBuf> {
        if self.debug {
            return workspace::target().join("debug/mica").canonicalize().context("`cargo build --workspace` makes it");
        }
        workspace::mica_binary().or_else(|_| workspace::build_release())
    }
}
