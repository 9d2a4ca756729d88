//! `process`: what runs, as whom, and with which rights.

use serde_json::{Map, Value, json};

use super::super::init::limit_name;
use super::super::{ExecSpec, REAPER_ARGV0, Rlimit, Spec, Terminal};

/// Names in the order of their numbers. Source: linux/capability.h, Linux 6.12.
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

/// What first process and further ones have in common.
struct Process<'a> {
    argv: Vec<String>,
    env: &'a [String],
    cwd: &'a std::path::Path,
    user: (u32, u32, &'a [u32]),
    capabilities: &'a [u8],
    no_new_privileges: bool,
    rlimits: &'a [Rlimit],
    terminal: Option<Terminal>,
}

/// The sandbox' first process.
pub(super) fn of_first(spec: &Spec) -> Value {
    let particulars = &spec.particulars;
    let mut argv = Vec::new();
    if particulars.init {
        argv.extend([REAPER_ARGV0.to_owned(), "--".to_owned()]);
    }
    argv.extend(spec.argv.iter().cloned());
    let mut process = Process {
        argv,
        env: &spec.env,
        cwd: &spec.cwd,
        user: (spec.uid, spec.gid, &spec.groups),
        capabilities: &spec.capabilities,
        no_new_privileges: spec.no_new_privileges,
        rlimits: &spec.rlimits,
        terminal: spec.terminal,
    }
    .document();
    let mut put = |name: &str, value: Value| drop(process.insert(name.to_owned(), value));
    if let Some(profile) = &particulars.apparmor {
        put("apparmorProfile", json!(profile));
    }
    if let Some(label) = &particulars.label {
        put("selinuxLabel", json!(label));
    }
    if let Some(score) = particulars.oom_score_adj {
        put("oomScoreAdj", json!(score));
    }
    Value::Object(process)
}

/// A further process.
pub(in crate::sandbox) fn of_exec(spec: &ExecSpec) -> Value {
    let process = Process {
        argv: spec.argv.clone(),
        env: &spec.env,
        cwd: &spec.cwd,
        user: (spec.uid, spec.gid, &spec.groups),
        capabilities: &spec.capabilities,
        no_new_privileges: spec.no_new_privileges,
        rlimits: &spec.rlimits,
        terminal: spec.terminal,
    };
    Value::Object(process.document())
}

impl Process<'_> {
    fn document(&self) -> Map<String, Value> {
        let names: Vec<&str> = self
            .capabilities
            .iter()
            .filter_map(|number| CAPABILITIES.get(usize::from(*number)).copied())
            .collect();
        let (uid, gid, groups) = self.user;
        // Who is not root holds none, but may gain them by a program's file.
        let held: &[&str] = if uid == 0 { &names } else { &[] };
        let rlimits: Vec<Value> = self.rlimits.iter().map(rlimit).collect();
        let mut process = Map::new();
        let mut put = |name: &str, value: Value| drop(process.insert(name.to_owned(), value));
        put("terminal", json!(self.terminal.is_some()));
        if let Some(size) = self
            .terminal
            .filter(|size| size.rows > 0 && size.columns > 0)
        {
            put(
                "consoleSize",
                json!({ "height": size.rows, "width": size.columns }),
            );
        }
        let mut user = json!({ "uid": uid, "gid": gid });
        // As everywhere, the first group is among the further ones.
        let further = groups.iter().filter(|group| **group != gid);
        let all: Vec<u32> = std::iter::once(gid).chain(further.copied()).collect();
        user["additionalGids"] = json!(all);
        put("user", user);
        put("args", json!(self.argv));
        put("env", json!(self.env));
        put("cwd", json!(self.cwd));
        put(
            "capabilities",
            json!({ "bounding": names, "effective": held, "permitted": held }),
        );
        if !rlimits.is_empty() {
            put("rlimits", json!(rlimits));
        }
        put("noNewPrivileges", json!(self.no_new_privileges));
        process
    }
}

fn rlimit(limit: &Rlimit) -> Value {
    let name = limit_name(limit.resource).to_ascii_uppercase();
    json!({ "type": format!("RLIMIT_{name}"), "soft": limit.soft, "hard": limit.hard })
}
