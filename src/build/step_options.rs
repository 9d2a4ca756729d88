//! What RUN steps get from the command line: secrets, agents, rights, limits of time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::graph::Vertex;

/// What RUN steps get from the command line. Nothing of it enters a cache key.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    /// `--secret`, by ID.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`, by ID.
    pub agents: BTreeMap<String, SshAgent>,
    /// `--allow`.
    pub allow: BTreeSet<Entitlement>,
    /// `--cgroup-parent`: the group above those of steps, relative to each
    /// controller's root.
    pub cgroup_parent: Option<String>,
    /// `--timeout` and `--retry`; of several that fit a step the last one counts.
    pub rules: Vec<StepRule>,
}

/// A secret's value. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Largest value, in bytes. Source: BuildKit, `MaxSecretSize`.
    pub const LIMIT: usize = 500 * 1024;

    /// A secret of this value.
    pub fn new(value: impl Into<Arc<[u8]>>) -> Self {
        Self(value.into())
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An SSH agent that steps may ask for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAgent {
    /// Its socket.
    pub socket: PathBuf,
}

/// A right that a Dockerfile has only when the command line gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --network=host`.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
    /// Layers that contain the value of a secret.
    SecretsInLayers,
}

impl Entitlement {
    const ALL: [Self; 3] = [
        Self::NetworkHost,
        Self::SecurityInsecure,
        Self::SecretsInLayers,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
            Self::SecretsInLayers => "secrets.in-layers",
        }
    }

    /// The one of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A limit of time, or another try, for some steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRule {
    /// Which steps; all of them when absent.
    pub pattern: Option<StepPattern>,
    /// After how long a step is killed.
    pub timeout: Option<Duration>,
    /// How often it is tried again.
    pub retry: Option<Retry>,
}

/// Further tries of a step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many.
    pub times: u32,
    /// How long to wait before the first; each further one waits twice as long.
    pub delay: Duration,
}

/// Steps by their stage's name, their instruction, or their command: `*` stands
/// for any text and `?` for one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepPattern(String);

impl StepPattern {
    /// The pattern as written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn fits(&self, vertex: &Vertex) -> bool {
        let stage = stage_of(&vertex.name);
        let command = vertex.text.split_once(char::is_whitespace);
        let command = command.map(|(_, command)| command.trim_start());
        [stage, Some(vertex.text.as_str()), command]
            .into_iter()
            .flatten()
            .any(|text| matches(self.0.as_bytes(), text.as_bytes()))
    }
}

impl StepOptions {
    /// After how long a step is killed.
    pub(super) fn timeout(&self, vertex: &Vertex) -> Option<Duration> {
        self.last(vertex, |rule| rule.timeout)
    }

    /// How often a step is tried again.
    pub(super) fn retry(&self, vertex: &Vertex) -> Option<Retry> {
        self.last(vertex, |rule| rule.retry)
    }

    fn last<T>(&self, vertex: &Vertex, of: impl Fn(&StepRule) -> Option<T>) -> Option<T> {
        let fits = |rule: &&StepRule| {
            let pattern = rule.pattern.as_ref();
            pattern.is_none_or(|pattern| pattern.fits(vertex))
        };
        self.rules.iter().rev().filter(fits).find_map(of)
    }
}

/// The stage in the line that progress shows, `[build 2/5] RUN make`.
fn stage_of(name: &str) -> Option<&str> {
    let (place, _) = name.strip_prefix('[')?.split_once("] ")?;
    let (stage, _) = place.rsplit_once(' ')?;
    Some(stage)
}

/// Whether a pattern fits a whole text. Linear but for the last `*`, which is
/// enough: what comes after an earlier one need not be tried again.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(one) if *one == b'?' || *one == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => match &mut star {
                Some((star_at, from)) => {
                    *from += 1;
                    (at, in_text) = (*star_at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::graph::{Op, WorkdirOp};

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, text, fits) in [
            ("make", "make", true),
            ("make", "make all", false),
            ("make*", "make all", true),
            ("*all", "make all", true),
            ("*a*a*", "banana", true),
            ("b?n*a", "banana", true),
            ("*x*", "banana", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                fits,
                "{pattern}"
            );
        }
    }

    #[test]
    fn the_last_rule_that_fits_a_step_counts() {
        let vertex = Vertex {
            parent: None,
            op: Op::Workdir(WorkdirOp {
                path: String::new(),
                user: String::new(),
            }),
            span: None,
            name: "[test 2/5] RUN make check".to_owned(),
            text: "RUN make check".to_owned(),
        };
        let rule = |pattern: Option<&str>, seconds| StepRule {
            pattern: pattern.map(StepPattern::new),
            timeout: Some(Duration::from_secs(seconds)),
            retry: None,
        };
        let mut options = StepOptions::default();
        let timeout = |options: &StepOptions| options.timeout(&vertex).map(|time| time.as_secs());
        assert_eq!(timeout(&options), None);
        for (number, pattern) in [None, Some("test"), Some("RUN make*"), Some("make ch?ck")]
            .into_iter()
            .enumerate()
        {
            options.rules.push(rule(pattern, number as u64));
            assert_eq!(timeout(&options), Some(number as u64));
        }
        options.rules.push(rule(Some("build"), 9));
        assert_eq!(timeout(&options), Some(3));
        assert_eq!(options.retry(&vertex), None);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new(*b"hunter2");
        assert_eq!(format!("{secret:?}"), "***");
    }
}
