//! `cp`

use std::ffi::OsString;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rbuild::engine::{self, CopyIn, CopyOut, Engine, PathFacts};

use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Copy files between a container and here
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep owners and groups
    #[arg(short, long)]
    archive: bool,
    /// Follow a link that is the source
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// From: CONTAINER:PATH, a path here, or - for a tar on standard input
    #[arg(value_name = "SOURCE")]
    source: String,
    /// To: a path here, CONTAINER:PATH, or - for a tar on standard output
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let copied = match (split(&args.source), split(&args.destination)) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                1,
                "copying between containers is not supported",
            ));
        }
        (None, None) => {
            return Err(Failure::new(
                1,
                "must specify at least one container source",
            ));
        }
        (Some((container, path)), None) => out(args, engine, container, path)?,
        (None, Some((container, path))) => into(args, engine, container, path)?,
    };
    if let Some(bytes) = copied.filter(|_| !args.quiet) {
        let size = human::size(bytes);
        output.message(format_args!(
            "Successfully copied {size} to {}",
            args.destination
        ));
    }
    Ok(0)
}

/// The container and the path in it; nothing for a path here.
fn split(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['/', '.']) {
        return None;
    }
    text.split_once(':')
        .filter(|(container, _)| !container.is_empty())
}

/// A path as typed: without what only says how it is meant.
struct Typed {
    path: PathBuf,
    /// Whether the content of a directory is meant, not the directory.
    content: bool,
    /// Whether it has to be a directory.
    directory: bool,
}

impl Typed {
    fn parse(text: &str) -> Self {
        let content = text == "." || text.ends_with("/.");
        let directory = content || text.ends_with('/');
        let path = text.strip_suffix("/.").unwrap_or(text);
        let path = if path.is_empty() { "/" } else { path };
        Self {
            path: PathBuf::from(path),
            content,
            directory,
        }
    }

    fn name(&self) -> Option<OsString> {
        self.path.file_name().map(OsString::from)
    }
}

/// Where something ends up: a directory that is there, and its name in it; without
/// a name its content alone.
#[derive(Debug, PartialEq, Eq)]
struct Landing {
    directory: PathBuf,
    name: Option<OsString>,
}

/// The rules of `cp -a`, as Docker has them.
fn land(
    source: &Typed,
    source_is_directory: bool,
    target: &Typed,
    facts: Option<&PathFacts>,
) -> Result<Landing, String> {
    let above = || target.path.parent().unwrap_or(Path::new("")).to_owned();
    match facts {
        Some(facts) if facts.is_directory => Ok(Landing {
            directory: target.path.clone(),
            name: source.name().filter(|_| !source.content),
        }),
        Some(_) if target.directory => Err("not a directory".to_owned()),
        Some(_) if source_is_directory => Err("cannot copy directory".to_owned()),
        None if target.directory && !source_is_directory => Err("no such directory".to_owned()),
        _ => Ok(Landing {
            directory: above(),
            name: target.name(),
        }),
    }
}

/// Counts what passes.
struct Counted<'a, T> {
    inner: T,
    bytes: &'a AtomicU64,
}

impl<T: Read> Read for Counted<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// A container without a path in it means nothing.
fn not_empty(path: &str) -> Result<(), Failure> {
    match path {
        "" => Err(Failure::new(1, "bad parameter: path cannot be empty")),
        _ => Ok(()),
    }
}

fn missing(container: &str, path: &str) -> Failure {
    Failure::new(
        1,
        format!("Could not find the file {path} in container {container}"),
    )
}

