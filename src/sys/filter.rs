//! System call filters: programs for the kernel's classic BPF machine.

use std::io;

/// One instruction, as `struct sock_filter` of linux/filter.h lies in memory.
pub const INSTRUCTION_BYTES: usize = 8;

/// Installs a filter on this process, for good. It needs `CAP_SYS_ADMIN` or
/// `no_new_privs`.
///
/// # Errors
/// `EINVAL` when the bytes are no program that the kernel takes.
pub fn install(program: &[u8]) -> io::Result<()> {
    let (instructions, rest) = program.as_chunks::<INSTRUCTION_BYTES>();
    let length = u16::try_from(instructions.len());
    let (Ok(len), []) = (length, rest) else {
        return Err(rustix::io::Errno::INVAL.into());
    };
    let instructions: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|[code0, code1, jt, jf, k @ ..]| libc::sock_filter {
            code: u16::from_ne_bytes([*code0, *code1]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        })
        .collect();
    let program = libc::sock_fprog {
        len,
        filter: instructions.as_ptr().cast_mut(),
    };
    // Speculation stays allowed, as in Docker: before Linux 5.16 a filter slowed
    // every program down otherwise. The flag came with Linux 4.17.
    for flags in [libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0] {
        // SAFETY: the program points to `len` instructions that live through the
        // call; the kernel copies and checks them.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        if done == 0 {
            return Ok(());
        }
        let err = io::Error::last_os_error();
        if err.raw_os_error() != Some(libc::EINVAL) || flags == 0 {
            return Err(err);
        }
    }
    Ok(())
}
