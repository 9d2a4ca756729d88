//! Capabilities by name, and the set that a container keeps. Pure.

use super::Error;

/// Names in the order of their numbers.
///
/// Source: linux/capability.h, Linux 6.12.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set.
///
/// Source: moby `daemon/pkg/oci/caps/defaults.go`.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The capabilities that `--cap-add`, `--cap-drop` and `--privileged` leave, as
/// numbers in ascending order.
pub(super) fn kept(add: &[String], drop: &[String], privileged: bool) -> Result<Vec<u8>, Error> {
    let all = || (0..NAMES.len()).collect::<Vec<_>>();
    let add = numbers("CapAdd", add)?;
    let drop = numbers("CapDrop", drop)?;
    let dropped = |capability: &usize| match &drop {
        Named::All => false,
        Named::Some(drop) => drop.contains(capability),
    };
    let mut kept = match (privileged, add, &drop) {
        (true, ..) => all(),
        // What is dropped by name goes, `ALL` does not undo `ALL`.
        (_, Named::All, _) => all().into_iter().filter(|one| !dropped(one)).collect(),
        (_, Named::Some(add), Named::All) => add,
        (_, Named::Some(add), Named::Some(_)) => {
            let default = DEFAULT.iter().filter_map(|name| number(name));
            // What is added by name is there, also when it is dropped by name.
            default.filter(|one| !dropped(one)).chain(add).collect()
        }
    };
    kept.sort_unstable();
    kept.dedup();
    Ok(bytes(kept))
}

enum Named {
    All,
    Some(Vec<usize>),
}

fn numbers(list_name: &str, names: &[String]) -> Result<Named, Error> {
    let mut list = Vec::new();
    let mut every = false;
    for name in names {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            every = true;
            continue;
        }
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let unknown = || {
            Error::Invalid(format!(
                "invalid {list_name}: unknown capability: \"CAP_{short}\""
            ))
        };
        list.push(number(short).ok_or_else(unknown)?);
    }
    Ok(if every { Named::All } else { Named::Some(list) })
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// The names as Docker's engine keeps them: in capitals, with `CAP_`, each once.
pub(super) fn normalized(names: &[String]) -> Vec<String> {
    let normal = |name: &String| {
        let upper = name.to_ascii_uppercase();
        match upper.as_str() {
            "ALL" => upper,
            other if other.starts_with("CAP_") => upper,
            other => format!("CAP_{other}"),
        }
    };
    let mut all: Vec<String> = names.iter().map(normal).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn bytes(numbers: Vec<usize>) -> Vec<u8> {
    numbers
        .into_iter()
        .filter_map(|number| u8::try_from(number).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], want: &[u8]) {
        let own = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            kept(&own(add), &own(drop), false).unwrap(),
            want,
            "{add:?} {drop:?}"
        );
    }

    #[test]
    fn dockers_fourteen_and_changes_to_them() {
        let default = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];
        check(&[], &[], &default);
        check(&[], &["ALL"], &[]);
        check(&["NET_ADMIN"], &["all"], &[12]);
        check(
            &["cap_chown"],
            &["CAP_KILL", "CHOWN"],
            &[0, 1, 3, 4, 6, 7, 8, 10, 13, 18, 27, 29, 31],
        );
        let everything: Vec<u8> = (0..41).collect();
        check(&["ALL"], &["ALL"], &everything);
        assert_eq!(
            kept(&["ALL".to_owned()], &["SYS_ADMIN".to_owned()], false)
                .unwrap()
                .len(),
            40
        );
        assert_eq!(kept(&[], &[], true).unwrap().len(), 41);
        assert!(kept(&["NOSUCH".to_owned()], &[], false).is_err());
    }
}
