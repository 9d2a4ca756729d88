//! Running `git` so that a repository has no say in what runs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;

use super::super::redact;
use super::super::{Error, Remote};
use crate::sys::command::{self, CommandError, Limits, Output, Supervised};

/// How long one run of `git` may take.
const DEADLINE: Duration = Duration::from_hours(1);
/// Most memory of `git` and of each of its children: what a pack or a list of
/// references may make it need.
const MEMORY: u64 = 8 << 30;
/// Longest message of git that is shown.
const MESSAGE_LIMIT: usize = 2_000;

/// Settings that a repository or the machine's files could otherwise choose.
const SETTINGS: [&str; 29] = [
    // Nothing that is executed.
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.pager=cat",
    "core.editor=false",
    "credential.helper=",
    "init.templateDir=",
    "uploadpack.packObjectsHook=",
    "diff.external=",
    "gpg.program=false",
    // Nothing fetched but what is asked for, over these transports only.
    "protocol.allow=never",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "transfer.bundleURI=false",
    "transfer.credentialsInUrl=allow",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=100",
    "http.lowSpeedTime=60",
    // What comes is checked.
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    // The same files everywhere.
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.logAllRefUpdates=false",
    "advice.detachedHead=false",
    "safe.directory=*",
    // Nothing that goes on afterwards.
    "gc.auto=0",
    "maintenance.auto=false",
];

/// What one run of `git` works on.
#[derive(Default)]
pub(super) struct Job<'a> {
    /// The repository.
    pub(super) repository: Option<&'a Path>,
    /// Where files are checked out.
    pub(super) tree: Option<&'a Path>,
    /// A list of checked-out files elsewhere than in the repository.
    pub(super) index: Option<&'a Path>,
    /// The remote that is talked to; nothing is reached without one.
    pub(super) remote: Option<&'a str>,
    /// A repository on this machine that may be fetched from.
    pub(super) from_local: bool,
    /// A directory that may grow up to the limit of downloads.
    pub(super) grows: Option<&'a Path>,
    /// Most output.
    pub(super) output_bytes: Option<u64>,
}

impl Remote<'_> {
    /// Runs `git` to its end, whatever its exit code.
    pub(super) fn git(&self, job: &Job<'_>, args: &[&str]) -> Result<Output, Error> {
        let remote = job.remote.unwrap_or("a repository");
        let program = command::find("git", self.variable("PATH")).ok_or_else(|| Error::NoGit {
            remote: redact(remote),
        })?;
        let environment = self.git_environment(job)?;
        let environment: Vec<(&str, &OsStr)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
            .collect();
        let grown = GrowthWatch::new(job.grows, self.settings.limit_bytes);
        let result = command::run_supervised(&Supervised {
            program: &program,
            args: &arguments(job, args),
            environment: &environment,
            directory: Some(job.tree.unwrap_or(Path::new("/"))),
            input: b"",
            deadline: DEADLINE,
            stop: &|| (self.canceled)() || grown.is_over(),
            limits: Limits {
                output_bytes: job.output_bytes,
                file_bytes: Some(self.settings.limit_bytes),
                memory_bytes: Some(MEMORY),
            },
        });
        match result {
            Err(CommandError::Stopped { .. }) if (self.canceled)() => Err(Error::Canceled),
            Err(CommandError::Stopped { .. }) => Err(Error::TooLarge {
                what: redact(remote),
                limit_bytes: self.settings.limit_bytes,
            }),
            other => Ok(other?),
        }
    }

    /// Runs `git`; another exit code than 0 is an error that says what it should `action`.
    pub(super) fn git_done(
        &self,
        job: &Job<'_>,
        action: &'static str,
        remote: &str,
        args: &[&str],
    ) -> Result<Vec<u8>, Error> {
        let output = self.git(job, args)?;
        if output.code == 0 {
            return Ok(output.stdout);
        }
        Err(failure(action, remote, &output))
    }

    fn git_environment(&self, job: &Job<'_>) -> Result<Vec<(String, OsString)>, Error> {
        let mut pairs: Vec<(String, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| pairs.push((name.to_owned(), value));
        // Git's own parts and `ssh` are where the system has them.
        let path = self.variable("PATH").unwrap_or(command::SYSTEM_PATH);
        set("PATH", path.into());
        set("LC_ALL", "C".into());
        set("HOME", "/dev/null".into());
        set("GIT_CONFIG_NOSYSTEM", "1".into());
        set("GIT_CONFIG_GLOBAL", "/dev/null".into());
        set("GIT_CONFIG_SYSTEM", "/dev/null".into());
        set("GIT_ATTR_NOSYSTEM", "1".into());
        set("GIT_TERMINAL_PROMPT", "0".into());
        set("GIT_ASKPASS", "false".into());
        set("SSH_ASKPASS", "false".into());
        set("GIT_OPTIONAL_LOCKS", "0".into());
        set("GIT_ADVICE", "0".into());
        set("GIT_NO_LAZY_FETCH", "1".into());
        set("GIT_NO_REPLACE_OBJECTS", "1".into());
        set("GIT_SSH_COMMAND", self.ssh_command().into());
        if let Some(index) = job.index {
            set("GIT_INDEX_FILE", index.into());
        }
        if let Some(remote) = job.remote {
            for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
                if let Some(value) = self.variable(name) {
                    set(name, value.into());
                }
            }
            let system = || crate::http::system_bundle().map(OsString::from);
            let own = self.variable("SSL_CERT_FILE").map(OsString::from);
            if let Some(roots) = own.or_else(system) {
                set("GIT_SSL_CAINFO", roots);
            }
            if let Some(socket) = self.ssh_agent {
                set("SSH_AUTH_SOCK", socket.into());
            }
            // On the command line everybody on this machine could read it.
            if let Some((scope, header)) = self.git_authorization(remote)? {
                set("GIT_CONFIG_COUNT", "1".into());
                set(
                    "GIT_CONFIG_KEY_0",
                    format!("http.{scope}.extraHeader").into(),
                );
                set(
                    "GIT_CONFIG_VALUE_0",
                    format!("Authorization: {header}").into(),
                );
            }
        }
        Ok(pairs)
    }

    /// Nobody is asked anything. A host whose key was never seen is accepted and
    /// remembered; a changed key is refused. Only the offered agent's keys are used.
    fn ssh_command(&self) -> String {
        let is_plain = |home: &&str| {
            home.starts_with('/')
                && !home.contains(|c: char| c.is_whitespace() || "'\"\\%".contains(c))
        };
        let home = self.variable("HOME").filter(is_plain);
        let known = home.map_or_else(
            || "/dev/null".to_owned(),
            |home| format!("{home}/.ssh/known_hosts"),
        );
        let agent = if self.ssh_agent.is_some() {
            "SSH_AUTH_SOCK"
        } else {
            "none"
        };
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o IdentityAgent={agent} \
             -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile='{known}' \
             -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 \
             -o PermitLocalCommand=no -o ForwardAgent=no -o ClearAllForwardings=yes"
        )
    }

    /// The scope and the header of the secrets `GIT_AUTH_HEADER` and `GIT_AUTH_TOKEN`;
    /// those with the host's name come first.
    fn git_authorization(&self, remote: &str) -> Result<Option<(String, String)>, Error> {
        let Some((scheme, rest)) = remote.split_once("://") else {
            return Ok(None);
        };
        if !matches!(scheme, "http" | "https") {
            return Ok(None);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let names = [
            (format!("GIT_AUTH_HEADER.{host}"), false),
            (format!("GIT_AUTH_TOKEN.{host}"), true),
            (format!("GIT_AUTH_HEADER.{bare}"), false),
            (format!("GIT_AUTH_TOKEN.{bare}"), true),
            ("GIT_AUTH_HEADER".to_owned(), false),
            ("GIT_AUTH_TOKEN".to_owned(), true),
        ];
        let found = names
            .iter()
            .find_map(|(name, is_token)| Some(((self.secret)(name)?, *is_token)));
        let Some((value, is_token)) = found else {
            return Ok(None);
        };
        let value = String::from_utf8(value).unwrap_or_else(|_| "\0".to_owned());
        let value = value.trim_end_matches(['\r', '\n']);
        if value.contains(|c: char| c.is_control()) {
            let url = redact(remote);
            return Err(Error::Credentials { url });
        }
        let header = if is_token {
            let pair = format!("x-access-token:{value}");
            format!(
                "basic {}",
                base64::engine::general_purpose::STANDARD.encode(pair)
            )
        } else {
            value.to_owned()
        };
        Ok(Some((format!("{scheme}://{host}/"), header)))
    }
}

