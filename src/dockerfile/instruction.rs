//! The syntax tree: one type per instruction, everything as written.

use super::Span;

/// A whole file.
#[derive(Debug, Clone, Default)]
pub struct Dockerfile {
    /// The escape character, `\` unless a directive says otherwise.
    pub escape: Option<char>,
    /// The `syntax` directive.
    pub syntax: Option<Located<String>>,
    /// The `check` directive.
    pub check: Option<Located<String>>,
    /// `ARG`s before the first `FROM`.
    pub global_args: Vec<Located<Vec<Arg>>>,
    /// The stages in order.
    pub stages: Vec<Stage>,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The bytes of the whole instruction, heredocs included.
    pub span: Span,
    /// The instruction on one line as progress shows it: name in upper case,
    /// continuations joined, without heredoc bodies. Of a directive, everything
    /// after `=`.
    pub text: String,
    /// The instruction's name as written.
    pub name: String,
    /// The comments right above, without `#`.
    pub comments: Vec<String>,
    /// The value. Of a directive, its first word.
    pub value: T,
}

/// A piece of text as written, quotes and variables included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// A build stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The `FROM`.
    pub from: Located<From>,
    /// The comment right above, where it describes the stage by name.
    pub description: Option<String>,
    /// What follows, in order.
    pub instructions: Vec<Located<Instruction>>,
}

/// `FROM [--platform=P] [--after=S] base [AS name]`.
#[derive(Debug, Clone)]
pub struct From {
    /// `--platform`.
    pub platform: Option<Word>,
    /// `--after`, as often as it stands.
    pub after: Vec<Word>,
    /// The base: an image, a stage or `scratch`.
    pub base: Word,
    /// The word `AS` as written.
    pub as_keyword: Option<Word>,
    /// The stage's name, in lower case.
    pub name: Option<Word>,
    /// The stage's name as written.
    pub written_name: Option<String>,
}

/// Any instruction within a stage.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each variant is the instruction of its name")]
pub enum Instruction {
    Add(Add),
    Arg(Vec<Arg>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<Pair>),
    /// In the order of the text, which is that of the history.
    Expose(Vec<Word>),
    Healthcheck(Healthcheck),
    Label(Vec<Pair>),
    Maintainer(Word),
    Onbuild(Onbuild),
    Run(Run),
    Shell(Vec<String>),
    Stopsignal(Word),
    User(Word),
    Volume(Vec<Word>),
    Workdir(Word),
}

impl Instruction {
    /// The word that it begins with, in capitals.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A declared build argument.
#[derive(Debug, Clone)]
pub struct Arg {
    /// Its name, as written (it may hold variables).
    pub name: Word,
    /// Its default, as written.
    pub default: Option<Word>,
    /// The comment right above, where it describes the argument by name.
    pub description: Option<String>,
}

/// `key=value` of ENV and LABEL, as written.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The key.
    pub key: Word,
    /// The value.
    pub value: Word,
    /// Whether it was written in the old form without `=`.
    pub legacy: bool,
}

/// Which of the two forms a command has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A JSON array: the argument vector itself.
    Exec(Vec<String>),
    /// Text for the shell, continuations joined, never expanded by the builder.
    Shell(String),
}

/// The command of RUN, CMD, ENTRYPOINT or HEALTHCHECK.
#[derive(Debug, Clone)]
pub struct Command {
    /// The command.
    pub form: Form,
    /// Its place.
    pub span: Span,
}

/// A heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, quotes removed.
    pub name: String,
    /// The body, leading tabs removed for `<<-`, with its last line break.
    pub content: String,
    /// The body as written, for a shell that reads the heredoc itself.
    pub raw: String,
    /// Whether variables in the body are expanded (the word was not quoted).
    pub expand: bool,
    /// Whether it was `<<-`.
    pub chomp: bool,
    /// The number before `<<`; 0 without one.
    pub fd: u32,
    /// The place of the body.
    pub span: Span,
}

/// `RUN`.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its flags.
    pub flags: RunFlags,
    /// The command, without heredoc bodies.
    pub command: Command,
    /// The heredocs, in order.
    pub heredocs: Vec<Heredoc>,
}

/// Flags of RUN, as written.
#[derive(Debug, Clone, Default)]
pub struct RunFlags {
    /// `--mount`, as often as it stands.
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
    /// `--device`, as often as it stands.
    pub devices: Vec<Word>,
}

/// `COPY`.
#[derive(Debug, Clone)]
pub struct Copy {
    /// `--from`.
    pub from: Option<Word>,
    /// The flags it shares with ADD.
    pub flags: CopyFlags,
    /// `--parents`.
    pub parents: Option<(bool, Span)>,
    /// The sources; heredocs stand in `heredocs` and not here.
    pub sources: Vec<Word>,
    /// Heredoc sources, in order; they come after `sources`.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub destination: Word,
}

/// Flags that COPY and ADD share, as written.
#[derive(Debug, Clone, Default)]
pub struct CopyFlags {
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: Option<(bool, Span)>,
    /// `--exclude`, as often as it stands.
    pub exclude: Vec<Word>,
}

/// `ADD`.
#[derive(Debug, Clone)]
pub struct Add {
    /// The flags it shares with COPY.
    pub flags: CopyFlags,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<(bool, Span)>,
    /// `--unpack`.
    pub unpack: Option<(bool, Span)>,
    /// The sources.
    pub sources: Vec<Word>,
    /// Heredoc sources, in order.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub destination: Word,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK [options] CMD command`. Durations are in nanoseconds, 0 for
    /// the default.
    Cmd {
        /// `--interval`.
        interval: i64,
        /// `--timeout`.
        timeout: i64,
        /// `--start-period`.
        start_period: i64,
        /// `--start-interval`.
        start_interval: i64,
        /// `--retries`.
        retries: i64,
        /// The probe.
        command: Command,
    },
}

/// `ONBUILD`.
#[derive(Debug, Clone)]
pub struct Onbuild {
    /// The text kept in the image: the instruction without `ONBUILD`, heredocs
    /// attached.
    pub trigger: String,
    /// The instruction, parsed for its errors.
    pub instruction: Box<Instruction>,
}
