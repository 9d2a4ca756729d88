//! Build checks that need more than the text: arguments, base images, the context.
//!
//! Source: "Build checks" in the Dockerfile reference. The checks of the text
//! alone are in [`dockerfile::lint`].

use std::collections::BTreeMap;
use std::path::Path;

use crate::context::Patterns;
use crate::dockerfile::{
    Arg, CheckOptions, Diagnostic, Dockerfile, Instruction, Level, Located, Scope, Stage, Word,
    closest_exact, expand,
};
use crate::oci::{Platform, Reference};

/// What the checks look at.
pub(super) struct Subject<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) options: &'a CheckOptions,
    pub(super) build_args: &'a BTreeMap<String, String>,
    pub(super) ignored: &'a Patterns,
    /// The environment of a base image; `None` when it is not in the store.
    pub(super) image_env: &'a dyn Fn(&str) -> Option<Vec<String>>,
}

/// Arguments that are set without being declared, before the first `FROM`.
const AUTOMATIC: [&str; 10] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
];
/// Arguments that every stage may use without declaring them.
const PROXIES: [&str; 12] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
    "SOURCE_DATE_EPOCH",
    "TARGETSTAGE",
];

/// Names with their values.
#[derive(Debug, Clone, Default)]
struct Names(BTreeMap<String, String>);

impl Scope for Names {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// Runs the checks; warnings in the order of their places.
pub(super) fn run(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut checks = Checks {
        subject,
        found: Vec::new(),
    };
    let given = checks.globals(Some(subject.build_args));
    let defaults = checks.globals(None);
    let mut scopes: Vec<Option<Names>> = Vec::new();
    let mut workdirs: Vec<bool> = Vec::new();
    for (index, stage) in subject.file.stages.iter().enumerate() {
        checks.from(stage, &given, &defaults);
        let base = checks.base(stage, &given);
        let above = subject.file.stages[..index].iter().rposition(|above| {
            let name = above.from.value.name.as_ref();
            name.is_some_and(|name| name.text.eq_ignore_ascii_case(&base))
        });
        let scope = match above {
            Some(above) => scopes[above].clone(),
            None => checks.image_scope(&base),
        };
        let workdir = above.is_some_and(|above| workdirs[above]);
        let (scope, workdir) = checks.stage(stage, scope, &given, workdir);
        scopes.push(scope);
        workdirs.push(workdir);
    }
    checks.found.sort_by_key(|warning| warning.span.start);
    checks.found
}

struct Checks<'a> {
    subject: &'a Subject<'a>,
    found: Vec<Diagnostic>,
}

