//! Who the program is: resource limits, groups, user, capabilities.

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::Spec;
use super::init::Failure;
use super::rootfs::During;

/// Highest capability number that the kernel may know.
const LAST_CAPABILITY: u8 = 63;

/// Sets the resource limits; one that cannot be raised stays as it is.
pub(super) fn limits(spec: &Spec) {
    for limit in &spec.rlimits {
        let Some(resource) = resource(limit.resource) else {
            continue;
        };
        let value = |number: u64| (number != u64::MAX).then_some(number);
        let wanted = Rlimit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        drop(rustix::process::setrlimit(resource, wanted));
    }
}

fn resource(number: u32) -> Option<Resource> {
    let known = [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ];
    usize::try_from(number)
        .ok()
        .and_then(|number| known.get(number).copied())
}

/// Becomes the user with exactly the capabilities that are left to it.
pub(super) fn assume(spec: &Spec) -> Result<(), Failure> {
    let kept = kept(spec);
    for number in 0..=LAST_CAPABILITY {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(capability) {
            // Numbers that the kernel does not know are refused.
            drop(rustix::thread::remove_capability_from_bounding_set(
                capability,
            ));
        }
    }
    let groups: Vec<Gid> = spec.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).during("set the groups")?;
    let gid = Gid::from_raw(spec.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).during("set the group")?;
    let uid = Uid::from_raw(spec.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).during("set the user")?;
    drop(rustix::thread::clear_ambient_capability_set());
    let own = if spec.uid == 0 {
        kept
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: own,
        permitted: own,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).during("set the capabilities")
}

fn kept(spec: &Spec) -> CapabilitySet {
    let bits = spec
        .capabilities
        .iter()
        .filter(|number| **number <= LAST_CAPABILITY);
    CapabilitySet::from_bits_retain(bits.fold(0, |bits, number| bits | 1 << number))
}
