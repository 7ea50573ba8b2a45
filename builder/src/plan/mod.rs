//! The plan: a Dockerfile and its base images as a graph of nodes, each fully expanded and checked before the first runs.
//!
//! Making it is a pure function of text, request and base configs. What a base image's config says (environment,
//! triggers) is known here; what its files say is not. A node names the nodes it waits for, so whoever runs the plan
//! needs no other order than that.

pub(crate) mod config;
mod lower;
pub(crate) mod stages;
mod transfer;

use std::collections::BTreeMap;

use mica_engine::build::{Base, Stack};
use mica_engine::image::ImageConfig;
use serde::Serialize;

use crate::syntax::ast::Span;

pub(crate) use lower::lower;
pub(crate) use transfer::{CopyWork, Inline, Owner, Pattern, Sources};

/// A number of a node: its place in [`Plan::nodes`], where every node comes after those it waits for.
pub(crate) type NodeId = usize;

/// Base images by the name `FROM` or `--from` gives them and the platform.
pub(crate) type Bases = BTreeMap<(String, Option<String>), Base>;

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub nodes: Vec<Node>,
    /// The node whose stack is the image.
    pub result: NodeId,
    /// The image's config, without its layers and the history of this build.
    pub config: ImageConfig,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Node {
    /// The line that asked for it.
    pub span: Span,
    /// What a person sees; `None` for steps that only change the config.
    pub title: Option<String>,
    /// The node before it in its stage.
    pub parent: Option<NodeId>,
    /// The node whose files it reads.
    pub reads: Option<NodeId>,
    /// What to do.
    pub work: Work,
    /// The entry in the image's history; bases bring their own.
    pub history: Option<String>,
}

/// What a node does to the stack of the node before it.
#[derive(Debug)]
pub(crate) enum Work {
    /// Starts from a stack that exists.
    Base(Stack),
    /// Runs a program.
    Run(RunWork),
    /// Copies files.
    Copy(Box<CopyWork>),
    /// Makes a directory if it is missing.
    Directory(String),
    /// Changes the config only.
    Config,
}

/// A RUN step, and all that its result depends on beside the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RunWork {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub network: String,
    pub add_hosts: Vec<String>,
    /// Environment that reaches the program and is no part of the step's identity: proxies nobody declared.
    #[serde(skip)]
    pub silent_env: Vec<String>,
}

impl Plan {
    /// The chain of nodes from a base to the result.
    pub fn lineage(&self) -> Vec<NodeId> {
        let mut chain = vec![self.result];
        while let Some(parent) = self.nodes[chain[chain.len() - 1]].parent {
            chain.push(parent);
        }
        chain.reverse();
        chain
    }
}