/// Copies out of a container; returns the bytes, or nothing where they went to
/// standard output.
fn out(args: &Args, engine: &Engine, container: &str, path: &str) -> Result<Option<u64>, Failure> {
    not_empty(path)?;
    let source = Typed::parse(path);
    let inside = Path::new("/").join(&source.path);
    let facts = engine.container_facts(container, &inside)?;
    let facts = facts.ok_or_else(|| missing(container, path))?;
    let follow = args.follow_link || source.directory;
    let is_directory = facts.is_directory && (follow || !facts.is_link);
    if source.directory && !facts.is_directory {
        return Err(Failure::new(1, format!("{path}: not a directory")));
    }
    let mut what = CopyOut {
        path: inside,
        follow,
        name: source.name().map(PathBuf::from).filter(|_| !source.content),
    };
    if args.destination == "-" {
        let mut stdout = io::BufWriter::with_capacity(1 << 20, io::stdout());
        engine.container_copy_out(container, &what, &mut stdout)?;
        stdout.flush()?;
        return Ok(None);
    }
    let target = Typed::parse(&args.destination);
    let target_path = engine.config().working_directory.join(&target.path);
    let there = engine::local_facts(&target_path)?;
    let landing = land(&source, is_directory, &target, there.as_ref())
        .map_err(|why| Failure::new(1, format!("{why}: {}", args.destination)))?;
    let directory = engine.config().working_directory.join(&landing.directory);
    if !directory.is_dir() {
        let shown = directory.display();
        let message = format!("invalid output path: directory \"{shown}\" does not exist");
        return Err(Failure::new(1, message));
    }
    what.name = landing.name.map(PathBuf::from);
    let bytes = AtomicU64::new(0);
    let owner = (!args.archive || !rustix::process::geteuid().is_root()).then(|| {
        (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    });
    carry(
        |mut writer| {
            engine.container_copy_out(container, &what, &mut writer)?;
            Ok(writer.flush()?)
        },
        |reader| {
            let mut reader = Counted {
                inner: reader,
                bytes: &bytes,
            };
            engine::extract_local(&directory, owner, &mut reader).map_err(engine::Error::from)?;
            Ok(())
        },
    )?;
    Ok(Some(bytes.into_inner()))
}

/// Copies into a container; returns the bytes, or nothing where they came from
/// standard input.
fn into(args: &Args, engine: &Engine, container: &str, path: &str) -> Result<Option<u64>, Failure> {
    let target = Typed::parse(path);
    let inside = Path::new("/").join(&target.path);
    // Whether the container is there comes before whether the file is.
    let there = engine.container_facts(container, &inside)?;
    if args.source == "-" {
        if !there.is_some_and(|facts| facts.is_directory) {
            let message = format!("destination \"{container}:{path}\" must be a directory");
            return Err(Failure::new(1, message));
        }
        let to = CopyIn {
            directory: inside,
            owner: None,
        };
        let mut stdin = BufReader::with_capacity(1 << 20, io::stdin());
        engine.container_copy_in(container, &to, &mut stdin)?;
        return Ok(None);
    }
    let source = Typed::parse(&args.source);
    let source_path = engine.config().working_directory.join(&source.path);
    let facts = engine::local_facts(&source_path)?;
    let facts = facts.ok_or_else(|| {
        Failure::new(
            1,
            format!("lstat {}: no such file or directory", source_path.display()),
        )
    })?;
    let follow = args.follow_link || source.directory;
    let is_directory = facts.is_directory && (follow || !facts.is_link);
    if source.directory && !facts.is_directory {
        return Err(Failure::new(1, format!("{}: not a directory", args.source)));
    }
    let landing = land(&source, is_directory, &target, there.as_ref())
        .map_err(|why| Failure::new(1, format!("{why}: {container}:{path}")))?;
    let directory = Path::new("/").join(&landing.directory);
    let above = engine.container_facts(container, &directory)?;
    if !above.is_some_and(|facts| facts.is_directory) {
        return Err(missing(container, &directory.display().to_string()));
    }
    let what = CopyOut {
        path: source_path,
        follow,
        name: landing.name.map(PathBuf::from),
    };
    let to = CopyIn {
        directory,
        owner: (!args.archive).then_some((0, 0)),
    };
    let bytes = AtomicU64::new(0);
    carry(
        |mut writer| {
            engine::pack_local(&what, &mut writer)?;
            Ok(writer.flush()?)
        },
        |reader| {
            let mut reader = Counted {
                inner: reader,
                bytes: &bytes,
            };
            engine.container_copy_in(container, &to, &mut reader)?;
            Ok(())
        },
    )?;
    Ok(Some(bytes.into_inner()))
}

/// Runs both ends of a pipe at once. Where both fail, the reader's failure is the
/// cause: the writer only saw that nobody reads any more.
fn carry(
    write: impl FnOnce(io::BufWriter<io::PipeWriter>) -> Result<(), Failure> + Send,
    read: impl FnOnce(BufReader<io::PipeReader>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(io::BufWriter::with_capacity(1 << 18, writer)));
        let read = read(BufReader::with_capacity(1 << 18, reader));
        let written = writer.join().unwrap_or(Ok(()));
        match (read, written) {
            (Ok(()), written) => written,
            // An archive that ends early is the writer's failure.
            (Err(_), Err(written)) if !written.text().contains("roken pipe") => Err(written),
            (Err(read), _) => Err(read),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        source: &str,
        source_is_directory: bool,
        target: &str,
        there: Option<bool>,
        want: &str,
    ) {
        let facts = there.map(|is_directory| PathFacts {
            is_directory,
            is_link: false,
        });
        let landing = land(
            &Typed::parse(source),
            source_is_directory,
            &Typed::parse(target),
            facts.as_ref(),
        );
        let got = match landing {
            Ok(Landing { directory, name }) => {
                let name = name.map_or_else(
                    || "*".to_owned(),
                    |name| name.to_string_lossy().into_owned(),
                );
                format!("{} {name}", directory.display())
            }
            Err(why) => why,
        };
        assert_eq!(got, want, "{source} to {target}");
    }

    #[test]
    fn the_rules_are_those_of_cp() {
        check("/a/f", false, "/t", Some(true), "/t f");
        check("/a/f", false, "/t/g", None, "/t g");
        check("/a/f", false, "/t/g", Some(false), "/t g");
        check("/a/f", false, "/t/", None, "no such directory");
        check("/a/f", false, "/t/", Some(false), "not a directory");
        check("/a/d", true, "/t", Some(true), "/t d");
        check("/a/d/.", true, "/t", Some(true), "/t *");
        check("/a/d", true, "/t/n", None, "/t n");
        check("/a/d/.", true, "/t/n", None, "/t n");
        check("/a/d", true, "/t/f", Some(false), "cannot copy directory");
    }

    #[test]
    fn containers_and_paths_are_told_apart() {
        assert_eq!(split("c:/p"), Some(("c", "/p")));
        assert_eq!(split("c:p:q"), Some(("c", "p:q")));
        for local in ["/a:b", "./a:b", "a", "-", ":x"] {
            assert_eq!(split(local), None, "{local}");
        }
    }
}
