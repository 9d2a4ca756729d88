//! One `--output`, as buildx reads it.
//!
//! Source: buildx, util/buildflags/export.go and build/opt.go.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use rbuild::build::{
    ArchiveOutput, FilesOutput, ImageOutput, Output, OutputForm, Push, Stream, Target,
};
use rbuild::engine::Config;
use rbuild::layer::Codec;
use rbuild::oci::Reference;

use super::annotation;
use crate::cli::commands::build::later::unavailable;
use crate::cli::report::Failure;

/// What `--allow` must grant before files outside of the working directory are deleted.
const DELETE: &str = "buildx.local.delete";

/// Options that say nothing here, or ask for what happens anyway.
const ACCEPTED: [&str; 6] = [
    "unpack",
    "context",
    "oci-artifact",
    "attestation-inline",
    "attestation-prefix",
    "prefer-nondist-layers",
];

/// Reads outputs, one after another.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// Where relative paths start.
    pub(super) config: &'a Config,
    /// The names of `--tag`, which win over those of an output.
    pub(super) tags: &'a [Reference],
    /// The same as they were written.
    pub(super) written: &'a [String],
    /// Whether `--push` is given.
    pub(super) push: bool,
    /// What `--allow` grants.
    pub(super) allowed: &'a [String],
    /// Standard output, once an output has it.
    pub(super) stream: Option<Stream>,
    /// What each output with times says of them.
    pub(super) keep_times: Vec<bool>,
}

/// The options of one output, taken out one by one.
struct Options {
    kind: String,
    pairs: Vec<(String, String)>,
}

