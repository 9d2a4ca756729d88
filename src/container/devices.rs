//! Devices of the host in a container.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::Error;
use super::request::{DeviceRequest, Request};

/// What every container may do with devices. Making nodes is harmless; the rest
/// is the content of `/dev`, terminals, and network devices.
///
/// Source: moby `daemon/pkg/oci/defaults.go`, runc's default list.
const DEFAULT: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

impl DeviceRequest {
    /// Parses `HOST[:CONTAINER[:PERMISSIONS]]`; the second may be permissions too.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Invalid(format!("invalid device specification: {text}"));
        let fields: Vec<&str> = text.split(':').collect();
        let (host, container, permissions) = match fields.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, second] if is_permissions(second) => (*host, *host, *second),
            [host, container] => (*host, *container, "rwm"),
            [host, container, permissions] => (*host, *container, *permissions),
            _ => return Err(invalid()),
        };
        if !is_permissions(permissions) {
            return Err(Error::Invalid(format!("bad mode specified: {permissions}")));
        }
        if !host.starts_with('/') || !container.starts_with('/') {
            return Err(Error::Invalid(format!(
                "{container} is not an absolute path"
            )));
        }
        Ok(Self {
            host: host.into(),
            container: container.to_owned(),
            permissions: permissions.to_owned(),
        })
    }
}

fn is_permissions(text: &str) -> bool {
    let mut seen = String::new();
    !text.is_empty()
        && text.chars().all(|c| {
            let new = "rwm".contains(c) && !seen.contains(c);
            seen.push(c);
            new
        })
}

/// Checks a rule such as `c 42:* rmw`.
pub(super) fn check_rule(rule: &str) -> Result<(), Error> {
    let fields: Vec<&str> = rule.split(' ').collect();
    let number = |text: &str| text == "*" || text.parse::<u32>().is_ok();
    let good = match fields.as_slice() {
        [kind, numbers, permissions] => {
            ["a", "b", "c"].contains(kind)
                && numbers
                    .split_once(':')
                    .is_some_and(|(major, minor)| number(major) && number(minor))
                && is_permissions(permissions)
        }
        _ => false,
    };
    if good {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "invalid device cgroup format '{rule}'"
    )))
}

impl Request {
    /// The rules of the device controller; none where mounts restrict well enough,
    /// which is so unless single permissions are withheld or rules are asked for.
    pub(super) fn device_limits(&self) -> Option<Vec<String>> {
        let withheld = self
            .devices
            .iter()
            .any(|device| device.permissions.len() < 3);
        let wanted = withheld || !self.device_rules.is_empty() || self.runs_outside();
        if self.privileged || !wanted {
            return None;
        }
        Some(self.device_rules_of_all())
    }

    /// The rules for everything that the request names.
    pub(super) fn device_rules_of_all(&self) -> Vec<String> {
        let mut rules: Vec<String> = DEFAULT.map(str::to_owned).to_vec();
        for device in &self.devices {
            // One that is gone meanwhile keeps the container from starting anyway.
            let Ok(meta) = std::fs::metadata(&device.host) else {
                continue;
            };
            let kind = if meta.file_type().is_block_device() {
                'b'
            } else {
                'c'
            };
            let (major, minor) = (
                rustix::fs::major(meta.rdev()),
                rustix::fs::minor(meta.rdev()),
            );
            rules.push(format!("{kind} {major}:{minor} {}", device.permissions));
        }
        rules.extend(self.device_rules.iter().cloned());
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed() {
        let parse = |text: &str| {
            DeviceRequest::parse(text).map(|device| {
                format!(
                    "{} {} {}",
                    device.host.display(),
                    device.container,
                    device.permissions
                )
            })
        };
        for (text, want) in [
            ("/dev/fuse", "/dev/fuse /dev/fuse rwm"),
            ("/dev/fuse:r", "/dev/fuse /dev/fuse r"),
            ("/dev/a:/dev/b", "/dev/a /dev/b rwm"),
            ("/dev/a:/dev/b:rw", "/dev/a /dev/b rw"),
        ] {
            assert_eq!(parse(text).unwrap(), want);
        }
        for wrong in [
            "fuse",
            "/dev/a:b",
            "/dev/a:/b:x",
            "/dev/a:/b:rr",
            "/a:/b:r:w",
            "",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules_are_checked() {
        check_rule("c 42:* rmw").unwrap();
        for wrong in ["", "x 1:1 r", "c 1 r", "c a:1 r", "c 1:1 z"] {
            assert!(check_rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_controller_is_used_only_where_it_must_be() {
        let mut request = Request::default();
        request
            .devices
            .push(DeviceRequest::parse("/dev/null:/dev/x").unwrap());
        assert_eq!(request.device_limits(), None);
        request
            .devices
            .push(DeviceRequest::parse("/dev/zero:r").unwrap());
        let rules = request.device_limits().unwrap();
        assert!(rules.contains(&"c 1:5 r".to_owned()));
    }
}
