//! Docker's default system call filter, as programs for the kernel.
//!
//! `default.json` is the profile of moby/profiles (Apache-2.0); the tables of
//! system call numbers are those of the kernel's headers. One filter allows and answers
//! EPERM to the rest; a second one, installed after it, makes `clone3` answer
//! ENOSYS, so that C libraries fall back to `clone`: of two filters that answer with an
//! error the kernel takes the newer one's. Programs of a foreign architecture get EPERM.
//!
//! Source: seccomp(2); moby/profiles seccomp/default.json.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde::Deserialize;

use crate::sys::process::FilterInstruction;

const PROFILE: &str = include_str!("default.json");
#[cfg(target_arch = "x86_64")]
const NUMBERS: &str = include_str!("x86_64.txt");
#[cfg(target_arch = "x86_64")]
const ARCHES: [&str; 1] = ["amd64"];
#[cfg(target_arch = "x86_64")]
const TARGET: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const NUMBERS: &str = include_str!("aarch64.txt");
#[cfg(target_arch = "aarch64")]
const ARCHES: [&str; 1] = ["arm64"];
#[cfg(target_arch = "aarch64")]
const TARGET: TargetArch = TargetArch::aarch64;

/// `SECCOMP_RET_KILL_PROCESS`, which seccompiler answers a foreign architecture with.
const KILL_PROCESS: u32 = 0x8000_0000;
/// `SECCOMP_RET_ERRNO`.
const RET_ERRNO: u32 = 0x0005_0000;
/// Names of the capabilities by number, as linux/capability.h has them.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

#[derive(Deserialize)]
struct Profile {
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
struct Conditions {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

/// The filters for a sandbox with these capabilities, oldest first. Compiled once a process and set of capabilities.
pub(super) fn default_filters(capabilities: &[u8]) -> Vec<Vec<FilterInstruction>> {
    static COMPILED: Mutex<BTreeMap<Vec<u8>, Vec<Vec<FilterInstruction>>>> =
        Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled
        .entry(capabilities.to_vec())
        .or_insert_with(|| compile(capabilities))
        .clone()
}

fn compile(capabilities: &[u8]) -> Vec<Vec<FilterInstruction>> {
    let profile: Profile =
        serde_json::from_str(PROFILE).expect("the profile is part of this program");
    let numbers: HashMap<&str, i64> = NUMBERS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, number)| Some((name, number.parse().ok()?)))
        .collect();
    let caps: Vec<&str> = capabilities
        .iter()
        .filter_map(|number| CAPABILITIES.get(usize::from(*number)).copied())
        .collect();
    let mut allowed: BTreeMap<i64, Option<Vec<SeccompRule>>> = BTreeMap::new();
    let mut refused: BTreeMap<u32, BTreeMap<i64, Vec<SeccompRule>>> = BTreeMap::new();
    for rule in profile.syscalls.iter().filter(|rule| applies(rule, &caps)) {
        for number in rule
            .names
            .iter()
            .filter_map(|name| numbers.get(name.as_str()))
        {
            if rule.action == "SCMP_ACT_ERRNO" {
                let errno = rule.errno_ret.unwrap_or(1);
                refused
                    .entry(errno)
                    .or_default()
                    .insert(*number, Vec::new());
                continue;
            }
            let slot = allowed.entry(*number).or_insert_with(|| Some(Vec::new()));
            match (conditions(rule), slot.as_mut()) {
                // Without conditions it is allowed whatever other rules ask for.
                (None, _) => *slot = None,
                (Some(rule), Some(rules)) => rules.push(rule),
                (Some(_), None) => {}
            }
        }
    }
    let allowed = allowed
        .into_iter()
        .map(|(number, rules)| (number, rules.unwrap_or_default()))
        .collect();
    let mut filters = vec![program(
        allowed,
        SeccompAction::Errno(1),
        SeccompAction::Allow,
    )];
    for (errno, rules) in refused {
        filters.push(program(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(errno),
        ));
    }
    filters
}

fn applies(rule: &Rule, caps: &[&str]) -> bool {
    let caps_hold = |wanted: &[String]| wanted.iter().any(|cap| caps.contains(&cap.as_str()));
    let arch_holds = |wanted: &[String]| wanted.iter().any(|arch| ARCHES.contains(&arch.as_str()));
    let included = rule.includes.as_ref().is_none_or(|only| {
        (only.caps.is_empty() || caps_hold(&only.caps))
            && (only.arches.is_empty() || arch_holds(&only.arches))
    });
    let excluded = rule
        .excludes
        .as_ref()
        .is_some_and(|not| caps_hold(&not.caps) || arch_holds(&not.arches));
    included && !excluded
}

fn conditions(rule: &Rule) -> Option<SeccompRule> {
    let arguments = rule
        .args
        .as_ref()
        .filter(|arguments| !arguments.is_empty())?;
    let each = arguments.iter().map(|argument| {
        let (op, value) = match argument.op.as_str() {
            "SCMP_CMP_LT" => (SeccompCmpOp::Lt, argument.value),
            "SCMP_CMP_GT" => (SeccompCmpOp::Gt, argument.value),
            "SCMP_CMP_NE" => (SeccompCmpOp::Ne, argument.value),
            "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two),
            _ => (SeccompCmpOp::Eq, argument.value),
        };
        SeccompCondition::new(argument.index, SeccompCmpArgLen::Dword, op, value)
            .expect("the profile is valid")
    });
    Some(SeccompRule::new(each.collect()).expect("the rule has a condition"))
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Vec<FilterInstruction> {
    let filter = SeccompFilter::new(rules, otherwise, matched, TARGET).expect("the actions differ");
    let program: BpfProgram = filter.try_into().expect("the profile fits a program");
    program
        .into_iter()
        .map(|instruction| {
            let k = if instruction.k == KILL_PROCESS {
                RET_ERRNO | 1
            } else {
                instruction.k
            };
            let [code, more] = instruction.code.to_ne_bytes();
            let [a, b, c, d] = k.to_ne_bytes();
            [code, more, instruction.jt, instruction.jf, a, b, c, d]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_compiles_within_the_kernel_limit() {
        let filters = default_filters(&[0, 1, 18]);
        assert_eq!(filters.len(), 2);
        assert!(filters.iter().all(|filter| filter.len() < 4_096));
    }
}
