//! A point: one case, one of its calls, and what happens there. It is written as `load/117/kill-tree-before`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use nix::errno::Errno;

use super::cases::{CASES, Case};
use super::tracer::{Fault, Whom};

/// One experiment.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub case: &'static Case,
    pub call: usize,
    pub fault: Fault,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.case.name, self.call)?;
        match self.fault {
            Fault::Kill { after, whom } => {
                let whom = match whom {
                    Whom::Tree => "tree",
                    Whom::Client => "client",
                    Whom::Caller => "caller",
                };
                write!(f, "kill-{whom}-{}", if after { "after" } else { "before" })
            }
            Fault::Error { errno, for_good } => {
                write!(
                    f,
                    "{}-{}",
                    if errno == Errno::EIO { "eio" } else { "enospc" },
                    if for_good { "on" } else { "once" }
                )
            }
        }
    }
}

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [case, call, fault] = parts[..] else { bail!("`{text}` is no point: CASE/CALL/FAULT") };
        let case = named(case)?;
        let words: Vec<&str> = fault.split('-').collect();
        let fault = match words[..] {
            ["kill", whom, when] => Fault::Kill {
                after: when == "after",
                whom: match whom {
                    "tree" => Whom::Tree,
                    "client" => Whom::Client,
                    "caller" => Whom::Caller,
                    _ => bail!("`{whom}`: tree | client | caller"),
                },
            },
            [errno, times] => {
                Fault::Error { errno: if errno == "eio" { Errno::EIO } else { Errno::ENOSPC }, for_good: times == "on" }
            }
            _ => bail!("`{fault}` is no fault"),
        };
        Ok(Self { case, call: call.parse().context("the number of a call")?, fault })
    }
}

/// A case by its name.
pub fn named(name: &str) -> anyhow::Result<&'static Case> {
    let names = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(" | ");
    CASES.iter().find(|case| case.name == name).with_context(|| format!("no case `{name}`: {}", names()))
}

/// Chooses so many of `all` calls: half of them evenly, the others from the end, where the effect becomes visible.
pub fn choose(all: usize, wanted: usize, seed: usize) -> Vec<usize> {
    if wanted >= all {
        return (0..all).collect();
    }
    let tail = wanted / 2;
    let even = wanted - tail;
    let mut chosen: Vec<usize> = (all - tail..all).collect();
    let rest = all - tail;
    chosen.extend((0..even).map(|index| (index * rest / even + seed % (rest / even).max(1)).min(rest - 1)));
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}
