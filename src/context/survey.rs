//! What is in a context and what is left out, each with the line of the ignore
//! file that decided. It looks at every name and reads no file.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::tree::DEPTH_LIMIT;
use super::{Context, IgnoreLine, Verdict};
use crate::fs::{At, PathError};

/// A context as its ignore file makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Everything that can be copied, in order of paths.
    pub included: Vec<Surveyed>,
    /// What is left out. Of a directory without anything that can be copied only
    /// the directory, with the numbers of all that is in it.
    pub ignored: Vec<Surveyed>,
}

/// Something in the directory of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Its path beneath the directory.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Size of the file, or of all files in an ignored directory.
    pub bytes: u64,
    /// How many things that are no directories it stands for.
    pub files: u64,
    /// The line that decided; `None` where no line matches.
    pub line: Option<IgnoreLine>,
}

/// What a name in a context stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A pipe, a socket or a device.
    Other,
}

impl Context {
    /// Looks at the whole directory.
    pub fn survey(&self) -> Result<Survey, PathError> {
        let mut survey = Survey::default();
        let root = self.open_dir(Path::new(""))?;
        let place = Place {
            path: Path::new(""),
            verdict: None,
            depth: 0,
        };
        self.survey_into(&root, &place, &mut survey)?;
        Ok(survey)
    }

    /// Whether `path` is left out, and the line that decided.
    pub fn explain(&self, path: &Path) -> (bool, Option<IgnoreLine>) {
        let mut verdict: Option<Verdict> = None;
        let mut here = PathBuf::new();
        for part in path.components() {
            here.push(part);
            verdict = Some(self.patterns.judge(&here, verdict.as_ref()));
        }
        let Some(verdict) = verdict else {
            return (false, None);
        };
        (verdict.is_ignored, self.patterns.decided(&verdict).cloned())
    }

    /// Whether the directory has something at `path`, left out or not.
    pub fn has(&self, path: &Path) -> bool {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let found = self.open_dir(parent).map(|dir| self.look(&dir, name, path));
        matches!(found, Ok(Ok(Some(_))))
    }

    fn survey_into(
        &self,
        dir: &OwnedFd,
        place: &Place<'_>,
        survey: &mut Survey,
    ) -> Result<(), PathError> {
        if place.depth > DEPTH_LIMIT {
            return Err(rustix::io::Errno::NAMETOOLONG).at("walk", self.path().join(place.path));
        }
        for name in self.names(dir, place.path)? {
            let path = place.path.join(&name);
            let Some(stat) = self.look(dir, &name, &path)? else {
                continue;
            };
            let verdict = self.patterns.judge(&path, place.verdict);
            let line = self.patterns.decided(&verdict).cloned();
            let item = surveyed(&path, &stat, line);
            if item.kind != Kind::Directory {
                let list = if verdict.is_ignored {
                    &mut survey.ignored
                } else {
                    &mut survey.included
                };
                list.push(item);
                continue;
            }
            let below = self.enter(dir, &name, &path)?;
            let inner = Place {
                path: &path,
                verdict: Some(&verdict),
                depth: place.depth + 1,
            };
            if !verdict.is_ignored {
                survey.included.push(item);
                self.survey_into(&below, &inner, survey)?;
            } else if self.patterns.may_reinclude_below(&path) {
                self.survey_ignored(&below, &inner, item, survey)?;
            } else {
                survey
                    .ignored
                    .push(self.whole(&below, item, place.depth + 1)?);
            }
        }
        Ok(())
    }

    /// An ignored directory of which an exception may bring something back.
    fn survey_ignored(
        &self,
        dir: &OwnedFd,
        place: &Place<'_>,
        mut item: Surveyed,
        survey: &mut Survey,
    ) -> Result<(), PathError> {
        let (kept, left_out) = (survey.included.len(), survey.ignored.len());
        // It is there for what comes back, as COPY sees it.
        survey.included.push(item.clone());
        self.survey_into(dir, place, survey)?;
        if survey.included.len() == kept + 1 {
            // Nothing came back, so that it is one thing.
            survey.included.pop();
            for inner in survey.ignored.drain(left_out..) {
                item.bytes += inner.bytes;
                item.files += inner.files;
            }
            survey.ignored.push(item);
        }
        Ok(())
    }

    /// An ignored directory with all that is in it.
    fn whole(
        &self,
        dir: &OwnedFd,
        mut item: Surveyed,
        depth: usize,
    ) -> Result<Surveyed, PathError> {
        if depth > DEPTH_LIMIT {
            return Err(rustix::io::Errno::NAMETOOLONG).at("walk", self.path().join(&item.path));
        }
        for name in self.names(dir, &item.path)? {
            let path = item.path.join(&name);
            let Some(stat) = self.look(dir, &name, &path)? else {
                continue;
            };
            let mut inner = surveyed(&path, &stat, None);
            if inner.kind == Kind::Directory {
                inner = self.whole(&self.enter(dir, &name, &path)?, inner, depth + 1)?;
            }
            item.bytes += inner.bytes;
            item.files += inner.files;
        }
        Ok(item)
    }

