//! `stats`: what a container uses at this moment.

use crate::Result;
use crate::cgroup::{Figures, Groups};
use crate::container::ContainerRecord;
use crate::{Engine, cgroup};

/// One look at a container.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The container.
    pub record: ContainerRecord,
    /// What it uses; `None` when it does not run.
    pub figures: Option<Figures>,
}

impl Engine {
    /// Looks at a container.
    pub async fn sample(&self, container: &str) -> Result<Sample> {
        let (record, state) = self.look_up(container).await?;
        self.blocking(move |_| {
            let figures = state.pid().map(|pid| measure(&record, pid));
            Ok(Sample { record, figures })
        })
        .await
    }
}

fn measure(record: &ContainerRecord, pid: i32) -> Figures {
    let mut figures = Groups::of(&record.id, pid).measure();
    let namespace = |pid: &str| fs_err::read_link(format!("/proc/{pid}/ns/net")).ok();
    // What the host's interfaces carry is not the container's.
    if namespace(&pid.to_string()) != namespace("self") {
        let text = fs_err::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        (figures.received, figures.sent) = cgroup::network(&text);
    }
    figures
}
