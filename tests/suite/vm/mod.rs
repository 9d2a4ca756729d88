//! The program on a machine with control groups of version 2 and nothing else: a
//! virtual one, that runs Debian's kernel in qemu without any help of the
//! processor. The tests share one machine, which boots when the first one needs
//! it and goes with the test program; systemd has one of its own.

mod basics;
mod debian;
mod devices;
mod initrd;
mod kernel;
mod limits;
mod machine;
mod missing;
mod systemd;

use std::sync::OnceLock;

use self::machine::Machine;
use crate::support::{Need, needs};

/// The machine that tests share; `None` where there is no qemu.
#[track_caller]
fn machine() -> Option<&'static Machine> {
    // One that does not boot is not tried again for every test.
    static MACHINE: OnceLock<Option<Machine>> = OnceLock::new();
    needs(&[Need::Busybox, Need::Qemu]).then(|| {
        let machine = MACHINE.get_or_init(|| std::panic::catch_unwind(Machine::boot).ok());
        machine.as_ref().expect("the machine booted")
    })
}
