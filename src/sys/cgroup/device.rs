//! The program that the kernel asks when a process of a version 2 group opens a
//! device or makes a node for one. Version 1 has files of rules for that.
//!
//! The words are version 1's, and so is what they mean: nothing is allowed but
//! what a rule allows as a whole, and rules for the same devices add up.
//!
//! Source: linux/bpf.h; the kernel's admin-guide/cgroup-v1/devices and
//! bpf/instruction-set.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// `BPF_DEVCG_ACC_*`: making a node, reading, writing.
const ACCESSES: [(char, u32); 3] = [('m', 1), ('r', 2), ('w', 4)];
const EVERY_ACCESS: u32 = 7;
/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
/// More rules than anybody writes.
const MOST_RULES: usize = 4096;

/// Devices of one kind, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    kind: u32,
    /// Every number when absent.
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// Lets the processes of the group at `dir` use those devices alone.
pub(super) fn restrict(dir: &Path, rules: &[String]) -> io::Result<()> {
    let Some(rules) = parse(rules)? else {
        // Every device is allowed, as without a program.
        return Ok(());
    };
    let program = load(&assemble(&rules))?;
    let group = open(dir)?;
    attach(&group, &program)
}

/// Whether a program decides for the group at `dir`.
pub(super) fn is_restricted(dir: &Path) -> bool {
    open(dir)
        .and_then(|group| programs(&group))
        .is_ok_and(|count| count > 0)
}

/// The rules, those for the same devices merged; nothing where one allows everything.
fn parse(rules: &[String]) -> io::Result<Option<Vec<Rule>>> {
    let invalid = || io::Error::from(rustix::io::Errno::INVAL);
    let mut parsed: Vec<Rule> = Vec::new();
    for text in rules {
        let mut fields = text.split_ascii_whitespace();
        let kind = match fields.next() {
            // The rest of such a rule means nothing.
            Some("a") => return Ok(None),
            Some("b") => BLOCK,
            Some("c") => CHARACTER,
            _ => return Err(invalid()),
        };
        let numbers = fields.next().and_then(|numbers| numbers.split_once(':'));
        let (major, minor) = numbers.ok_or_else(invalid)?;
        let number = |text: &str| match text {
            "*" => Ok(None),
            text => text.parse().map(Some).map_err(|_| invalid()),
        };
        let (major, minor) = (number(major)?, number(minor)?);
        let words = fields.next().ok_or_else(invalid)?;
        let mut access = 0;
        for word in words.chars() {
            let known = ACCESSES.iter().find(|(letter, _)| *letter == word);
            access |= known.ok_or_else(invalid)?.1;
        }
        let same =
            |rule: &&mut Rule| rule.kind == kind && rule.major == major && rule.minor == minor;
        match parsed.iter_mut().find(same) {
            Some(rule) => rule.access |= access,
            None => parsed.push(Rule {
                kind,
                major,
                minor,
                access,
            }),
        }
    }
    if parsed.len() > MOST_RULES {
        return Err(rustix::io::Errno::TOOBIG.into());
    }
    Ok(Some(parsed))
}

/// One instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// The target in the lower half, the source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// `target = *(u32 *)(source + offset)`.
    fn load(target: u8, source: u8, offset: i16) -> Self {
        Self::new(0x61, source << 4 | target, offset, 0)
    }

    /// `target &= value`, in 32 bits.
    fn and(target: u8, value: u32) -> Self {
        Self::new(0x54, target, 0, value.cast_signed())
    }

    /// `target >>= value`, in 32 bits.
    fn shift_right(target: u8, value: u32) -> Self {
        Self::new(0x74, target, 0, value.cast_signed())
    }

    /// `target = value`, in 32 bits.
    fn set(target: u8, value: u32) -> Self {
        Self::new(0xb4, target, 0, value.cast_signed())
    }

    /// Skips `over` instructions if `left != right`, in 32 bits.
    fn skip_unless_equal(left: u8, right: u32, over: i16) -> Self {
        Self::new(0x56, left, over, right.cast_signed())
    }

    /// Skips `over` instructions if `left & right`, in 32 bits.
    fn skip_if_any(left: u8, right: u32, over: i16) -> Self {
        Self::new(0x46, left, over, right.cast_signed())
    }

    fn exit() -> Self {
        Self::new(0x95, 0, 0, 0)
    }

    fn new(code: u8, registers: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers,
            offset,
            immediate,
        }
    }
}

/// The register of the answer: 0 is no, 1 is yes.
const ANSWER: u8 = 0;
/// What is asked, at the start: `struct bpf_cgroup_dev_ctx`.
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program for these rules.
fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // The kind is the lower half of the first word, the access the upper.
        Instruction::load(KIND, CONTEXT, 0),
        Instruction::load(ACCESS, CONTEXT, 0),
        Instruction::and(KIND, 0xffff),
        Instruction::shift_right(ACCESS, 16),
        Instruction::load(MAJOR, CONTEXT, 4),
        Instruction::load(MINOR, CONTEXT, 8),
    ];
    for rule in rules {
        let checks = 1
            + i16::from(rule.access != EVERY_ACCESS)
            + i16::from(rule.major.is_some())
            + i16::from(rule.minor.is_some());
        // What is left of the rule behind a check: the other checks, and the answer.
        let mut rest = checks + 2;
        let mut next = || {
            rest -= 1;
            rest
        };
        program.push(Instruction::skip_unless_equal(KIND, rule.kind, next()));
        if rule.access != EVERY_ACCESS {
            let withheld = EVERY_ACCESS & !rule.access;
            program.push(Instruction::skip_if_any(ACCESS, withheld, next()));
        }
        for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
            if let Some(number) = number {
                program.push(Instruction::skip_unless_equal(register, number, next()));
            }
        }
        program.extend([Instruction::set(ANSWER, 1), Instruction::exit()]);
    }
    program.extend([Instruction::set(ANSWER, 0), Instruction::exit()]);
    program
}