impl Reader<'_> {
    /// Reads one output.
    pub(super) fn output(&mut self, text: &str) -> Result<Output, Failure> {
        let mut options = read(text)?;
        if options.pairs.is_empty() && options.kind.is_empty() {
            return Err(fail("type is required for output"));
        }
        let output = match options.kind.as_str() {
            "image" => Output::Image(self.image(&mut options, self.push)?),
            "moby" => Output::Image(self.image(&mut options, false)?),
            "registry" => Output::Image(self.image(&mut options, true)?),
            "docker" => self.docker(&mut options)?,
            "oci" => self.archive(&mut options, false)?,
            "tar" | "local" => self.files(&mut options)?,
            "cacheonly" => Output::Nothing,
            other => return Err(fail(format!("exporter \"{other}\" could not be found"))),
        };
        options.refuse_rest()?;
        Ok(output)
    }

    /// An image that is pushed where it does not say otherwise, if `push`. What
    /// only goes to a registry is not kept.
    fn image(&mut self, options: &mut Options, push: bool) -> Result<ImageOutput, Failure> {
        let by_digest = options.boolean("push-by-digest")?.unwrap_or(false);
        let insecure = options.boolean("registry.insecure")?.unwrap_or(false);
        let push = options.boolean("push")?.unwrap_or(push) || (self.push && push);
        let push = push.then_some(Push {
            by_digest,
            insecure,
        });
        let only_pushed = options.kind == "registry" && push.is_some();
        let named = options.text("name");
        let output = ImageOutput {
            store: options.boolean("store")?.unwrap_or(!only_pushed),
            dangling_prefix: options.take("dangling-name-prefix"),
            canonical: options.boolean("name-canonical")?.unwrap_or(false),
            // Registries are sent compressed layers.
            form: self.form(options, push.map(|_| Codec::GZIP))?,
            names: self.names(options)?,
            push,
        };
        if push.is_some() {
            self.check_names(&output, by_digest, named.as_deref())?;
        }
        Ok(output)
    }

    /// What is pushed needs a name; by digest it may have no tag.
    fn check_names(
        &self,
        output: &ImageOutput,
        by_digest: bool,
        named: Option<&str>,
    ) -> Result<(), Failure> {
        if output.names.is_empty() {
            return Err(fail("tag is needed when pushing to registry"));
        }
        let own = named.unwrap_or_default().split(',');
        let written = self.written.iter().map(String::as_str);
        let names: Vec<&str> = if self.written.is_empty() {
            own.collect()
        } else {
            written.collect()
        };
        let is_tagged = |name: &&str| {
            name.rsplit('/')
                .next()
                .is_some_and(|last| last.contains(':'))
        };
        match names.into_iter().find(is_tagged) {
            Some(name) if by_digest => {
                let text = format!("can't push tagged ref {name} by digest");
                Err(fail(text).with_hint("name the repository alone, without a tag"))
            }
            _ => Ok(()),
        }
    }

    /// Without a destination the image goes where `docker load` would put it.
    fn docker(&mut self, options: &mut Options) -> Result<Output, Failure> {
        if options.pairs.iter().any(|(key, _)| key == "dest") {
            return self.archive(options, true);
        }
        options.take("tar");
        Ok(Output::Image(self.image(options, false)?))
    }

    fn archive(&mut self, options: &mut Options, docker: bool) -> Result<Output, Failure> {
        let kind = options.kind.clone();
        let dest = options.take("dest");
        let target = if options.boolean("tar")?.unwrap_or(true) {
            self.file(&kind, dest)?
        } else {
            self.directory(&kind, dest)?
        };
        // A layout is handed on as it is, an archive for Docker is loaded at once.
        let default = (!docker).then_some(Codec::GZIP);
        Ok(Output::Archive(ArchiveOutput {
            target,
            form: self.form(options, default)?,
            names: self.names(options)?,
            docker,
        }))
    }

    fn files(&mut self, options: &mut Options) -> Result<Output, Failure> {
        let kind = options.kind.clone();
        let dest = options.take("dest");
        let target = if kind == "tar" {
            self.file(&kind, dest)?
        } else {
            self.directory(&kind, dest)?
        };
        let delete = match options.take("mode").as_deref() {
            None | Some("" | "copy") => false,
            Some("delete") if kind == "local" => true,
            Some(other) => {
                return Err(fail(format!("invalid local exporter mode \"{other}\"")));
            }
        };
        if let (true, Target::Directory(path)) = (delete, &target) {
            self.may_delete(path)?;
        }
        Ok(Output::Files(FilesOutput {
            target,
            split: options.boolean("platform-split")?,
            delete,
        }))
    }

    /// Whether everything else in a directory may be deleted.
    fn may_delete(&self, path: &Path) -> Result<(), Failure> {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (here, there) = (real(&self.config.working_directory), real(path));
        let inside = there != here && there.starts_with(&here);
        let mut granted = self.allowed.iter().flat_map(|text| text.split(','));
        if inside || granted.any(|one| one.trim() == DELETE) {
            return Ok(());
        }
        let message = format!(
            "output mode=delete would delete files of `{}`, which is not beneath the working directory",
            path.display()
        );
        Err(Failure::new(1, message).with_hint(format!("grant it with `--allow {DELETE}`")))
    }

    /// A file, or standard output for none and `-`.
    fn file(&mut self, kind: &str, dest: Option<String>) -> Result<Target, Failure> {
        let Some(dest) = dest.filter(|dest| dest != "-") else {
            if io::stdout().is_terminal() {
                return Err(fail(format!(
                    "dest file is required for {kind} exporter. refusing to write to console"
                )));
            }
            let stream = Stream::new(Box::new(io::stdout()));
            if self.stream.replace(stream.clone()).is_some() {
                return Err(fail("only one output can go to the standard output"));
            }
            return Ok(Target::Stream(stream));
        };
        let path = self.path(&dest);
        if path.is_dir() {
            return Err(fail(format!("destination file \"{dest}\" is a directory")));
        }
        Ok(Target::File(path))
    }

    fn directory(&self, kind: &str, dest: Option<String>) -> Result<Target, Failure> {
        let Some(dest) = dest.filter(|dest| !dest.is_empty()) else {
            return Err(fail(format!("dest is required for {kind} exporter")));
        };
        if dest == "-" {
            return Err(fail(format!("dest cannot be stdout for {kind} exporter")));
        }
        let path = self.path(&dest);
        if path.exists() && !path.is_dir() {
            return Err(fail(format!("destination directory \"{dest}\" is a file")));
        }
        Ok(Target::Directory(path))
    }

    fn path(&self, dest: &str) -> PathBuf {
        self.config.working_directory.join(dest)
    }

    fn form(
        &mut self,
        options: &mut Options,
        default: Option<Codec>,
    ) -> Result<OutputForm, Failure> {
        let codec = codec(options, default)?;
        let force = options.boolean("force-compression")?.unwrap_or(false);
        let oci = options.boolean("oci-mediatypes")?;
        if let (Some(Codec::Zstd(_)), Some(false)) = (codec, oci) {
            return Err(fail(
                "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"",
            ));
        }
        // What is not said follows from `SOURCE_DATE_EPOCH`.
        let rewrite = options.boolean("rewrite-timestamp")?;
        self.keep_times.push(rewrite == Some(false));
        let mut annotations = Vec::new();
        let mut wrong = None;
        options
            .pairs
            .retain(|(key, value)| match annotation::option(key, value) {
                None => true,
                Some(Ok(one)) => {
                    annotations.push(one);
                    false
                }
                Some(Err(why)) => {
                    wrong.get_or_insert(why);
                    false
                }
            });
        match wrong {
            Some(why) => Err(fail(why)),
            None => Ok(OutputForm {
                codec,
                force_compression: force,
                docker_types: oci == Some(false),
                annotations,
            }),
        }
    }

    /// The names of `--tag`, or else those of the output.
    fn names(&self, options: &mut Options) -> Result<Vec<Reference>, Failure> {
        let own = options.take("name").unwrap_or_default();
        if !self.tags.is_empty() {
            return Ok(self.tags.to_vec());
        }
        let mut names = Vec::new();
        for text in own.split(',').filter(|text| !text.is_empty()) {
            let name: Reference = text
                .parse()
                .map_err(|err| fail(format!("failed to parse {text}: {err}")))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn codec(options: &mut Options, default: Option<Codec>) -> Result<Option<Codec>, Failure> {
    let kind = options.take("compression");
    let level = options.take("compression-level");
    let level = level
        .map(|text| {
            text.parse::<i32>().map_err(|_| {
                fail(format!(
                    "non-integer value {text} specified for compression-level"
                ))
            })
        })
        .transpose()?;
    let within = |low: i32, high: i32, level: i32| {
        if (low..=high).contains(&level) {
            return Ok(level);
        }
        Err(fail(format!(
            "compression-level {level} is not between {low} and {high}"
        )))
    };
    match (kind.as_deref(), default) {
        (Some("uncompressed"), _) | (None, None) => Ok(None),
        (Some("gzip"), _) | (None, Some(Codec::Gzip(_))) => {
            let level = level.map_or(Ok(6), |level| within(0, 9, level))?;
            Ok(Some(Codec::Gzip(level.unsigned_abs())))
        }
        (Some("zstd"), _) | (None, Some(Codec::Zstd(_))) => {
            let level = level.map_or(Ok(3), |level| within(0, 22, level))?;
            // BuildKit's 0 is its default.
            Ok(Some(Codec::Zstd(if level == 0 { 3 } else { level })))
        }
        (Some("estargz"), _) => Err(unavailable("compression=estargz")
            .with_hint("use `gzip` or `zstd`; readers of estargz read gzip as well")),
        (Some(other), _) => Err(fail(format!("unsupported compression type {other}"))),
    }
}

/// The fields of one `--output`.
fn read(text: &str) -> Result<Options, Failure> {
    let mut fields = split(text).ok_or_else(|| fail(format!("invalid value {text}")))?;
    if let [only] = fields.as_mut_slice()
        && *only == text
        && !text.starts_with("type=")
    {
        let kind = if text == "-" { "tar" } else { "local" };
        return Ok(Options {
            kind: kind.to_owned(),
            pairs: vec![("dest".to_owned(), std::mem::take(only))],
        });
    }
    let (mut kind, mut pairs) = (String::new(), Vec::new());
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(fail(format!("invalid value {field}")));
        };
        let key = key.trim();
        // Annotations keep their letter case; the names of options have none.
        let key = if key.to_lowercase().starts_with("annotation") {
            key.to_owned()
        } else {
            key.to_lowercase()
        };
        if key == "type" {
            value.clone_into(&mut kind);
        } else {
            pairs.retain(|(known, _)| *known != key);
            pairs.push((key, value.to_owned()));
        }
    }
    if kind.is_empty() {
        return Err(fail("type is required for output"));
    }
    Ok(Options { kind, pairs })
}