fn arguments(job: &Job<'_>, args: &[&str]) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    for setting in SETTINGS {
        all.extend(["-c".into(), setting.into()]);
    }
    let mut allow =
        |name: &str| all.extend(["-c".into(), format!("protocol.{name}.allow=always").into()]);
    match job.remote {
        // An encrypted remote leads nowhere that is not.
        Some(remote) if remote.starts_with("https://") => allow("https"),
        Some(remote) if remote.starts_with("http://") => {
            allow("http");
            allow("https");
        }
        Some(remote) if remote.starts_with("git://") => allow("git"),
        Some(_) => allow("ssh"),
        None if job.from_local => allow("file"),
        None => {}
    }
    let option = |name: &str, path: &Path| {
        let mut text = OsString::from(name);
        text.push(path);
        text
    };
    all.extend(job.repository.map(|path| option("--git-dir=", path)));
    all.extend(job.tree.map(|path| option("--work-tree=", path)));
    all.extend(args.iter().map(OsString::from));
    all
}

/// What git said, cut to a reasonable length.
pub(super) fn failure(action: &'static str, remote: &str, output: &Output) -> Error {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.replace(remote, &redact(remote));
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .collect();
    // The last lines say why; those before them what went well.
    let mut message = String::new();
    for line in lines.iter().rev().take(8) {
        if message.len() + line.len() > MESSAGE_LIMIT {
            break;
        }
        message = if message.is_empty() {
            (*line).to_owned()
        } else {
            format!("{line}; {message}")
        };
    }
    if message.is_empty() {
        message = format!("exit code {}", output.code);
    }
    Error::Git {
        action,
        remote: redact(remote),
        message,
    }
}

/// Tells when a directory has grown beyond a limit; looks at it once in a while.
struct GrowthWatch {
    dir: Option<PathBuf>,
    limit_bytes: u64,
    turns: std::cell::Cell<u32>,
}

impl GrowthWatch {
    fn new(dir: Option<&Path>, limit_bytes: u64) -> Self {
        Self {
            dir: dir.map(Path::to_owned),
            limit_bytes,
            turns: std::cell::Cell::new(0),
        }
    }

    fn is_over(&self) -> bool {
        /// How many times it is asked for each look.
        const TURNS: u32 = 5;
        let turn = self.turns.get();
        self.turns.set((turn + 1) % TURNS);
        let Some(dir) = self.dir.as_deref().filter(|_| turn == 0) else {
            return false;
        };
        bytes_beneath(dir) > self.limit_bytes
    }
}

/// The size of the files beneath a directory, as far as they can be seen.
pub(super) fn bytes_beneath(dir: &Path) -> u64 {
    let mut bytes = 0;
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => todo.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}
