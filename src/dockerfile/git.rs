//! Git references: `https://host/repository.git#ref:directory` and kin.
//!
//! Source: "Git repositories" in the `docker build` reference.

use super::{go, quote};

/// A git repository, and what of it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitReference {
    /// What `git` is told to fetch from, without fragment and query.
    pub remote: String,
    /// The name of the repository: the last part of its path without `.git`.
    pub short_name: String,
    /// A commit, tag or branch.
    pub reference: Option<String>,
    /// The commit that `reference` must be.
    pub checksum: Option<String>,
    /// A directory within the repository.
    pub subdir: Option<String>,
    /// `github.com/owner/name` could be a local path as well: only a context
    /// may be written so.
    pub indistinguishable_from_local: bool,
    /// The protocol is not encrypted.
    pub unencrypted: bool,
    /// `keep-git-dir`, where it was given.
    pub keep_git_dir: Option<bool>,
    /// `submodules`, where it was given.
    pub submodules: Option<bool>,
    /// `mtime=commit`: files are as old as their commit.
    pub mtime_of_commit: Option<bool>,
    /// `fetch-by-commit`: the checksum is fetched without looking at the
    /// reference.
    pub fetch_by_commit: bool,
}

/// Takes a git reference apart; `None` when the text is something else.
///
/// # Errors
/// The message, when it is a git reference whose query is wrong.
pub fn git_reference(text: &str) -> Result<Option<GitReference>, String> {
    if text.starts_with("./") || text.starts_with("../") || text.contains(is_control) {
        return Ok(None);
    }
    let scheme = text.split_once("://").filter(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|char| char.is_ascii_alphanumeric())
    });
    let parts = match scheme {
        _ if text.starts_with("github.com/") => local_looking(text),
        Some((scheme, rest)) => url(&scheme.to_ascii_lowercase(), rest),
        None => scp(text),
    };
    let Some(Parts {
        mut git,
        query,
        fragment,
    }) = parts
    else {
        return Ok(None);
    };
    let last = git.remote.rsplit('/').next().unwrap_or_default();
    last.strip_suffix(".git")
        .unwrap_or(last)
        .clone_into(&mut git.short_name);
    if !fragment.is_empty() {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
        git.reference = given(reference);
        git.subdir = given(&clean(subdir));
    }
    git.load(&query)?;
    Ok(Some(git))
}

fn is_control(char: char) -> bool {
    char < ' ' || char == '\u{7f}'
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The directory below the root that a path leads to, `..` ending there.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

struct Parts {
    git: GitReference,
    query: String,
    fragment: String,
}

/// Splits off the fragment, then the query.
fn split(text: &str) -> (&str, &str, &str) {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    (text, query, fragment)
}

fn local_looking(text: &str) -> Option<Parts> {
    let (remote, query, fragment) = split(text);
    unescape(remote, false)?;
    Some(Parts {
        git: GitReference {
            remote: remote.to_owned(),
            indistinguishable_from_local: true,
            ..GitReference::default()
        },
        query: query.to_owned(),
        fragment: unescape(fragment, false)?,
    })
}

fn url(scheme: &str, rest: &str) -> Option<Parts> {
    if !matches!(scheme, "http" | "https" | "ssh" | "git") {
        return None;
    }
    let (address, query, fragment) = split(rest);
    let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let path = unescape(path, false)?;
    if !is_authority(authority) {
        return None;
    }
    // Any web address could be a file: only this suffix makes it a repository.
    if matches!(scheme, "http" | "https") && path.strip_suffix(".git").is_none() {
        return None;
    }
    Some(Parts {
        git: GitReference {
            remote: format!("{scheme}://{address}"),
            unencrypted: matches!(scheme, "http" | "git"),
            ..GitReference::default()
        },
        query: query.to_owned(),
        fragment: unescape(fragment, false)?,
    })
}

/// Whether `[user@]host[:port]` is well formed.
fn is_authority(authority: &str) -> bool {
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.find(':').map_or("", |colon| &host[colon..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && (port.is_empty() || port.starts_with(':'))
        && !host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '}', '|'])
}

/// `user@host:path`.
fn scp(text: &str) -> Option<Parts> {
    let is_name = |text: &str, more: &[char]| {
        let is_part = |char: char| char.is_ascii_alphanumeric() || more.contains(&char);
        !text.is_empty() && text.chars().all(is_part)
    };
    let (user, rest) = text.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    if !is_name(user, &['-', '_']) || !is_name(host, &['-', '.']) {
        return None;
    }
    let (path, query, fragment) = split(rest);
    Some(Parts {
        git: GitReference {
            remote: format!("{user}@{host}:{path}"),
            ..GitReference::default()
        },
        query: query.to_owned(),
        fragment: fragment.to_owned(),
    })
}

/// Replaces `%41`; `None` where the digits are missing.
fn unescape(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if plus_is_blank => b' ',
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl GitReference {
    fn load(&mut self, query: &str) -> Result<(), String> {
        let mut tag = None;
        let mut branch = None;
        for (key, value) in pairs(query)? {
            let switch = || match value.as_str() {
                "" => Ok(true),
                text => {
                    go::boolean(text).ok_or_else(|| format!("invalid {key} value: {}", quote(text)))
                }
            };
            match key.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(switch()?),
                "submodules" => self.submodules = Some(switch()?),
                "fetch-by-commit" => self.fetch_by_commit = switch()?,
                _ if value.is_empty() => {
                    return Err(format!("query {} has no value", quote(&key)));
                }
                "ref" => agree("ref", &mut self.reference, value)?,
                "subdir" => agree("subdir", &mut self.subdir, value)?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "checksum" | "commit" => self.checksum = Some(value),
                "mtime" => self.mtime_of_commit = Some(mtime(&value)?),
                _ => return Err(format!("unexpected query {}", quote(&key))),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        let full = |name: String, prefix: &str| {
            if name.starts_with(prefix) {
                name
            } else {
                format!("{prefix}{name}")
            }
        };
        if let Some(tag) = tag {
            agree("ref", &mut self.reference, full(tag, "refs/tags/"))?;
        }
        if let Some(branch) = branch {
            agree("ref", &mut self.reference, full(branch, "refs/heads/"))?;
        }
        Ok(())
    }
}

fn mtime(value: &str) -> Result<bool, String> {
    match value {
        "checkout" => Ok(false),
        "commit" => Ok(true),
        _ => Err(format!(
            "invalid mtime value: {} (must be \"checkout\" or \"commit\")",
            quote(value)
        )),
    }
}

fn agree(name: &str, known: &mut Option<String>, value: String) -> Result<(), String> {
    if let Some(known) = known.as_ref().filter(|known| **known != value) {
        let (known, value) = (quote(known), quote(&value));
        return Err(format!("{name} conflicts: {known} vs {value}"));
    }
    *known = Some(value);
    Ok(())
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in query
        .split('&')
        .filter(|part| !part.is_empty() && !part.contains(';'))
    {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) else {
            continue;
        };
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(format!("query {} has multiple values", quote(&key)));
        }
        // Every key that is known stands at most once, so this is the end of a
        // list that would otherwise be searched for ever longer.
        if pairs.len() == 16 {
            return Err(format!("unexpected query {}", quote(&key)));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

#[cfg(test)]
#[path = "tests/git.rs"]
mod tests;
