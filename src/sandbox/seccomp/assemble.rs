//! From tables to instructions.
//!
//! Source: the kernel's userspace-api/seccomp_filter, linux/filter.h.

use std::collections::BTreeMap;

use super::profile::{Comparison, Rule, Table, Tables, Test, Verdict};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Operations, from linux/bpf_common.h.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_NOT_LESS: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Answers, from linux/seccomp.h.
pub(super) const ALLOW: u32 = 0x7fff_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

type Code = Vec<Instruction>;

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        if_true: 0,
        if_false: 0,
        k,
    }
}

fn answer(word: u32) -> Code {
    vec![plain(RETURN, word)]
}

/// The program for these tables. An architecture that is in none of them gets
/// the same answer as an unknown call.
pub(super) fn assemble(tables: &Tables) -> Vec<u8> {
    let mut arches: BTreeMap<u32, Vec<&Table>> = BTreeMap::new();
    for table in &tables.tables {
        arches.entry(table.arch).or_default().push(table);
    }
    // The native convention is the first table and is asked for first, that is,
    // put in front last.
    let native = tables.tables.first().map(|table| table.arch);
    let mut order: Vec<(u32, Vec<&Table>)> = arches.into_iter().collect();
    order.sort_by_key(|(arch, _)| Some(*arch) == native);
    let mut code = answer(tables.otherwise);
    for (arch, tables_of_arch) in order {
        let mut calls = vec![plain(LOAD, NUMBER)];
        calls.extend(search(
            &ranges(&tables_of_arch, tables.otherwise),
            tables.otherwise,
        ));
        code = branch(JUMP_EQUAL, arch, calls, code);
    }
    code.insert(0, plain(LOAD, ARCH));
    code.into_iter().flat_map(bytes).collect()
}

fn bytes(instruction: Instruction) -> [u8; 8] {
    let [code0, code1] = instruction.code.to_ne_bytes();
    let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
    let (if_true, if_false) = (instruction.if_true, instruction.if_false);
    [code0, code1, if_true, if_false, k0, k1, k2, k3]
}

/// A test, then what follows when it holds, then what follows when it does not.
/// Neither part may run off its end.
fn branch(test: u16, k: u32, holds: Code, fails: Code) -> Code {
    let mut code = Vec::with_capacity(holds.len() + fails.len() + 2);
    if let Ok(skip) = u8::try_from(holds.len()) {
        code.push(Instruction {
            code: test,
            if_true: 0,
            if_false: skip,
            k,
        });
    } else {
        // Conditional jumps reach 255 instructions, unconditional ones reach all.
        code.push(Instruction {
            code: test,
            if_true: 1,
            if_false: 0,
            k,
        });
        let skip = u32::try_from(holds.len()).expect("a program has few instructions");
        code.push(plain(JUMP, skip));
    }
    code.extend(holds);
    code.extend(fails);
    code
}

/// Numbers from the first up to the next range's, and what happens to them.
type Range = (u32, Verdict);

/// All numbers there are, as ranges that differ from their neighbours.
fn ranges(tables: &[&Table], otherwise: u32) -> Vec<Range> {
    let mut calls: BTreeMap<u32, &Verdict> = BTreeMap::new();
    for table in tables {
        for (number, verdict) in &table.calls {
            calls.insert(number + table.offset, verdict);
        }
    }
    let unknown = Verdict::Rules(vec![Rule {
        comparisons: Vec::new(),
        answer: otherwise,
    }]);
    let mut ranges: Vec<Range> = vec![(0, unknown.clone())];
    let mut push = |from: u32, verdict: &Verdict| match ranges.last_mut() {
        Some((_, last)) if last == verdict => {}
        Some((start, last)) if *start == from => *last = verdict.clone(),
        _ => ranges.push((from, verdict.clone())),
    };
    for (number, verdict) in &calls {
        push(*number, verdict);
        if !calls.contains_key(&(number + 1)) {
            push(number + 1, &unknown);
        }
    }
    // Replacing the first range can leave equal neighbours.
    ranges.dedup_by(|next, previous| next.1 == previous.1);
    ranges
}

/// Finds the range of the loaded number.
fn search(ranges: &[Range], otherwise: u32) -> Code {
    match ranges {
        [] => answer(otherwise),
        [(_, verdict)] => decide(verdict, otherwise),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            branch(
                JUMP_NOT_LESS,
                right[0].0,
                search(right, otherwise),
                search(left, otherwise),
            )
        }
    }
}

fn decide(verdict: &Verdict, otherwise: u32) -> Code {
    match verdict {
        Verdict::Allow => vec![plain(RETURN, ALLOW)],
        Verdict::Refuse(errno) => answer(ERRNO | u32::from(*errno)),
        Verdict::Rules(rules) => {
            let mut code: Code = rules.iter().flat_map(rule).collect();
            code.extend(answer(otherwise));
            code
        }
        Verdict::AllowIf(comparisons) => comparisons
            .iter()
            .rev()
            .fold(answer(otherwise), |fails, comparison| {
                compare(comparison, fails)
            }),
    }
}

/// The lower and the upper half.
fn halves(value: u64) -> (u32, u32) {
    let lower = u32::try_from(value & u64::from(u32::MAX)).expect("masked");
    let upper = u32::try_from(value >> 32).expect("shifted");
    (lower, upper)
}

