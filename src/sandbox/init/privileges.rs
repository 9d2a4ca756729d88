//! User, groups, capabilities, limits and the system call filter.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::Rlimit;
use super::super::failure::{During, Step};
use crate::sys::{filter, process};

/// What the program is allowed.
#[derive(Debug)]
pub(super) struct Privileges<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: &'a [u32],
    pub(super) capabilities: &'a [u8],
    /// Whether they may never be gained again.
    pub(super) no_new: bool,
    pub(super) rlimits: &'a [Rlimit],
    pub(super) die_with_parent: bool,
    /// AppArmor profile from the execution on.
    pub(super) apparmor: Option<&'a str>,
    /// SELinux label from the execution on.
    pub(super) label: Option<&'a str>,
}

impl Privileges<'_> {
    /// Takes them on, in the one order that works: limits while they may be
    /// raised, the bounding set while it may be lowered, groups before the user,
    /// the filter while the right to install one is held, that right last.
    pub(super) fn assume(
        &self,
        program: &[u8],
        mut warn: impl FnMut(String) -> Step<()>,
    ) -> Step<()> {
        for rlimit in self.rlimits {
            if let Some(warning) = limit(rlimit) {
                warn(warning)?;
            }
        }
        self.confine()?;
        let kept = self.kept()?;
        lower_bounding_set(kept)?;
        self.become_user()?;
        let program_gets = if self.uid == 0 {
            kept
        } else {
            CapabilitySet::empty()
        };
        let held = rustix::thread::capabilities(None).during("read the capabilities")?;
        let mut for_now = program_gets;
        if !program.is_empty() && !self.no_new {
            for_now |= CapabilitySet::SYS_ADMIN & held.permitted;
        }
        set_capabilities(for_now)?;
        rustix::thread::clear_ambient_capability_set().during("clear the capabilities")?;
        if self.die_with_parent {
            // Changing the user has cleared it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .during("follow the parent")?;
        }
        if self.no_new {
            rustix::thread::set_no_new_privs(true).during("give up new privileges")?;
        }
        if !program.is_empty() {
            filter::install(program).during("install the system call filter")?;
        }
        if for_now != program_gets {
            set_capabilities(program_gets)?;
        }
        Ok(())
    }

    /// Names what the kernel's security modules hold the program to.
    fn confine(&self) -> Step<()> {
        if let Some(profile) = self.apparmor {
            let text = format!("exec {profile}");
            std::fs::write("/proc/self/attr/apparmor/exec", &text)
                .or_else(|_| std::fs::write("/proc/self/attr/exec", &text))
                .during_with(|| format!("apply the AppArmor profile `{profile}`"))?;
        }
        if let Some(label) = self.label {
            std::fs::write("/proc/self/attr/exec", label)
                .during_with(|| format!("apply the SELinux label `{label}`"))?;
        }
        Ok(())
    }

    /// The wanted capabilities that there are: nobody can give what they lack.
    fn kept(&self) -> Step<CapabilitySet> {
        let held = rustix::thread::capabilities(None).during("read the capabilities")?;
        let wanted = self
            .capabilities
            .iter()
            .filter_map(|number| 1_u64.checked_shl(u32::from(*number)))
            .fold(0, |set, bit| set | bit);
        Ok(CapabilitySet::from_bits_retain(wanted) & held.permitted)
    }

    fn become_user(&self) -> Step<()> {
        // The first group is among the further ones too, as in Docker's containers: a
        // file that denies it something denies it whatever group the program takes on.
        let further = self.groups.iter().filter(|gid| **gid != self.gid);
        let groups: Vec<Gid> = std::iter::once(&self.gid)
            .chain(further)
            .map(|gid| Gid::from_raw(*gid))
            .collect();
        rustix::thread::set_thread_groups(&groups).during("set the groups")?;
        let gid = Gid::from_raw(self.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .during_with(|| format!("become group {}", self.gid))?;
        // Until the filter is installed; the sets are lowered by hand afterwards.
        rustix::thread::set_keep_capabilities(true).during("keep the capabilities")?;
        let uid = Uid::from_raw(self.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .during_with(|| format!("become user {}", self.uid))?;
        rustix::thread::set_keep_capabilities(false).during("keep no capabilities")
    }
}

fn set_capabilities(set: CapabilitySet) -> Step<()> {
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).during("set the capabilities")
}

/// Drops what is not kept. The kernel says where its capabilities end.
fn lower_bounding_set(kept: CapabilitySet) -> Step<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Err(Errno::INVAL) => return Ok(()),
            result => result.during("lower the capabilities")?,
        }
    }
    Ok(())
}

/// Sets a limit as far as it goes. Raising a hard limit takes a right that this
/// process may lack: then the old one stays, with a warning.
fn limit(wanted: &Rlimit) -> Option<String> {
    let Rlimit {
        resource,
        soft,
        hard,
    } = *wanted;
    let err = process::set_limit(resource, soft, hard).err()?;
    let name = limit_name(resource);
    let lowered = process::limit(resource).and_then(|(_, old_hard)| {
        let hard = hard.min(old_hard);
        process::set_limit(resource, soft.min(hard), hard)?;
        Ok(hard)
    });
    Some(match lowered {
        Ok(hard) => format!("the {name} limit is not set as wanted but to {hard}: {err}"),
        Err(_) => format!("the {name} limit is not set: {err}"),
    })
}

pub(in crate::sandbox) fn limit_name(resource: u32) -> String {
    // In the order of asm-generic/resource.h.
    const NAMES: [&str; 16] = [
        "cpu",
        "fsize",
        "data",
        "stack",
        "core",
        "rss",
        "nproc",
        "nofile",
        "memlock",
        "as",
        "locks",
        "sigpending",
        "msgqueue",
        "nice",
        "rtprio",
        "rttime",
    ];
    let known = usize::try_from(resource).ok().and_then(|at| NAMES.get(at));
    known.map_or_else(|| resource.to_string(), |name| (*name).to_owned())
}
