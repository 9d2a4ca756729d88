//! From what was written to a commit.

use super::super::{Error, Remote};
use super::Source;
use super::program::{Job, failure};

/// A commit, and by which name it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The full name of the reference, such as `refs/heads/main`, or the commit's.
    pub reference: String,
    /// The object that it names: a commit, or an annotated tag.
    pub object: String,
    /// The commit of an annotated tag.
    pub peeled: Option<String>,
}

impl Resolved {
    /// The commit, as far as it is known without fetching.
    pub fn commit(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.object)
    }

    /// A commit by its name.
    pub(super) fn of_commit(name: &str) -> Self {
        Self {
            reference: name.to_owned(),
            object: name.to_owned(),
            peeled: None,
        }
    }
}

/// Whether a text is the whole name of an object.
pub(super) fn is_object_name(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Remote<'_> {
    /// The commit that `source` names now. Asks the server, unless a commit was named.
    pub fn git_resolve(&self, source: &Source) -> Result<Resolved, Error> {
        check_remote(&source.remote)?;
        let checksum = source.checksum.as_deref();
        if let Some(checksum) = checksum {
            let is_hex = |byte: u8| byte.is_ascii_hexdigit();
            if checksum.is_empty() || !checksum.bytes().all(is_hex) {
                return Err(Error::CommitName(checksum.to_owned()));
            }
        }
        let resolved = match source.reference.as_deref() {
            Some(reference) if is_object_name(reference) => Resolved::of_commit(reference),
            reference if source.fetch_by_commit => by_commit(reference, checksum)?,
            Some(reference) => self.ask(source, reference)?,
            None => self.ask_default(source)?,
        };
        match checksum {
            Some(want) if !matches(&resolved, want) => Err(Error::Commit {
                want: want.to_owned(),
                got: match &resolved.peeled {
                    Some(peeled) => format!("{} or {peeled}", resolved.object),
                    None => resolved.object,
                },
            }),
            _ => Ok(resolved),
        }
    }

    /// The branch that the repository calls its default.
    fn ask_default(&self, source: &Source) -> Result<Resolved, Error> {
        let text = self.list(
            source,
            &["ls-remote", "--symref", "--", &source.remote, "HEAD"],
        )?;
        let mut reference = "HEAD";
        let mut object = None;
        for line in text.lines() {
            if let Some((target, "HEAD")) = line.split_once('\t') {
                match target.strip_prefix("ref: ") {
                    Some(target) => reference = target,
                    None => object = Some(target),
                }
            }
        }
        let object = object.filter(|object| is_object_name(object));
        match object {
            Some(object) => Ok(Resolved {
                reference: reference.to_owned(),
                object: object.to_owned(),
                peeled: None,
            }),
            None => Err(Error::NoReference {
                reference: "HEAD".to_owned(),
                output: shorten(&text),
            }),
        }
    }

    /// What `reference` names: a full name, a branch, or a tag, in this order.
    fn ask(&self, source: &Source, reference: &str) -> Result<Resolved, Error> {
        let peeled = format!("{reference}^{{}}");
        let text = self.list(
            source,
            &["ls-remote", "--", &source.remote, reference, &peeled],
        )?;
        let rest = reference.strip_prefix("refs/").unwrap_or(reference);
        let full = format!("refs/{rest}");
        let within = |kind: &str| {
            let name = rest.strip_prefix(kind).unwrap_or(rest);
            format!("refs/{kind}{name}")
        };
        let (branch, tag) = (within("heads/"), within("tags/"));
        let find = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
            let found = lines.find(|(_, own)| *own == name)?;
            is_object_name(found.0).then(|| found.0.to_owned())
        };
        for name in [full, branch, tag] {
            if let Some(object) = find(&name) {
                let peeled = find(&format!("{name}^{{}}"));
                return Ok(Resolved {
                    peeled,
                    object,
                    reference: name,
                });
            }
        }
        Err(Error::NoReference {
            reference: reference.to_owned(),
            output: shorten(&text),
        })
    }

    fn list(&self, source: &Source, args: &[&str]) -> Result<String, Error> {
        /// Most that a server may list.
        const LIST_LIMIT: u64 = 64 << 20;
        let job = Job {
            remote: Some(&source.remote),
            output_bytes: Some(LIST_LIMIT),
            ..Job::default()
        };
        let output = self.git(&job, args)?;
        if output.code != 0 {
            return Err(failure("fetch remote", &source.remote, &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(500).collect()
}

fn matches(resolved: &Resolved, checksum: &str) -> bool {
    let checksum = checksum.to_ascii_lowercase();
    let names = [Some(&resolved.object), resolved.peeled.as_ref()];
    names
        .into_iter()
        .flatten()
        .any(|name| name.starts_with(&checksum))
}

fn by_commit(reference: Option<&str>, checksum: Option<&str>) -> Result<Resolved, Error> {
    let checksum =
        checksum.ok_or_else(|| Error::ByCommit("a checksum or a commit SHA ref".to_owned()))?;
    if !is_object_name(checksum) {
        let what = format!("a full commit SHA checksum, got {checksum:?}");
        return Err(Error::ByCommit(what));
    }
    let reference = match reference {
        None => checksum.to_owned(),
        Some(full) if full.starts_with("refs/") => full.to_owned(),
        Some(name) => format!("refs/heads/{name}"),
    };
    Ok(Resolved {
        reference,
        ..Resolved::of_commit(checksum)
    })
}

/// Only what git takes as an address over the network: `http://`, `https://`, `ssh://`,
/// `git://` and `user@host:path`.
pub(super) fn check_remote(remote: &str) -> Result<(), Error> {
    let refuse = |why: &str| Error::Remote {
        remote: super::redact(remote),
        why: why.to_owned(),
    };
    if remote.contains(|c: char| c.is_control()) {
        return Err(refuse("its address has control characters"));
    }
    let host = match remote.split_once("://") {
        Some(("http" | "https" | "ssh" | "git", rest)) => rest,
        Some(_) => return Err(refuse("only http, https, ssh and git can be fetched from")),
        None => match remote.split_once(':') {
            Some((host, path)) if !host.contains('/') && !path.starts_with(':') => host,
            _ => return Err(refuse("it is no address on the network")),
        },
    };
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    // A program that git starts would take it for an option.
    if host.is_empty() || host.starts_with('-') || remote.starts_with('-') {
        return Err(refuse("its host is malformed"));
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn only_networks_are_fetched_from() {
        for right in [
            "https://h/a.git",
            "http://u@h:1/a.git",
            "ssh://git@h/a",
            "git://h/a",
            "git@h:a/b.git",
        ] {
            assert!(check_remote(right).is_ok(), "{right}");
        }
        for wrong in [
            "file:///etc",
            "/etc",
            "../x",
            "./a:b",
            "ext::sh -c id",
            "-uid:x",
            "ssh://-oProxyCommand=id/x",
            "git@-oProxyCommand=id:x",
            "https:///x",
            "https://h/a\nb",
            "fd::17",
        ] {
            assert!(check_remote(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn checksums_may_be_beginnings() {
        let resolved = Resolved {
            reference: "refs/tags/v1".to_owned(),
            object: "ab".repeat(20),
            peeled: Some("cd".repeat(20)),
        };
        assert!(matches(&resolved, "ABab"));
        assert!(matches(&resolved, "cdcdcd"));
        assert!(!matches(&resolved, "bc"));
    }
}
