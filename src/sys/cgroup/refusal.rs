//! What is said of a limit that does not apply.

use std::fmt::Display;

/// Why a limit was not set.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No hierarchy has the controller for it, or none hands it to our groups.
    Missing,
    /// The kernel said why.
    Refused(String),
}

/// A limit by its names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    Memory,
    Swap,
    Reservation,
    Swappiness,
    OomKiller,
    Cpus,
    Quota,
    RealTime,
    Shares,
    Processors,
    Nodes,
    Pids,
    Weight,
    DeviceWeight,
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
    Devices,
}

impl Name {
    /// The sentence for the user. Where nobody has the controller it is Docker's.
    pub(super) fn tell(self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Missing => self.missing(),
            Refusal::Refused(why) => format!("the {} is not set: {why}", self.plain()),
        }
    }

    fn plain(self) -> &'static str {
        match self {
            Self::Memory => "memory limit",
            Self::Swap => "swap limit",
            Self::Reservation => "memory reservation",
            Self::Swappiness => "memory swappiness",
            Self::OomKiller => "out-of-memory killer",
            Self::Cpus | Self::Quota => "CPU limit",
            Self::RealTime => "real-time CPU limit",
            Self::Shares => "CPU share",
            Self::Processors => "processor set",
            Self::Nodes => "memory node set",
            Self::Pids => "process limit",
            Self::Weight => "block I/O weight",
            Self::DeviceWeight => "block I/O weight of a device",
            Self::ReadBytes | Self::ReadOperations => "block I/O read limit",
            Self::WriteBytes | Self::WriteOperations => "block I/O write limit",
            Self::Devices => "device limit",
        }
    }

    /// Source: moby `daemon/daemon_unix.go`, `verifyPlatformContainerResources`.
    fn missing(self) -> String {
        let (what, loss) = match self {
            Self::Memory => ("memory limit capabilities", "Limitation discarded."),
            Self::Swap => ("swap limit capabilities", "Memory limited without swap."),
            Self::Reservation => ("memory soft limit capabilities", "Limitation discarded."),
            Self::Swappiness => (
                "memory swappiness capabilities",
                "Memory swappiness discarded.",
            ),
            Self::OomKiller => {
                return "Your kernel does not support OomKillDisable. OomKillDisable discarded."
                    .to_owned();
            }
            Self::Cpus => {
                return "NanoCPUs can not be set, as your kernel does not support CPU CFS \
                    scheduler or the cgroup is not mounted"
                    .to_owned();
            }
            Self::Quota => {
                return "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
                    .to_owned();
            }
            Self::RealTime => (
                "CPU real-time scheduler",
                "CPU real-time settings discarded.",
            ),
            Self::Shares => ("CPU shares", "Shares discarded."),
            Self::Processors | Self::Nodes => ("cpuset", "Cpuset discarded."),
            Self::Pids => ("PIDs limit capabilities", "PIDs limit discarded."),
            Self::Weight => ("Block I/O weight", "Weight discarded."),
            Self::DeviceWeight => ("Block I/O weight_device", "Weight-device discarded."),
            Self::ReadBytes => (
                "BPS Block I/O read limit",
                "Block I/O BPS read limit discarded.",
            ),
            Self::WriteBytes => (
                "BPS Block I/O write limit",
                "Block I/O BPS write limit discarded.",
            ),
            Self::ReadOperations => (
                "IOPS Block read limit",
                "Block I/O IOPS read limit discarded.",
            ),
            Self::WriteOperations => (
                "IOPS Block write limit",
                "Block I/O IOPS write limit discarded.",
            ),
            Self::Devices => ("device limit capabilities", "Device limit discarded."),
        };
        format!("Your kernel does not support {what} or the cgroup is not mounted. {loss}")
    }
}

/// The refusal of a kernel that said why.
pub(super) fn refused(what: impl Display, err: &std::io::Error) -> Refusal {
    Refusal::Refused(format!("{what}: {err}"))
}
