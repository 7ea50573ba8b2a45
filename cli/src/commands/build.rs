//! `build`: gathers the Dockerfile, the ignore file and the flags, and shows progress on standard error.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use mica_engine::Reference;
use mica_engine::build::BuildRequest;
use mica_engine::container::parse_add_host;

use crate::args::build::Build;
use crate::context::Context;
use crate::{files, output, progress, spec};

/// `build`.
pub(super) async fn run(context: &Context, args: &Build) -> anyhow::Result<()> {
    let source = Source::read(args)?;
    let tags = args.tags.iter().map(|tag| Reference::parse(tag).map(|reference| reference.to_string()));
    let request = BuildRequest {
        context: source.context,
        dockerfile: source.dockerfile,
        dockerfile_name: source.name,
        ignore: source.ignore,
        tags: tags.collect::<Result<_, _>>()?,
        args: spec::pairs(&args.build_args)?,
        labels: spec::labels(&[], &args.labels)?,
        target: args.target.clone(),
        no_cache: args.no_cache,
        network: args.network.map_or_else(|| context.settings.network.clone(), |network| network.word().to_owned()),
        pull: args.pull,
        platform: args.platform.clone(),
        add_hosts: args.add_hosts.iter().map(|text| parse_add_host(text)).collect::<Result<_, _>>()?,
    };
    let shown = progress::of(args.progress, args.quiet);
    let outcome = context.engine()?.build(request, shown.as_ref()).await;
    drop(shown);
    let image = outcome?.image;
    if let Some(path) = &args.iidfile {
        use std::io::Write as _;
        files::create(path)?.write_all(image.to_string().as_bytes())?;
    }
    if args.quiet {
        return output::line(image);
    }
    for tag in &args.tags {
        output::warn(format!("naming to {}", Reference::parse(tag)?.familiar()));
    }
    output::warn(format!("writing image {image}"));
    Ok(())
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
