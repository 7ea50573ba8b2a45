//! `build`: gathers the Dockerfile, the ignore file and the flags, and shows progress on standard error.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use mica_engine::build::BuildRequest;
use mica_engine::container::parse_add_host;
use mica_engine::ops::manifest::{CreateList, Existing};
use mica_engine::{Platform, Reference};
use mica_layer::Digest;

use crate::args::build::Build;
use crate::context::Context;
use crate::{files, output, progress, spec};

/// `build`.
pub(super) async fn run(context: &Context, args: &Build) -> anyhow::Result<()> {
    let source = Source::read(args)?;
    let tags: Vec<Reference> = args.tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<_, _>>()?;
    let platforms = platforms(args.platform.as_deref())?;
    let several = platforms.len() > 1;
    let request = BuildRequest {
        context: source.context,
        dockerfile: source.dockerfile,
        dockerfile_name: source.name,
        ignore: source.ignore,
        // Of several images none has the name: it is that of the list.
        tags: if several { Vec::new() } else { tags.iter().map(ToString::to_string).collect() },
        args: spec::pairs(&args.build_args)?,
        labels: spec::labels(&[], &args.labels)?,
        target: args.target.clone(),
        no_cache: args.no_cache,
        network: args.network.clone().unwrap_or_else(|| context.settings.network.clone()),
        pull: args.pull,
        platform: None,
        add_hosts: args.add_hosts.iter().map(|text| parse_add_host(text)).collect::<Result<_, _>>()?,
    };
    let engine = context.engine()?;
    let mut images = Vec::new();
    for platform in platforms {
        if let (true, false, Some(platform)) = (several, args.quiet, &platform) {
            output::warn(format!("building for {platform}"));
        }
        let shown = progress::of(args.progress, args.quiet);
        let outcome = engine.build(BuildRequest { platform, ..request.clone() }, shown.as_ref()).await;
        drop(shown);
        images.push(outcome?.image);
    }
    for tag in tags.iter().filter(|_| several) {
        let images = images.iter().map(ToString::to_string).collect();
        let name = tag.to_string();
        engine.create_list(CreateList { name, images, existing: Existing::Replace, ..CreateList::default() }).await?;
    }
    if let Some(path) = &args.iidfile {
        use std::io::Write as _;
        files::create(path)?.write_all(joined(&images).as_bytes())?;
    }
    if args.quiet {
        return output::line(joined(&images));
    }
    for tag in &tags {
        output::warn(format!("naming to {}", tag.familiar()));
    }
    images.iter().for_each(|image| output::warn(format!("writing image {image}")));
    Ok(())
}