/// `BPF_PROG_TYPE_CGROUP_DEVICE` and `BPF_CGROUP_DEVICE` of linux/bpf.h.
const PROGRAM_TYPE: u32 = 15;
const ATTACH_TYPE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: groups beneath may have programs of their own, which
/// restrict further.
const ALLOW_MULTI: u32 = 2;
/// `BPF_PROG_LOAD`, `BPF_PROG_ATTACH`, `BPF_PROG_QUERY`.
const LOAD: libc::c_long = 5;
const ATTACH: libc::c_long = 8;
const QUERY: libc::c_long = 16;

/// The start of `union bpf_attr` for each call; the kernel takes the rest as zero.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct QueryAttributes {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    program_count: u32,
    reserved: u32,
}

fn open(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    // It calls no function of the kernel's, so that any license will do.
    let license = c"Apache-2.0";
    let too_big = |_| io::Error::from(rustix::io::Errno::TOOBIG);
    let mut attributes = LoadAttributes {
        program_type: PROGRAM_TYPE,
        instruction_count: u32::try_from(program.len()).map_err(too_big)?,
        instructions: address(program.as_ptr()),
        license: address(license.as_ptr()),
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let fd = call(LOAD, &mut attributes)?;
    // SAFETY: the call made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(group: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: number(group)?,
        program: number(program)?,
        attach_type: ATTACH_TYPE,
        flags: ALLOW_MULTI,
    };
    call(ATTACH, &mut attributes).map(drop)
}

/// How many programs are attached to the group itself.
fn programs(group: &OwnedFd) -> io::Result<u32> {
    let mut attributes = QueryAttributes {
        target: number(group)?,
        attach_type: ATTACH_TYPE,
        query_flags: 0,
        attach_flags: 0,
        programs: 0,
        program_count: 0,
        reserved: 0,
    };
    call(QUERY, &mut attributes)?;
    Ok(attributes.program_count)
}

fn number(fd: &OwnedFd) -> io::Result<u32> {
    let closed = |_| io::Error::from(rustix::io::Errno::BADF);
    u32::try_from(fd.as_raw_fd()).map_err(closed)
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// One of the attributes above, which the kernel reads and may write.
trait Attributes {}
impl Attributes for LoadAttributes {}
impl Attributes for AttachAttributes {}
impl Attributes for QueryAttributes {}

fn call<T: Attributes>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are as long as is said and live through the call; what
    // they point to lives in the callers through it too, and is only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers, by a machine of those instructions alone.
    fn ask(program: &[Instruction], kind: u32, major: u32, minor: u32, access: u32) -> u32 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 10];
        let mut at = 0;
        loop {
            let one = program[at];
            let target = usize::from(one.registers & 15);
            let value = one.immediate.cast_unsigned();
            at += 1;
            let skip = match one.code {
                0x61 => {
                    registers[target] = context[usize::try_from(one.offset).unwrap() / 4];
                    false
                }
                0x54 => {
                    registers[target] &= value;
                    false
                }
                0x74 => {
                    registers[target] >>= value;
                    false
                }
                0xb4 => {
                    registers[target] = value;
                    false
                }
                0x56 => registers[target] != value,
                0x46 => registers[target] & value != 0,
                0x95 => return registers[0],
                code => panic!("{code:#x} is not among them"),
            };
            if skip {
                at += usize::try_from(one.offset).unwrap();
            }
        }
    }

    fn program(rules: &[&str]) -> Vec<Instruction> {
        let rules: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).collect();
        assemble(&parse(&rules).unwrap().unwrap())
    }

    #[test]
    fn only_what_a_rule_allows_as_a_whole_is_allowed() {
        let program = program(&[
            "c *:* m",
            "c 1:3 rwm",
            "b 8:* r",
            "c 136:* rw",
            "c 1:5 r",
            "c 1:5 m",
        ]);
        for (kind, major, minor, access, want) in [
            (CHARACTER, 1, 3, 7, 1),
            (CHARACTER, 1, 4, 2, 0),
            (CHARACTER, 1, 4, 1, 1),
            (CHARACTER, 9, 9, 3, 0),
            (BLOCK, 8, 1, 2, 1),
            (BLOCK, 8, 1, 6, 0),
            (BLOCK, 8, 1, 1, 0),
            (BLOCK, 9, 1, 2, 0),
            (CHARACTER, 136, 44, 6, 1),
            (BLOCK, 136, 44, 6, 0),
            // Two rules for the same device add up.
            (CHARACTER, 1, 5, 3, 1),
            (CHARACTER, 1, 5, 4, 0),
        ] {
            let got = ask(&program, kind, major, minor, access);
            assert_eq!(got, want, "{kind} {major}:{minor} {access}");
        }
        assert_eq!(ask(&super::assemble(&[]), CHARACTER, 1, 3, 2), 0);
    }

    #[test]
    fn one_rule_may_allow_everything_and_a_wrong_one_nothing() {
        let parse = |rule: &str| parse(&[rule.to_owned()]);
        assert_eq!(parse("a *:* rwm").unwrap(), None);
        for wrong in ["", "x 1:1 r", "c 1 r", "c 1:1", "c 1:1 z", "c -1:1 r"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
