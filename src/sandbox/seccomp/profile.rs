//! The profile and what it means for this machine and a set of capabilities.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Error;
use super::assemble::ERRNO;

pub(super) const DEFAULT: &str = include_str!("default.json");
const NUMBERS: &str = include_str!("numbers.txt");

/// The names of capabilities that the profile asks for, with their numbers in
/// linux/capability.h.
const CAPABILITIES: [(&str, u8); 14] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_SYS_MODULE", 16),
    ("CAP_SYS_RAWIO", 17),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_PACCT", 20),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_BOOT", 22),
    ("CAP_SYS_NICE", 23),
    ("CAP_SYS_TIME", 25),
    ("CAP_SYS_TTY_CONFIG", 26),
    ("CAP_SYSLOG", 34),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

/// Arguments that the kernel takes as 32-bit numbers: the upper half of the
/// register does not count, so a comparison of all 64 bits could be fooled.
const NARROW: [(&str, u8); 2] = [("socket", 0), ("personality", 0)];

/// The profile as its file has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    default_errno_ret: u16,
    syscalls: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Vec<Argument>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

/// A comparison as a profile's file has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// When an entry counts. The oldest kernel it names is 4.8, older than every
/// kernel that this program runs on, so `minKernel` is always met.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Condition {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

/// What happens to a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes through.
    Allow,
    /// It fails with this error.
    Refuse(u16),
    /// It goes through when one of these comparisons holds, else it is refused
    /// as calls are that the profile does not name.
    AllowIf(Vec<Comparison>),
    /// The answer of the first rule all of whose comparisons hold; without one,
    /// that of calls which the profile does not name.
    Rules(Vec<Rule>),
}

/// Comparisons that all have to hold, and the kernel's word for what happens then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) comparisons: Vec<Comparison>,
    pub(super) answer: u32,
}

/// A comparison of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) index: u8,
    pub(super) test: Test,
    /// Whether the lower 32 bits alone count.
    pub(super) narrow: bool,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Less(u64),
    NotGreater(u64),
    Equal(u64),
    Different(u64),
    Greater(u64),
    NotLess(u64),
    Masked { mask: u64, value: u64 },
}

/// The calls of one calling convention, by number.
#[derive(Debug)]
pub(super) struct Table {
    /// `AUDIT_ARCH_*`.
    pub(super) arch: u32,
    /// Added to each number: x32 shares its architecture with x86-64 and marks
    /// its calls with a bit.
    pub(super) offset: u32,
    pub(super) calls: BTreeMap<u32, Verdict>,
}

/// All tables, and the kernel's word for a call that is in none.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) tables: Vec<Table>,
    pub(super) otherwise: u32,
}

/// A set of tables for this machine's conventions.
pub(super) fn tables(by_name: &BTreeMap<&str, Verdict>, otherwise: u32) -> Result<Tables, Error> {
    let (_, conventions) = conventions().ok_or(Error::Architecture)?;
    let tables = conventions.iter().map(|(column, arch, offset)| Table {
        arch: *arch,
        offset: *offset,
        calls: numbers(column)
            .filter_map(|(name, number)| Some((number, by_name.get(name)?.clone())))
            .collect(),
    });
    Ok(Tables {
        tables: tables.collect(),
        otherwise,
    })
}

/// The name of this machine's architecture in profiles.
pub(super) fn architecture() -> Option<&'static str> {
    conventions().map(|(name, _)| name)
}