/// One line of comma separated values: a field in double quotes may hold commas,
/// and a doubled quote stands for one. `None` for an open quote.
fn split(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    loop {
        if field.is_empty() && chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next()? {
                    '"' if chars.peek() == Some(&'"') => {
                        chars.next();
                        field.push('"');
                    }
                    '"' => break,
                    other => field.push(other),
                }
            }
        }
        match chars.next() {
            None => break,
            Some(',') => fields.push(std::mem::take(&mut field)),
            Some(other) => field.push(other),
        }
    }
    fields.push(field);
    Some(fields)
}

impl Options {
    /// What an option says, left where it is.
    fn text(&self, name: &str) -> Option<String> {
        let found = self.pairs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    }

    /// Takes an option out.
    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.pairs.iter().position(|(key, _)| key == name)?;
        Some(self.pairs.remove(place).1)
    }

    /// Takes an option out that is true or false, as Go reads them; empty is true.
    fn boolean(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        match text.as_str() {
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            other => Err(fail(format!(
                "non-bool value specified for {name}: {other}"
            ))),
        }
    }

    /// BuildKit passes over what it does not know; a mistyped option is worth a word.
    fn refuse_rest(&self) -> Result<(), Failure> {
        let rest = self.pairs.iter().map(|(key, _)| key.as_str());
        let mut unknown = rest.filter(|key| !ACCEPTED.contains(key));
        match unknown.next() {
            Some(key) => Err(fail(format!(
                "unknown option \"{key}\" for output type={}",
                self.kind
            ))),
            None => Ok(()),
        }
    }
}

