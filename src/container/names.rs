//! Names and IDs of containers.

use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;

use super::Error;
use crate::oci::Digest;

/// Moby's two lists, `internal/namesgenerator/names-generator.go` (Apache-2.0).
const LISTS: &str = include_str!("names.json");
/// "Steve Wozniak is not boring", as the same file says.
const NEVER: &str = "boring_wozniak";

#[derive(Deserialize)]
struct Lists<'a> {
    #[serde(borrow)]
    left: Vec<&'a str>,
    #[serde(borrow)]
    right: Vec<&'a str>,
}

/// A random `adjective_surname`; `digit` appends one, for another try after a clash.
pub(super) fn generate(digit: bool) -> String {
    let lists: Lists<'_> = serde_json::from_str(LISTS).expect("the lists are well-formed");
    loop {
        let pick = |list: &[&str]| {
            let at = usize::from(u16::from_ne_bytes(random::<2>())) % list.len();
            list[at].to_owned()
        };
        let mut name = format!("{}_{}", pick(&lists.left), pick(&lists.right));
        if name == NEVER {
            continue;
        }
        if digit {
            let [byte] = random::<1>();
            name.push(char::from(b'0' + byte % 10));
        }
        return name;
    }
}

/// Whether Docker would take this name.
pub(super) fn check(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let mut rest = bytes.clone();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if first && rest.len() >= 1 && rest.all(good) {
        return Ok(());
    }
    Err(Error::InvalidName(name.to_owned()))
}

/// A new ID: 64 hexadecimal digits. One whose short form is a number is passed
/// over, because a host name of digits alone is taken for an address.
pub(super) fn new_id() -> String {
    loop {
        let id = Digest::from_raw(random()).hex();
        if !id[..12].bytes().all(|byte| byte.is_ascii_digit()) {
            return id;
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // The kernel's pool answers always, after boot; a signal may cut it short.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_look_like_dockers() {
        let name = generate(false);
        let (left, right) = name.split_once('_').unwrap();
        assert!(
            left.bytes()
                .chain(right.bytes())
                .all(|b| b.is_ascii_lowercase())
        );
        assert!(generate(true).ends_with(|c: char| c.is_ascii_digit()));
        check(&name).unwrap();
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "a", "-ab", "bad name!", "a/b", "é1", "_x"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for good in ["ab", "A1", "web_1.x-2", "0a"] {
            check(good).unwrap();
        }
    }

    #[test]
    fn ids_are_64_hexadecimal_digits() {
        let id = new_id();
        assert_eq!(id.len(), 64);
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(id, new_id());
    }
}