/// A calling convention of this machine: its column in `numbers.txt`,
/// `AUDIT_ARCH_*`, the offset of its numbers.
type Convention = (&'static str, u32, u32);

const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xC000_00B7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;
const AUDIT_ARCH_RISCV64: u32 = 0xC000_00F3;
const X32_BIT: u32 = 0x4000_0000;

/// The name of this machine's architecture in profiles, and its conventions.
fn conventions() -> Option<(&'static str, &'static [Convention])> {
    match std::env::consts::ARCH {
        "x86_64" => Some((
            "amd64",
            &[
                ("x86_64", AUDIT_ARCH_X86_64, 0),
                ("x32", AUDIT_ARCH_X86_64, X32_BIT),
                ("x86", AUDIT_ARCH_I386, 0),
            ],
        )),
        "aarch64" => Some((
            "arm64",
            &[
                ("aarch64", AUDIT_ARCH_AARCH64, 0),
                ("arm", AUDIT_ARCH_ARM, 0),
            ],
        )),
        "riscv64" => Some(("riscv64", &[("riscv64", AUDIT_ARCH_RISCV64, 0)])),
        _ => None,
    }
}

impl Profile {
    /// The profile that this program carries.
    pub(super) fn parse() -> Result<Self, Error> {
        Ok(serde_json::from_str(DEFAULT)?)
    }

    /// What it says on this machine, to a process that may have `capabilities`, a
    /// set of bits.
    pub(super) fn resolve(&self, capabilities: u64) -> Result<Tables, Error> {
        let arch = architecture().ok_or(Error::Architecture)?;
        let by_name = self.by_name(arch, capabilities);
        tables(&by_name, ERRNO | u32::from(self.default_errno_ret))
    }

    fn by_name(&self, arch: &str, capabilities: u64) -> BTreeMap<&str, Verdict> {
        let mut verdicts: BTreeMap<&str, Verdict> = BTreeMap::new();
        for entry in self
            .syscalls
            .iter()
            .filter(|entry| entry.counts(arch, capabilities))
        {
            for name in &entry.names {
                let verdict = entry.verdict(name, self.default_errno_ret);
                match (verdicts.get_mut(name.as_str()), verdict) {
                    (Some(Verdict::AllowIf(known)), Verdict::AllowIf(more)) => known.extend(more),
                    // An unconditional entry outweighs conditional ones.
                    (Some(Verdict::Allow | Verdict::Refuse(_)), Verdict::AllowIf(_)) => {}
                    (_, verdict) => drop(verdicts.insert(name, verdict)),
                }
            }
        }
        verdicts
    }
}

/// Whether an entry with these conditions counts.
pub(super) fn counts(
    includes: &Condition,
    excludes: &Condition,
    arch: &str,
    capabilities: u64,
) -> bool {
    let has = |name: &String| {
        let known = CAPABILITIES.iter().find(|(known, _)| known == name);
        known.is_some_and(|(_, number)| capabilities >> number & 1 == 1)
    };
    let here = |name: &String| name == arch;
    let included = includes.caps.iter().all(has)
        && (includes.arches.is_empty() || includes.arches.iter().any(here));
    included && !excludes.caps.iter().any(has) && !excludes.arches.iter().any(here)
}

impl Entry {
    fn counts(&self, arch: &str, capabilities: u64) -> bool {
        counts(&self.includes, &self.excludes, arch, capabilities)
    }

    fn verdict(&self, name: &str, otherwise: u16) -> Verdict {
        if self.action != "SCMP_ACT_ALLOW" {
            return Verdict::Refuse(self.errno_ret.unwrap_or(otherwise));
        }
        if self.args.is_empty() {
            return Verdict::Allow;
        }
        let comparisons = self.args.iter().map(|argument| argument.comparison(name));
        // Each entry of this profile has one comparison; several would all have to
        // hold. What cannot be expressed is refused.
        match comparisons.collect::<Option<Vec<_>>>() {
            Some(comparisons) if comparisons.len() == 1 => Verdict::AllowIf(comparisons),
            _ => Verdict::AllowIf(Vec::new()),
        }
    }
}

impl Argument {
    pub(super) fn comparison(&self, name: &str) -> Option<Comparison> {
        if self.index > 5 {
            return None;
        }
        let test = match self.op.as_str() {
            "SCMP_CMP_LT" => Test::Less(self.value),
            "SCMP_CMP_LE" => Test::NotGreater(self.value),
            "SCMP_CMP_EQ" => Test::Equal(self.value),
            "SCMP_CMP_NE" => Test::Different(self.value),
            "SCMP_CMP_GT" => Test::Greater(self.value),
            "SCMP_CMP_GE" => Test::NotLess(self.value),
            "SCMP_CMP_MASKED_EQ" => Test::Masked {
                mask: self.value,
                value: self.value_two,
            },
            _ => return None,
        };
        Some(Comparison {
            index: self.index,
            test,
            narrow: NARROW.contains(&(name, self.index)),
        })
    }
}

/// The calls of a column of the table, with their numbers.
fn numbers(column: &str) -> impl Iterator<Item = (&'static str, u32)> {
    let mut lines = NUMBERS.lines();
    let heading = lines.next().unwrap_or_default().trim_start_matches("# ");
    let at = heading.split(' ').position(|name| name == column);
    lines.filter_map(move |line| {
        let name = line.split(' ').next()?;
        let number = line.split(' ').nth(at?)?.parse().ok()?;
        Some((name, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_of_the_profile_is_understood() {
        let profile = Profile::parse().unwrap();
        for entry in &profile.syscalls {
            for name in entry.includes.caps.iter().chain(&entry.excludes.caps) {
                assert!(
                    CAPABILITIES.iter().any(|(known, _)| known == name),
                    "{name}"
                );
            }
            assert!(entry.args.len() <= 1);
            for argument in &entry.args {
                assert!(argument.comparison("").is_some(), "{}", argument.op);
            }
            let known = ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"];
            assert!(known.contains(&entry.action.as_str()), "{}", entry.action);
        }
    }

    #[test]
    fn every_named_call_has_a_number_somewhere() {
        let profile = Profile::parse().unwrap();
        for name in profile.syscalls.iter().flat_map(|entry| &entry.names) {
            // Architectures that are not in the table: s390, ppc64le.
            let foreign = name.starts_with("s390_") || name == "swapcontext";
            let known = NUMBERS
                .lines()
                .any(|line| line.split(' ').next() == Some(name));
            assert!(known || foreign, "{name}");
        }
    }

    #[test]
    fn the_numbers_of_this_machine_are_those_of_its_headers() {
        let column = conventions().unwrap().1[0].0;
        let table: BTreeMap<&str, u32> = numbers(column).collect();
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("keyctl", libc::SYS_keyctl),
        ] {
            assert_eq!(
                table.get(name).map(|number| i64::from(*number)),
                Some(number),
                "{name}"
            );
        }
    }
}
