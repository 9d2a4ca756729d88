//! Profiles of the user's own, in the form that Docker and the OCI runtime
//! specification share.
//!
//! Names that this machine's kernel does not have are passed over, as libseccomp
//! does. The conventions are this machine's, whatever `architectures` says: a
//! profile that forgets 32-bit programs would leave them without a filter.
//!
//! Source: runtime-spec 1.2, config-linux, "Seccomp"; moby `profiles/seccomp`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Error;
use super::assemble::{self, ALLOW, ERRNO};
use super::profile::{self, Argument, Condition, Rule, Verdict};

/// Longest program that the kernel takes. Source: linux/filter.h, `BPF_MAXINSNS`.
const LONGEST: usize = 4096;
const EPERM: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

/// The filter of a profile, as instructions of eight bytes.
pub(super) fn filter(text: &str, capabilities: u64) -> Result<Arc<[u8]>, Error> {
    let profile: Profile = serde_json::from_str(text)?;
    let arch = profile::architecture().ok_or(Error::Architecture)?;
    let otherwise = answer(&profile.default_action, profile.default_errno_ret)?;
    let nothing = Condition::default();
    let mut rules: BTreeMap<&str, Vec<Rule>> = BTreeMap::new();
    for entry in &profile.syscalls {
        let includes = entry.includes.as_ref().unwrap_or(&nothing);
        let excludes = entry.excludes.as_ref().unwrap_or(&nothing);
        if !profile::counts(includes, excludes, arch, capabilities) {
            continue;
        }
        let word = answer(&entry.action, entry.errno_ret)?;
        for name in entry.names.iter().chain(&entry.name) {
            let arguments = entry.args.iter().flatten();
            let comparisons = arguments.map(|argument| argument.comparison(name));
            let comparisons: Option<Vec<_>> = comparisons.collect();
            let comparisons = comparisons.ok_or_else(|| Error::Comparison(name.clone()))?;
            rules.entry(name).or_default().push(Rule {
                comparisons,
                answer: word,
            });
        }
    }
    let verdicts = rules.into_iter().map(|(name, mut rules)| {
        // What holds always is what is left when nothing else holds.
        rules.sort_by_key(|rule| rule.comparisons.is_empty());
        (name, Verdict::Rules(rules))
    });
    let tables = profile::tables(&verdicts.collect(), otherwise)?;
    let program = assemble::assemble(&tables);
    if program.len() / 8 > LONGEST {
        return Err(Error::TooLong);
    }
    Ok(program.into())
}

/// The kernel's word for an action. Source: linux/seccomp.h.
fn answer(action: &str, errno: Option<u32>) -> Result<u32, Error> {
    let errno = errno.unwrap_or(EPERM) & 0xffff;
    Ok(match action {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => ERRNO | errno,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        other => return Err(Error::Action(other.to_owned())),
    })
}
