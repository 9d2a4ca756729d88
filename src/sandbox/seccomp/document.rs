//! A profile in the OCI runtime specification's form, for outside runtimes: what
//! Docker's form says under conditions is decided here.

use serde_json::{Map, Value, json};

use super::Error;
use super::profile::{self, Condition, DEFAULT};

/// The names of this machine's calling conventions in profiles.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        _ => &[],
    }
}

/// What a profile in Docker's JSON form says to a process that may have
/// `capabilities`, a set of bits; Docker's default without one.
pub(in crate::sandbox) fn document(
    profile: Option<&str>,
    capabilities: u64,
) -> Result<Value, Error> {
    let profile: Value = serde_json::from_str(profile.unwrap_or(DEFAULT))?;
    let arch = profile::architecture().ok_or(Error::Architecture)?;
    let mut document = Map::new();
    for member in ["defaultAction", "defaultErrnoRet", "flags", "listenerPath"] {
        copy(&profile, member, &mut document);
    }
    document.insert("architectures".to_owned(), json!(architectures()));
    let mut calls = Vec::new();
    for entry in profile["syscalls"].as_array().into_iter().flatten() {
        let condition = |name: &str| -> Result<Condition, Error> {
            match entry.get(name).filter(|value| !value.is_null()) {
                Some(value) => Ok(serde_json::from_value(value.clone())?),
                None => Ok(Condition::default()),
            }
        };
        let (includes, excludes) = (condition("includes")?, condition("excludes")?);
        if profile::counts(&includes, &excludes, arch, capabilities) {
            calls.extend(call(entry));
        }
    }
    if !calls.is_empty() {
        document.insert("syscalls".to_owned(), Value::Array(calls));
    }
    Ok(Value::Object(document))
}

fn copy(from: &Value, member: &str, to: &mut Map<String, Value>) {
    if let Some(value) = from.get(member).filter(|value| !value.is_null()) {
        to.insert(member.to_owned(), value.clone());
    }
}

/// One entry; nothing when it names no call.
fn call(entry: &Value) -> Option<Value> {
    let mut names: Vec<Value> = entry["names"].as_array().cloned().unwrap_or_default();
    names.extend(entry.get("name").filter(|name| name.is_string()).cloned());
    if names.is_empty() {
        return None;
    }
    let mut call = Map::new();
    call.insert("names".to_owned(), Value::Array(names));
    copy(entry, "action", &mut call);
    copy(entry, "errnoRet", &mut call);
    let args = entry["args"].as_array().filter(|args| !args.is_empty());
    if let Some(args) = args {
        call.insert("args".to_owned(), json!(args));
    }
    Some(Value::Object(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(document: &Value) -> Vec<&str> {
        let calls = document["syscalls"].as_array().unwrap();
        let names = calls
            .iter()
            .flat_map(|call| call["names"].as_array().unwrap());
        names.filter_map(Value::as_str).collect()
    }

    #[test]
    fn conditions_are_decided() {
        let none = document(None, 0).unwrap();
        assert_eq!(none["defaultAction"], "SCMP_ACT_ERRNO");
        assert!(names(&none).contains(&"read"));
        assert!(!names(&none).contains(&"mount"));
        let admin = document(None, 1 << 21).unwrap();
        assert!(names(&admin).contains(&"mount"));
        let own = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO","args":null}]}"#;
        let own = document(Some(own), 0).unwrap();
        assert_eq!(names(&own), ["mkdir"]);
    }
}