    /// `None` for what vanished since the directory was read.
    fn look(&self, dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<Option<Stat>, PathError> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(err) => Err(err).at("look at", self.path().join(path)),
        }
    }

    fn enter(&self, dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty()).at("open", self.path().join(path))
    }
}

/// A directory on the way.
struct Place<'a> {
    path: &'a Path,
    /// What the patterns say of it.
    verdict: Option<&'a Verdict>,
    depth: usize,
}

fn surveyed(path: &Path, stat: &Stat, line: Option<IgnoreLine>) -> Surveyed {
    let (kind, bytes) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => (Kind::File, u64::try_from(stat.st_size).unwrap_or(0)),
        FileType::Directory => (Kind::Directory, 0),
        FileType::Symlink => (Kind::Link, 0),
        _ => (Kind::Other, 0),
    };
    Surveyed {
        path: path.to_owned(),
        kind,
        bytes,
        files: u64::from(kind != Kind::Directory),
        line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Patterns;

    fn survey(lines: &str, files: &[&str]) -> (Context, Survey, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "12345").unwrap();
        }
        let patterns = Patterns::of_text(lines).unwrap();
        let context = Context::open(dir.path(), patterns, PathBuf::new()).unwrap();
        let survey = context.survey().unwrap();
        (context, survey, dir)
    }

    /// `path` and the deciding line's number.
    fn shown(list: &[Surveyed]) -> Vec<String> {
        let one = |item: &Surveyed| {
            let line = item.line.as_ref().map_or(0, |line| line.number);
            let path = item.path.display();
            format!("{path} {}x{} :{line}", item.files, item.bytes)
        };
        list.iter().map(one).collect()
    }

    const FILES: [&str; 6] = [
        "a.o",
        "a.c",
        "deps/x/1",
        "deps/x/2",
        "deps/keep",
        "docs/readme",
    ];

    #[test]
    fn every_path_has_the_line_that_decided() {
        let (context, survey, _dir) = survey("# objects\n\n*.o\ndeps\n!deps/keep\n", &FILES);
        assert_eq!(
            shown(&survey.included),
            [
                "a.c 1x5 :0",
                "deps 0x0 :4",
                "deps/keep 1x5 :5",
                "docs 0x0 :0",
                "docs/readme 1x5 :0"
            ]
        );
        assert_eq!(shown(&survey.ignored), ["a.o 1x5 :3", "deps/x 2x10 :4"]);
        let (ignored, line) = context.explain(Path::new("deps/keep"));
        let line = line.unwrap();
        assert_eq!(
            (ignored, line.number, line.text.as_str()),
            (false, 5, "!deps/keep")
        );
        assert!(context.explain(Path::new("deps/other/new")).0);
        assert_eq!(context.explain(Path::new("")), (false, None));
    }

    #[test]
    fn an_ignored_directory_is_one_thing() {
        let (_context, plain, _dir) = survey("deps\n", &FILES);
        assert_eq!(shown(&plain.ignored), ["deps 3x15 :1"]);
        let (_context, excepted, _dir) = survey("deps\n!deps/none\n", &FILES);
        assert_eq!(shown(&excepted.ignored), ["deps 3x15 :1"]);
        let names: Vec<_> = excepted.included.iter().map(|item| &item.path).collect();
        assert_eq!(names.len(), 4, "{names:?}");
    }

    #[test]
    fn what_is_included_is_what_a_walk_finds() {
        for lines in [
            "",
            "*\n!docs\n",
            "**\n!**/keep\n",
            "deps/*\n!deps/x/2\n",
            "a.?\n!a.c\n",
        ] {
            let (context, survey, _dir) = survey(lines, &FILES);
            let walked: Vec<_> = context.walk(Path::new("")).unwrap();
            let walked: Vec<_> = walked.into_iter().map(|entry| entry.path).collect();
            let included: Vec<_> = survey.included.into_iter().map(|item| item.path).collect();
            assert_eq!(included, walked, "{lines}");
            let all: u64 = survey.ignored.iter().map(|item| item.files).sum();
            let there = walked.iter().filter(|path| {
                context
                    .entry(path)
                    .unwrap()
                    .is_some_and(|e| !matches!(e.kind, crate::layer::EntryKind::Directory { .. }))
            });
            assert_eq!(
                usize::try_from(all).unwrap() + there.count(),
                FILES.len(),
                "{lines}"
            );
        }
    }
}