impl Checks<'_> {
    fn add<T>(&mut self, rule: &'static str, place: &Located<T>, message: String) {
        let options = self.subject.options.with_comments(&place.comments);
        if options.wants(rule) {
            self.found.push(Diagnostic {
                level: Level::Warning(rule),
                span: place.span,
                message,
                hint: None,
            });
        }
    }

    fn escape(&self) -> char {
        self.subject.file.escape.unwrap_or('\\')
    }

    /// A word expanded; empty when it cannot be, which the build itself reports.
    fn expanded(&self, word: &Word, scope: &Names) -> (String, Vec<String>) {
        match expand(&word.text, self.escape(), scope) {
            Ok(expanded) => (expanded.text, expanded.unmatched),
            Err(_) => (String::new(), Vec::new()),
        }
    }

    /// The scope before the first `FROM`, with or without `--build-arg`.
    fn globals(&self, given: Option<&BTreeMap<String, String>>) -> Names {
        let mut names = Names::default();
        let host = Platform::host();
        for name in AUTOMATIC {
            let value = match name
                .trim_start_matches("BUILD")
                .trim_start_matches("TARGET")
            {
                "PLATFORM" => host.to_string(),
                "OS" => host.os.clone(),
                "ARCH" => host.architecture.clone(),
                _ => String::new(),
            };
            names.0.insert(name.to_owned(), value);
        }
        let lines = self.subject.file.global_args.iter();
        for arg in lines.flat_map(|line| &line.value) {
            self.declare(arg, &mut names, given, None);
        }
        names
    }

    /// `ARG`: what was given, else its default, else a value from `outer`; a name
    /// without any is declared all the same.
    fn declare(
        &self,
        arg: &Arg,
        names: &mut Names,
        given: Option<&BTreeMap<String, String>>,
        outer: Option<&Names>,
    ) {
        let name = &arg.name.text;
        let default = arg
            .default
            .as_ref()
            .map(|word| self.expanded(word, names).0);
        let value = given
            .and_then(|given| given.get(name).cloned())
            .or(default)
            .or_else(|| outer.and_then(|outer| outer.get(name)));
        names.0.insert(name.clone(), value.unwrap_or_default());
    }

    fn base(&self, stage: &Stage, given: &Names) -> String {
        self.expanded(&stage.from.value.base, given).0
    }

    fn image_scope(&self, base: &str) -> Option<Names> {
        if base == "scratch" {
            return Some(Names::default());
        }
        let env = (self.subject.image_env)(base)?;
        let pairs = env.iter().filter_map(|line| line.split_once('='));
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Names(owned.collect()))
    }

    fn from(&mut self, stage: &Stage, given: &Names, defaults: &Names) {
        let from = &stage.from;
        let known: Vec<&str> = given.0.keys().map(String::as_str).collect();
        for word in [Some(&from.value.base), from.value.platform.as_ref()]
            .into_iter()
            .flatten()
        {
            for name in self.expanded(word, given).1 {
                let suggestion = closest_exact(&name, &known)
                    .map(|known| format!(" (did you mean {known}?)"))
                    .unwrap_or_default();
                let message = format!("FROM argument '{name}' is not declared{suggestion}");
                self.add("UndefinedArgInFrom", from, message);
            }
        }
        let base = &from.value.base;
        let by_default = self.expanded(base, defaults).0;
        if base.text.contains('$') && by_default.parse::<Reference>().is_err() {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                base.text
            );
            self.add("InvalidDefaultArgInFrom", from, message);
        }
        if let Some(platform) = &from.value.platform {
            self.platform(stage, platform, given);
        }
    }

    fn platform(&mut self, stage: &Stage, word: &Word, given: &Names) {
        if matches!(word.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default \
                 behavior",
                word.text
            );
            self.add("RedundantTargetPlatform", &stage.from, message);
        }
        let constant = self.expanded(word, given).0 == word.text;
        let Some(platform) = word.text.parse::<Platform>().ok().filter(|_| constant) else {
            return;
        };
        // A stage that is named for its platform means it.
        let name = stage.from.value.name.as_ref();
        let name = name.map_or("", |name| name.text.as_str());
        if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
            let message = format!(
                "FROM --platform flag should not use constant value \"{}\"",
                word.text
            );
            self.add("FromPlatformFlagConstDisallowed", &stage.from, message);
        }
    }

    /// Checks the instructions of a stage; returns its scope at the end, and
    /// whether it has set an absolute working directory.
    fn stage(
        &mut self,
        stage: &Stage,
        inherited: Option<Names>,
        given: &Names,
        workdir: bool,
    ) -> (Option<Names>, bool) {
        let known = inherited.is_some();
        let mut names = inherited.unwrap_or_default();
        let mut env = names.clone();
        for name in PROXIES {
            names.0.entry(name.to_owned()).or_default();
        }
        let mut workdir = workdir;
        for place in &stage.instructions {
            if known {
                self.variables(place, &names);
            }
            match &place.value {
                Instruction::Arg(args) => {
                    for arg in args {
                        self.declare(arg, &mut names, Some(self.subject.build_args), Some(given));
                    }
                }
                Instruction::Env(pairs) => {
                    let before = names.clone();
                    for pair in pairs {
                        let value = self.expanded(&pair.value, &before).0;
                        env.0.insert(pair.key.text.clone(), value.clone());
                        names.0.insert(pair.key.text.clone(), value);
                    }
                }
                Instruction::Workdir(word) => {
                    let path = self.expanded(word, &names).0;
                    if !workdir && !path.starts_with('/') && known {
                        let message = format!(
                            "Relative workdir \"{path}\" can have unexpected results if the base \
                             image changes"
                        );
                        self.add("WorkdirRelativePath", place, message);
                    }
                    workdir = true;
                }
                Instruction::Copy(copy) if copy.from.is_none() => {
                    self.sources(place, &copy.sources, "Copy", &names);
                }
                Instruction::Add(add) => {
                    self.sources(place, &add.sources, "Add", &names);
                }
                _ => {}
            }
        }
        // Arguments end with their stage; variables go on in stages built from it.
        (known.then_some(env), workdir)
    }

    /// Variables that nothing defines.
    fn variables(&mut self, place: &Located<Instruction>, names: &Names) {
        let mut missing: Vec<String> = Vec::new();
        for word in words(&place.value) {
            for name in self.expanded(word, names).1 {
                if !missing.contains(&name) {
                    missing.push(name);
                }
            }
        }
        let known: Vec<&str> = names.0.keys().map(String::as_str).collect();
        for name in missing {
            let suggestion = closest_exact(&name, &known)
                .map(|known| format!(" (did you mean ${known}?)"))
                .unwrap_or_default();
            let message = format!("Usage of undefined variable '${name}'{suggestion}");
            self.add("UndefinedVar", place, message);
        }
    }

    /// Sources that the ignore file leaves out.
    fn sources(
        &mut self,
        place: &Located<Instruction>,
        sources: &[Word],
        verb: &str,
        names: &Names,
    ) {
        for word in sources {
            let text = self.expanded(word, names).0;
            let path = text.trim_start_matches("./").trim_matches('/');
            let wild = path.contains(['*', '?', '[']);
            if path.is_empty() || wild || path == "." || path.contains("://") {
                continue;
            }
            if self.subject.ignored.matches(Path::new(path)) {
                let message = format!(
                    "Attempting to {verb} file \"{text}\" that is excluded by .dockerignore"
                );
                self.add("CopyIgnoredFile", place, message);
            }
        }
    }
}

/// The words of an instruction in which variables are replaced.
fn words(instruction: &Instruction) -> Vec<&Word> {
    match instruction {
        Instruction::Copy(copy) => {
            let flags = copy.flags.chown.iter().chain(&copy.flags.chmod);
            let places = copy.sources.iter().chain([&copy.destination]);
            flags.chain(places).collect()
        }
        Instruction::Add(add) => {
            let flags = add.flags.chown.iter().chain(&add.flags.chmod);
            let places = add.sources.iter().chain([&add.destination]);
            flags.chain(places).collect()
        }
        Instruction::Arg(args) => args.iter().filter_map(|arg| arg.default.as_ref()).collect(),
        Instruction::Env(pairs) | Instruction::Label(pairs) => pairs
            .iter()
            .flat_map(|pair| [&pair.key, &pair.value])
            .collect(),
        Instruction::Expose(words) | Instruction::Volume(words) => words.iter().collect(),
        Instruction::User(word) | Instruction::Workdir(word) | Instruction::Stopsignal(word) => {
            vec![word]
        }
        _ => Vec::new(),
    }
}