/// Allows when the comparison holds, else goes on with `fails`.
fn compare(comparison: &Comparison, fails: Code) -> Code {
    let at = ARGUMENTS + 8 * u32::from(comparison.index);
    let (lower_at, upper_at) = if cfg!(target_endian = "little") {
        (at, at + 4)
    } else {
        (at + 4, at)
    };
    let allow = || vec![plain(RETURN, ALLOW)];
    let load = |from: u32, code: Code| [vec![plain(LOAD, from)], code].concat();
    let narrow = comparison.narrow;
    match comparison.test {
        Test::Equal(value) => {
            let (lower, upper) = halves(value);
            let lower = load(lower_at, branch(JUMP_EQUAL, lower, allow(), fails.clone()));
            if narrow {
                return lower;
            }
            load(upper_at, branch(JUMP_EQUAL, upper, lower, fails))
        }
        Test::Masked { mask, value } => {
            let (mask, upper_mask) = halves(mask);
            let (value, upper) = halves(value);
            let masked = |from, mask, value, holds, fails| {
                let test = branch(JUMP_EQUAL, value, holds, fails);
                load(from, [vec![plain(AND, mask)], test].concat())
            };
            let lower = masked(lower_at, mask, value, allow(), fails.clone());
            if narrow || (upper_mask == 0 && upper == 0) {
                return lower;
            }
            masked(upper_at, upper_mask, upper, lower, fails)
        }
        Test::Greater(value) => {
            let (lower, upper) = halves(value);
            let lower = load(
                lower_at,
                branch(JUMP_GREATER, lower, allow(), fails.clone()),
            );
            if narrow {
                return lower;
            }
            let not_greater = branch(JUMP_EQUAL, upper, lower, fails);
            load(upper_at, branch(JUMP_GREATER, upper, allow(), not_greater))
        }
        Test::Less(value) => {
            let (lower, upper) = halves(value);
            let lower = load(
                lower_at,
                branch(JUMP_NOT_LESS, lower, fails.clone(), allow()),
            );
            if narrow {
                return lower;
            }
            let not_above = branch(JUMP_EQUAL, upper, lower, allow());
            load(upper_at, branch(JUMP_GREATER, upper, fails, not_above))
        }
        // Docker's own profile has no others.
        Test::NotGreater(_) | Test::NotLess(_) | Test::Different(_) => fails,
    }
}

/// A jump to the end of the rule, which is not known yet. No comparison is that long.
const FAIL: u8 = u8::MAX;

/// The comparisons of a rule one after another, then its answer; what follows it is
/// reached where one of them does not hold.
fn rule(rule: &Rule) -> Code {
    let mut code: Code = rule.comparisons.iter().flat_map(test).collect();
    code.push(plain(RETURN, rule.answer));
    let end = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        // Six comparisons of six instructions each are far from 255.
        let skip = u8::try_from(end - at - 1).unwrap_or(0);
        for jump in [&mut instruction.if_true, &mut instruction.if_false] {
            if *jump == FAIL {
                *jump = skip;
            }
        }
    }
    code
}

/// One comparison of 64 bits: goes on behind it when it holds, else to [`FAIL`].
fn test(comparison: &Comparison) -> Code {
    let at = ARGUMENTS + 8 * u32::from(comparison.index);
    let (lower_at, upper_at) = if cfg!(target_endian = "little") {
        (at, at + 4)
    } else {
        (at + 4, at)
    };
    let jump = |code, k, if_true, if_false| Instruction {
        code,
        if_true,
        if_false,
        k,
    };
    let load = |from| plain(LOAD, from);
    let ordered = |value: u64, above: u8, below: u8, last: u16, holds: u8, fails: u8| {
        let (lower, upper) = halves(value);
        vec![
            load(upper_at),
            jump(JUMP_GREATER, upper, above, 0),
            jump(JUMP_EQUAL, upper, 0, below),
            load(lower_at),
            jump(last, lower, holds, fails),
        ]
    };
    match comparison.test {
        Test::Equal(value) => {
            let (lower, upper) = halves(value);
            vec![
                load(upper_at),
                jump(JUMP_EQUAL, upper, 0, FAIL),
                load(lower_at),
                jump(JUMP_EQUAL, lower, 0, FAIL),
            ]
        }
        Test::Different(value) => {
            let (lower, upper) = halves(value);
            vec![
                load(upper_at),
                jump(JUMP_EQUAL, upper, 0, 2),
                load(lower_at),
                jump(JUMP_EQUAL, lower, FAIL, 0),
            ]
        }
        Test::Greater(value) => ordered(value, 3, FAIL, JUMP_GREATER, 0, FAIL),
        Test::NotLess(value) => ordered(value, 3, FAIL, JUMP_NOT_LESS, 0, FAIL),
        Test::Less(value) => ordered(value, FAIL, 2, JUMP_NOT_LESS, FAIL, 0),
        Test::NotGreater(value) => ordered(value, FAIL, 2, JUMP_GREATER, FAIL, 0),
        Test::Masked { mask, value } => {
            let (lower, upper) = halves(value);
            let (lower_mask, upper_mask) = halves(mask);
            vec![
                load(upper_at),
                plain(AND, upper_mask),
                jump(JUMP_EQUAL, upper, 0, FAIL),
                load(lower_at),
                plain(AND, lower_mask),
                jump(JUMP_EQUAL, lower, 0, FAIL),
            ]
        }
    }
}