/// The platforms to build for, each once; `None` for the builder's own.
fn platforms(text: Option<&str>) -> anyhow::Result<Vec<Option<String>>> {
    let Some(text) = text else { return Ok(vec![None]) };
    let mut platforms = Vec::new();
    for platform in text.split(',') {
        platform.parse::<Platform>()?;
        let platform = Some(platform.to_owned());
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// One a line.
fn joined(images: &[Digest]) -> String {
    images.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What a build reads before it begins.
struct Source {
    context: Option<PathBuf>,
    dockerfile: String,
    name: String,
    ignore: Option<String>,
}

impl Source {
    fn read(args: &Build) -> anyhow::Result<Self> {
        let from_stdin = args.file.as_deref().is_some_and(|file| file.as_os_str() == "-");
        if args.context == "-" {
            if args.file.is_some() {
                anyhow::bail!("invalid argument: can't use stdin for both build context and dockerfile");
            }
            return Ok(Self { context: None, dockerfile: read_stdin()?, name: "Dockerfile".to_owned(), ignore: None });
        }
        if ["http://", "https://", "git://", "git@", "github.com/"]
            .iter()
            .any(|prefix| args.context.starts_with(prefix))
        {
            anyhow::bail!("this version of mica builds from folders: fetch `{}` first", args.context);
        }
        let context = fs_err::canonicalize(&args.context)?;
        if !context.is_dir() {
            anyhow::bail!("the build context `{}` is not a folder", args.context);
        }
        if from_stdin {
            let ignore = ignore_file(&[context.join(".dockerignore")])?;
            return Ok(Self {
                context: Some(context),
                dockerfile: read_stdin()?,
                name: "Dockerfile".to_owned(),
                ignore,
            });
        }
        let path = dockerfile(args.file.as_deref(), &context)?;
        let mut beside = path.clone().into_os_string();
        beside.push(".dockerignore");
        let ignore = ignore_file(&[beside.into(), context.join(".dockerignore")])?;
        let name = args.file.as_deref().unwrap_or(Path::new("Dockerfile")).display().to_string();
        Ok(Self { dockerfile: fs_err::read_to_string(&path)?, name, ignore, context: Some(context) })
    }
}

/// The Dockerfile: as it was named, or in the context; there `Containerfile` serves too.
fn dockerfile(named: Option<&Path>, context: &Path) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        let inside = context.join(named);
        return Ok(if named.exists() || !inside.exists() { named.to_owned() } else { inside });
    }
    let places = ["Dockerfile", "Containerfile"].map(|name| context.join(name));
    match places.iter().find(|place| place.exists()) {
        Some(place) => Ok(place.clone()),
        None => Err(crate::failure::Advice::new(
            format!("no Dockerfile in `{}`", context.display()),
            "name one with `--file`",
        )
        .into()),
    }
}

/// The first ignore file that exists.
fn ignore_file(places: &[PathBuf]) -> anyhow::Result<Option<String>> {
    for place in places {
        match fs_err::read_to_string(place) {
            Ok(text) => return Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// A Dockerfile on standard input; an archive there would be a context, which this version does not take.
fn read_stdin() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        anyhow::bail!("a Dockerfile on standard input was asked for, but standard input is a terminal");
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let is_archive = bytes.starts_with(&[0x1f, 0x8b]) || bytes.get(257..262) == Some(b"ustar");
    if is_archive {
        anyhow::bail!(
            "this version of mica takes a Dockerfile on standard input, not an archive: unpack it and build from the folder"
        );
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_is_found_where_docker_looks() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(dockerfile(None, folder.path()).is_err());
        fs_err::write(folder.path().join("Containerfile"), "").expect("written");
        assert_eq!(dockerfile(None, folder.path()).expect("found"), folder.path().join("Containerfile"));
        fs_err::write(folder.path().join("Dockerfile"), "").expect("written");
        assert_eq!(dockerfile(None, folder.path()).expect("found"), folder.path().join("Dockerfile"));
        fs_err::write(folder.path().join("x.df"), "").expect("written");
        assert_eq!(dockerfile(Some(Path::new("x.df")), folder.path()).expect("found"), folder.path().join("x.df"));
    }

    #[test]
    fn platforms_stand_between_commas() {
        for (text, expected) in [
            (None, Some(vec![None])),
            (Some("arm64"), Some(vec![Some("arm64")])),
            (Some("linux/amd64,linux/arm64,linux/amd64"), Some(vec![Some("linux/amd64"), Some("linux/arm64")])),
            (Some("linux/amd64,"), None),
            (Some("a/b/c/d"), None),
        ] {
            let expected: Option<Vec<Option<String>>> =
                expected.map(|all| all.into_iter().map(|one| one.map(str::to_owned)).collect());
            assert_eq!(platforms(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_more_special_ignore_file_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let (special, usual) = (folder.path().join("a"), folder.path().join("b"));
        let places = [special.clone(), usual.clone()];
        assert_eq!(ignore_file(&places).expect("none"), None);
        fs_err::write(&usual, "usual").expect("written");
        assert_eq!(ignore_file(&places).expect("one").as_deref(), Some("usual"));
        fs_err::write(&special, "special").expect("written");
        assert_eq!(ignore_file(&places).expect("two").as_deref(), Some("special"));
    }
}