fn fail(message: impl Into<String>) -> Failure {
    Failure::new(1, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        let check = |text: &str, fields: &[&str]| assert_eq!(split(text).unwrap(), fields);
        check("a,b", &["a", "b"]);
        check("a,\"b,c\",d", &["a", "b,c", "d"]);
        check("\"name=x,y\",dest=\"z\"", &["name=x,y", "dest=\"z\""]);
        check("\"a\"\"b\"", &["a\"b"]);
        check("", &[""]);
        assert_eq!(split("\"a"), None);
    }

    fn options(text: &str) -> (String, Vec<(String, String)>) {
        let options = read(text).unwrap();
        (options.kind, options.pairs)
    }

    #[test]
    fn short_forms_name_a_directory_or_the_standard_output() {
        let dest = |path: &str| vec![("dest".to_owned(), path.to_owned())];
        assert_eq!(options("out"), ("local".to_owned(), dest("out")));
        assert_eq!(options("a=b"), ("local".to_owned(), dest("a=b")));
        assert_eq!(options("-"), ("tar".to_owned(), dest("-")));
        assert_eq!(options("type=tar,dest=x"), ("tar".to_owned(), dest("x")));
        assert!(read("dest=x,tar=false").is_err());
        assert!(read("type=oci,x").is_err());
    }

    fn codec_of(text: &str) -> Result<Option<Codec>, String> {
        let mut options = read(text).unwrap();
        codec(&mut options, None).map_err(|err| err.text())
    }

    #[test]
    fn compression_has_levels_within_bounds() {
        assert_eq!(codec_of("type=oci"), Ok(None));
        assert_eq!(codec_of("type=oci,compression=gzip"), Ok(Some(Codec::GZIP)));
        let level = "type=oci,compression=zstd,compression-level=";
        assert_eq!(codec_of(&format!("{level}19")), Ok(Some(Codec::Zstd(19))));
        assert_eq!(codec_of(&format!("{level}0")), Ok(Some(Codec::ZSTD)));
        assert!(codec_of(&format!("{level}23")).unwrap_err().contains("22"));
        assert!(
            codec_of(&format!("{level}x"))
                .unwrap_err()
                .contains("non-integer")
        );
        assert!(
            codec_of("type=oci,compression=estargz")
                .unwrap_err()
                .contains("estargz")
        );
        let unknown = codec_of("type=oci,compression=lz4").unwrap_err();
        assert!(unknown.contains("unsupported compression type lz4"));
    }
}
