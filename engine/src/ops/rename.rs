//! `rename`: another name for a container, at once for whoever asks for it in its networks.

use crate::container::{ContainerRecord, EndpointSpec};
use crate::events::Actor;
use crate::network::{Endpoint, NetworkState};
use crate::runtime::NAME;
use crate::store::{Flush, containers};
use crate::{Engine, Error, Result};

impl Engine {
    /// Gives a container a new name. One that runs keeps its host name and the files that say it, as Docker has it.
    pub async fn rename(&self, container: &str, name: &str) -> Result<()> {
        let (container, name) = (container.to_owned(), name.trim_start_matches('/').to_owned());
        self.blocking(move |engine| {
            // A start that is under way has the old name in its hands.
            let (_claim, mut record) = engine.store().claim_container(&container)?;
            let runs = engine.state_of_claimed(&record)?.is_running();
            engine.store().write(Flush::Now, |db| containers::rename(db, &record.id, &name))?;
            let old = std::mem::replace(&mut record.name, name);
            if runs {
                engine.rename_running(&record, &old)?;
            }
            engine.tell("container", "rename", Actor::container(&record).with("oldName", format!("/{old}")));
            Ok(())
        })
        .await
    }

    fn rename_running(&self, record: &ContainerRecord, old: &str) -> Result<()> {
        let run_dir = self.store().directories(&record.id).run;
        let path = run_dir.join(NAME);
        fs_err::write(&path, &record.name).map_err(Error::io("write", path))?;
        let mut state = NetworkState::read(&run_dir)?;
        if state.endpoints.is_empty() {
            return Ok(());
        }
        for endpoint in &mut state.endpoints {
            let asked = record.spec.networks.iter().find(|asked| asked.network == endpoint.network);
            call(endpoint, asked, old, &record.name);
        }
        self.options().network.rename(&self.party(record), &state.endpoints)?;
        state.write(&run_dir)
    }
}

/// Puts the new name in the place of the old one, which stays where it was asked for as an alias.
fn call(endpoint: &mut Endpoint, asked: Option<&EndpointSpec>, old: &str, new: &str) {
    if endpoint.names.is_empty() {
        return;
    }
    let is_alias = asked.is_some_and(|asked| asked.aliases.iter().any(|alias| alias == old));
    endpoint.names.retain(|name| name != new && (name != old || is_alias));
    endpoint.names.insert(0, new.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_takes_the_place_of_the_old_one() {
        for (before, aliases, wanted) in [
            (&["web", "www", "abc"][..], &["www"][..], &["front", "www", "abc"][..]),
            (&["web", "abc"], &["web"], &["front", "web", "abc"]),
            (&["web", "front", "abc"], &["front"], &["front", "abc"]),
            (&[], &[], &[]),
        ] {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let asked = EndpointSpec { aliases: owned(aliases), ..EndpointSpec::default() };
            let mut endpoint = Endpoint { names: owned(before), ..Endpoint::default() };
            call(&mut endpoint, Some(&asked), "web", "front");
            assert_eq!(endpoint.names, wanted, "{before:?}");
        }
    }
}
