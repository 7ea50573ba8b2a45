//! What must hold of a store after a command was struck on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::cases::{Again, Case, Effect, words};
use super::ground::Site;
use crate::sh;

/// What a store shows: its images by name and its containers by name with their states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Image IDs by name; images without one are left to garbage collection.
    pub images: BTreeMap<String, String>,
    pub containers: BTreeMap<String, String>,
}

impl State {
    /// Asks the store.
    pub fn of(site: &Site) -> Result<Self> {
        let pairs = |lines: Vec<String>| -> BTreeMap<String, String> {
            lines.iter().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
        };
        let images = ["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"];
        let mut images = pairs(site.lines(&images)?);
        images.retain(|name, _| !name.contains("<none>"));
        let containers = pairs(site.lines(&["ps", "-a", "--format", "{{.Names}} {{.State}}"])?);
        Ok(Self { images, containers })
    }

    /// What matters of it: IDs of images that a command makes depend on the time, so names stand for those.
    fn without(&self, new: &BTreeSet<String>, living: Option<&str>) -> Self {
        let mut state = self.clone();
        for (name, id) in &mut state.images {
            if new.contains(name) {
                *id = "new".to_owned();
            }
        }
        state.containers.retain(|name, _| Some(name.as_str()) != living);
        state
    }
}

/// What is known of a case from a run that nothing disturbed.
#[derive(Debug, Clone)]
pub struct Known {
    pub before: State,
    pub after: State,
    /// The images that had been acknowledged, as `save` writes them.
    pub archives: BTreeMap<String, Vec<u8>>,
    /// What an emptied store consists of.
    pub empty: BTreeSet<String>,
}

/// The images that a store has by name, each as `save` writes it.
pub fn archives(site: &Site, state: &State) -> Result<BTreeMap<String, Vec<u8>>> {
    let ids: BTreeSet<&String> = state.images.values().collect();
    ids.into_iter().map(|id| Ok((id.clone(), site.read(&["save", id])?))).collect()
}

/// Looks at everything once; the error says what is wrong.
pub fn check(case: &Case, site: &Site, files: &Path, known: &Known) -> Result<()> {
    let made = containers_on_disk(site);
    let seen = State::of(site).context("the store does not answer")?;
    effect(case, &seen, known)?;
    // What a repair had not come to is still damaged, and repaired by the next one.
    if !case.damaged {
        sound(site)?;
    }
    acknowledged(site, &seen, known)?;
    again(case, site, files, known)?;
    sound(site)?;
    clean(site, &made, &known.empty)
}

/// The same for a store that has been pruned since, which may have taken containers and cached steps away.
pub fn check_after_prune(case: &Case, site: &Site, files: &Path, known: &Known) -> Result<()> {
    let made = containers_on_disk(site);
    let seen = State::of(site).context("the store does not answer")?;
    let lost: Vec<&String> = known
        .after
        .images
        .keys()
        .filter(|name| known.before.images.contains_key(*name) && !seen.images.contains_key(*name))
        .collect();
    ensure!(lost.is_empty(), "LOSS: images {lost:?} are gone");
    sound(site)?;
    acknowledged(site, &seen, known)?;
    if ["load", "pull", "import", "build", "tag", "create", "run", "run-rm"].contains(&case.name) {
        again(case, site, files, known)?;
    }
    sound(site)?;
    clean(site, &made, &known.empty)
}

/// The command took effect wholly or not at all.
fn effect(case: &Case, seen: &State, known: &Known) -> Result<()> {
    let (before, after) = (&known.before, &known.after);
    let new: BTreeSet<String> = after
        .images
        .iter()
        .filter(|(name, _)| !before.images.contains_key(*name))
        .map(|(name, _)| name.clone())
        .collect();
    let living = if let Effect::Living(name) = case.effect { Some(name) } else { None };
    let bare = |state: &State| state.without(&new, living);
    let (was, became, is) = (bare(before), bare(after), bare(seen));
    let whole = match case.effect {
        Effect::Atomic | Effect::Living(_) => is == was || is == became,
        Effect::Each => {
            let between =
                |is: &BTreeMap<String, String>, was: &BTreeMap<String, String>, became: &BTreeMap<String, String>| {
                    let names: BTreeSet<&String> = is.keys().chain(was.keys()).chain(became.keys()).collect();
                    names.into_iter().all(|name| is.get(name) == was.get(name) || is.get(name) == became.get(name))
                };
            between(&is.images, &was.images, &became.images)
                && between(&is.containers, &was.containers, &became.containers)
        }
    };
    ensure!(whole, "LOSS: half an effect: {is:?}, which is neither {was:?} nor {became:?}");
    Ok(())
}

