//! The filter, run on a small machine of our own.

use super::*;

const X86_64: u32 = 0xC000_003E;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
/// Docker's default capabilities.
const DEFAULT: [u8; 14] = crate::sandbox::DEFAULT_CAPABILITIES;

/// Runs the program as the kernel would; returns its answer and its steps.
fn run(program: &[u8], arch: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(arch.to_ne_bytes());
    data.extend(0_u64.to_ne_bytes());
    data.extend(arguments.iter().flat_map(|value| value.to_ne_bytes()));
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let [code0, code1, jt, jf, k @ ..]: [u8; 8] =
            program[at * 8..at * 8 + 8].try_into().unwrap();
        let k = u32::from_ne_bytes(k);
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        at += 1;
        steps += 1;
        match u16::from_ne_bytes([code0, code1]) {
            0x20 => {
                let from = k as usize;
                accumulator = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return (k, steps),
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[track_caller]
fn check(capabilities: &[u8], arch: u32, number: u32, argument: u64, expected: u32) {
    let filter = default_filter(capabilities).unwrap();
    let (answer, steps) = run(&filter, arch, number, [argument, 0, 0, 0, 0, 0]);
    assert_eq!(answer, expected, "call {number} of {arch:#x}");
    assert!(steps < 32, "{steps} steps");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn ordinary_calls_pass_and_dangerous_ones_do_not() {
    for number in [0, 1, 2, 59, 257, 435 + 4, 124, 157] {
        check(&DEFAULT, X86_64, number, 0, ALLOW);
    }
    // keyctl, mount, umount2, unshare, setns, bpf, perf_event_open, kexec_load,
    // open_by_handle_at, init_module, userfaultfd, io_uring_setup, syslog.
    for number in [
        250, 165, 166, 272, 308, 321, 298, 246, 304, 175, 323, 425, 103,
    ] {
        check(&DEFAULT, X86_64, number, 0, EPERM);
    }
    for number in [500, 1000, u32::MAX] {
        check(&DEFAULT, X86_64, number, 0, EPERM);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn clone3_does_not_exist_without_the_right_to_make_namespaces() {
    check(&DEFAULT, X86_64, 435, 0, ENOSYS);
    check(&DEFAULT, I386, 435, 0, ENOSYS);
    check(&[21], X86_64, 435, 0, ALLOW);
    check(&[21], X86_64, 165, 0, ALLOW);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn arguments_decide() {
    // clone, without and with CLONE_NEWUSER, CLONE_NEWNS.
    check(&DEFAULT, X86_64, 56, 17, ALLOW);
    check(&DEFAULT, X86_64, 56, 0x1000_0011, EPERM);
    check(&DEFAULT, X86_64, 56, 0x0002_0000, EPERM);
    check(&[21], X86_64, 56, 0x1000_0000, ALLOW);
    // socket: AF_ALG and AF_VSOCK are refused, also with rubbish above 32 bits.
    for (family, expected) in [
        (2, ALLOW),
        (37, ALLOW),
        (38, EPERM),
        (39, ALLOW),
        (40, EPERM),
        (41, ALLOW),
        (0x1_0000_0026, EPERM),
        (0xffff_ffff_0000_0028, EPERM),
    ] {
        check(&DEFAULT, X86_64, 41, family, expected);
        check(&DEFAULT, I386, 359, family, expected);
    }
    for (persona, expected) in [
        (0, ALLOW),
        (8, ALLOW),
        (0xffff_ffff, ALLOW),
        (0x1000, EPERM),
    ] {
        check(&DEFAULT, X86_64, 135, persona, expected);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_conventions_have_their_own_numbers() {
    // i386: execve is 11, mount 21; x32: execve 520, the number of x86-64 is not.
    check(&DEFAULT, I386, 11, 0, ALLOW);
    check(&DEFAULT, I386, 21, 0, EPERM);
    check(&DEFAULT, X86_64, 0x4000_0000 + 520, 0, ALLOW);
    check(&DEFAULT, X86_64, 0x4000_0000 + 165, 0, EPERM);
    check(&DEFAULT, X86_64, 0x4000_0000 + 59, 0, EPERM);
    check(&DEFAULT, 0xC000_00B7, 0, 0, EPERM);
}

#[test]
fn the_program_fits_the_kernel_and_is_made_once() {
    for capabilities in [&DEFAULT[..], &[], &[21, 19, 2, 16]] {
        let filter = default_filter(capabilities).unwrap();
        assert!(filter.len() / 8 < 4096, "{}", filter.len() / 8);
        let again = default_filter(capabilities).unwrap();
        assert!(Arc::ptr_eq(&filter, &again));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn own_profiles_answer_rule_by_rule() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","keyctl","nosuch"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
        {"name":"kill","action":"SCMP_ACT_ERRNO","args":[
            {"index":0,"value":5,"op":"SCMP_CMP_GE"},{"index":1,"value":9,"op":"SCMP_CMP_NE"}]},
        {"names":["read"],"action":"SCMP_ACT_KILL_PROCESS","args":[
            {"index":0,"value":4294967296,"op":"SCMP_CMP_LE"}]},
        {"names":["read"],"action":"SCMP_ACT_LOG"}]}"#;
    let filter = custom_filter(profile, &[]).unwrap();
    let answer = |number, one, two| run(&filter, X86_64, number, [one, two, 0, 0, 0, 0]).0;
    assert_eq!(answer(1, 0, 0), ALLOW);
    assert_eq!((answer(83, 0, 0), answer(250, 0, 0)), (ENOSYS, ENOSYS));
    assert_eq!((answer(62, 4, 0), answer(62, 5, 9)), (ALLOW, ALLOW));
    assert_eq!(
        (answer(62, 5, 0), answer(62, 1 << 40, 1 << 40 | 9)),
        (EPERM, EPERM)
    );
    let kill_process = 0x8000_0000;
    assert_eq!(
        (answer(0, 0, 0), answer(0, 1 << 32, 0)),
        (kill_process, kill_process)
    );
    assert_eq!(answer(0, (1 << 32) + 1, 0), 0x7ffc_0000);
    for wrong in ["", "{}", r#"{"defaultAction":"SCMP_ACT_NOSUCH"}"#] {
        assert!(custom_filter(wrong, &[]).is_err(), "{wrong}");
    }
}