/// `system check` is clean, or makes the store so; nothing but garbage may be found.
pub fn sound(site: &Site) -> Result<()> {
    let found = site.output(&["system", "check"])?;
    if found.status.success() {
        return Ok(());
    }
    let said = format!("{}{}", String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
    ensure!(!said.lines().any(|line| line.starts_with("damaged")), "LOSS: `system check` found damage: {said}");
    site.output(&["system", "check", "--repair"])?;
    site.read(&["system", "check"]).context("`system check --repair` did not mend the store").map(drop)
}

/// Every acknowledged image that is still there reads back byte by byte.
fn acknowledged(site: &Site, seen: &State, known: &Known) -> Result<()> {
    let there: BTreeSet<&String> = seen.images.values().collect();
    for (id, archive) in known.archives.iter().filter(|(id, _)| there.contains(id)) {
        let read = site.read(&["save", id]).with_context(|| format!("LOSS: image {id} cannot be read"))?;
        ensure!(read == *archive, "LOSS: image {id} reads back differently");
    }
    for id in there.into_iter().filter(|id| !known.archives.contains_key(*id)) {
        site.read(&["save", id]).with_context(|| format!("LOSS: new image {id} cannot be read"))?;
    }
    Ok(())
}

/// The same command works now.
fn again(case: &Case, site: &Site, files: &Path, known: &Known) -> Result<()> {
    let seen = State::of(site)?;
    match case.again {
        Again::Same => {}
        Again::UnlessDone
            if seen.images.len() == known.after.images.len()
                && seen.containers.len() == known.after.containers.len()
                && seen.containers.keys().eq(known.after.containers.keys()) =>
        {
            return Ok(());
        }
        Again::UnlessDone => {}
        Again::AfterRemoving(container) if seen.containers.contains_key(container) => {
            // A container with --rm may go by itself at this very moment.
            let removed = site.output(&["rm", "-f", "-v", container])?;
            let gone = !State::of(site)?.containers.contains_key(container);
            ensure!(gone, "`{container}` cannot be removed: {}", String::from_utf8_lossy(&removed.stderr));
        }
        Again::AfterRemoving(_) => {}
    }
    site.read(&words(case.command, files)).context("the same command fails now")?;
    shows(case, site)
}

/// What a case did can be seen.
pub fn shows(case: &Case, site: &Site) -> Result<()> {
    if let Some((command, words)) = case.shows {
        let said = site.read(command)?;
        ensure!(String::from_utf8_lossy(&said).contains(words), "LOSS: {command:?} does not say `{words}`");
    }
    Ok(())
}

/// After everything is removed, an empty store is left and nothing outside it.
pub fn clean(site: &Site, made: &BTreeSet<String>, empty: &BTreeSet<String>) -> Result<()> {
    let mut made = made.clone();
    made.extend(containers_on_disk(site));
    removed(site)?;
    let left = contents(site)?;
    let leaked: Vec<&String> = left.difference(empty).collect();
    ensure!(leaked.is_empty(), "LEAK: {leaked:?}");
    for id in &made {
        if let Some(group) = control_group(id) {
            bail!("LEAK: control group {group}");
        }
    }
    let mark = site.directory.display().to_string();
    let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
    if let Some(mount) = mounts.lines().find(|line| line.contains(&mark)) {
        bail!("LEAK: mount {mount}");
    }
    if let Some(process) = processes(&mark) {
        bail!("LEAK: process {process}");
    }
    Ok(())
}

/// Removes everything a store has, as a person would.
pub fn removed(site: &Site) -> Result<()> {
    for container in site.lines(&["ps", "-aq"])? {
        let _gone_already = site.output(&["rm", "-f", "-v", &container])?;
    }
    let images: BTreeSet<String> = site.lines(&["images", "-aq", "--no-trunc"])?.into_iter().collect();
    for image in images {
        site.read(&["rmi", "-f", &image])?;
    }
    site.read(&["system", "prune", "-a", "-f"]).map(drop)
}

/// Every path of a store and its run root but the database's own files, whose number is its own business, with the
/// sizes of files.
pub fn contents(site: &Site) -> Result<BTreeSet<String>> {
    let mut contents = BTreeSet::new();
    for (name, directory) in [("root", site.root()), ("run", site.run_root())] {
        let (file, other) = (format!("{name}/%P %s\\n"), format!("{name}/%P/\\n"));
        let found = sh::read(
            sh::command(&["find"]).arg(directory).args(["-type", "f", "-printf", &file, "-o", "-printf", &other]),
        )?;
        // What starts containers keeps compiled filters there, and every command tells what it did; that is no part of any
        // container.
        let own = |line: &&str| !["root/db/", "run/cache/", "run/events-"].iter().any(|path| line.starts_with(path));
        contents.extend(found.lines().filter(own).map(anonymous));
    }
    Ok(contents)
}

/// The store's identity is in names of marks, and another store has another.
fn anonymous(line: &str) -> String {
    let mut words = String::new();
    for part in line.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        if digits.len() == 32 { words.push_str(&part.replacen(digits, "ID", 1)) } else { words.push_str(part) }
    }
    words
}

/// The names of everything that a command has begun as a container.
pub fn containers_on_disk(site: &Site) -> BTreeSet<String> {
    let directories = [site.root().join("containers"), site.run_root().join("containers")];
    let entries = directories.iter().filter_map(|directory| fs_err::read_dir(directory).ok()).flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn control_group(id: &str) -> Option<String> {
    let hierarchies = fs_err::read_dir("/sys/fs/cgroup").ok()?.flatten().map(|entry| entry.path());
    let tops = hierarchies.chain(["/sys/fs/cgroup".into()]);
    tops.map(|top| top.join("mica").join(id)).find(|group| group.exists()).map(|group| group.display().to_string())
}

/// A process of ours that has to do with this store.
fn processes(mark: &str) -> Option<String> {
    for entry in fs_err::read_dir("/proc").ok()?.flatten() {
        let path = entry.path();
        let exe = fs_err::read_link(path.join("exe")).unwrap_or_default();
        if !super::tracer::is_our_program(&exe) {
            continue;
        }
        let arguments = fs_err::read(path.join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&arguments).contains(mark);
        let open = fs_err::read_dir(path.join("fd")).into_iter().flatten().flatten();
        let holds = open
            .filter_map(|fd| fs_err::read_link(fd.path()).ok())
            .any(|target| target.to_string_lossy().contains(mark));
        if named || holds {
            return Some(format!("{} {}", path.display(), String::from_utf8_lossy(&arguments).replace('\0', " ")));
        }
    }
    None
}
