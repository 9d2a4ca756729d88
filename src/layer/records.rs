//! PAX records: `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
//!
//! Source: POSIX.1-2017, pax, "pax Extended Header".

use std::collections::BTreeMap;
use std::io;

/// The records in force for a member, by key.
#[derive(Debug, Clone, Default)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Adds the records of one header's body; later ones win, and an empty value
    /// takes back what stood before.
    pub(super) fn merge(&mut self, mut body: &[u8]) -> io::Result<()> {
        while !body.is_empty() {
            // Some writers fill the last block with zeros.
            if body.iter().all(|&byte| byte == 0) {
                break;
            }
            let (key, value, rest) = first(body).ok_or_else(malformed)?;
            if value.is_empty() {
                self.0.remove(key);
            } else {
                self.0.insert(key.to_vec(), value.to_vec());
            }
            body = rest;
        }
        Ok(())
    }

    /// Bytes of all keys and values.
    pub(super) fn length(&self) -> usize {
        self.0
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// A decimal number, with its fraction rounded down.
    pub(super) fn number(&self, key: &str) -> io::Result<Option<i64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(value).map_err(|_| malformed())?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let number: i64 = whole.parse().map_err(|_| malformed())?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        let is_below = whole.starts_with('-') && fraction.bytes().any(|byte| byte != b'0');
        Ok(Some(number.saturating_sub(is_below.into())))
    }

    /// Whether the member is a sparse file in one of GNU's PAX spellings.
    pub(super) fn is_sparse(&self) -> bool {
        self.0.keys().any(|key| key.starts_with(b"GNU.sparse."))
    }

    /// Extended attributes, sorted by name.
    pub(super) fn xattrs(&self) -> Vec<(String, Vec<u8>)> {
        let attribute = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let name = key.strip_prefix(b"SCHILY.xattr.")?;
            let name = String::from_utf8(name.to_vec()).ok()?;
            (!name.contains('\0')).then(|| (name, value.clone()))
        };
        self.0.iter().filter_map(attribute).collect()
    }
}

/// Key and value of the first record, and what follows it.
fn first(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = body.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&body[..blank]).ok()?.parse().ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a PAX record is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(body: &[u8]) -> Records {
        let mut records = Records::default();
        records.merge(body).unwrap();
        records
    }

    #[test]
    fn values_may_hold_anything() {
        let records = records(b"26 SCHILY.xattr.user.a=\n\x00\n12 path=a=b\n");
        assert_eq!(records.get("path"), Some(&b"a=b"[..]));
        assert_eq!(records.xattrs(), [("user.a".to_owned(), b"\n\0".to_vec())]);
    }

    #[test]
    fn an_empty_value_takes_back() {
        let mut records = records(b"12 path=abc\n14 linkpath=x\n");
        records.merge(b"8 path=\n\0\0").unwrap();
        assert_eq!(records.get("path"), None);
        assert_eq!(records.get("linkpath"), Some(&b"x"[..]));
    }

    #[test]
    fn numbers_are_rounded_down() {
        for (value, number) in [
            ("7", 7),
            ("-7", -7),
            ("7.9", 7),
            ("-7.5", -8),
            ("-7.00", -7),
        ] {
            let body = format!("{} mtime={value}\n", value.len() + 10);
            let number = Some(number);
            assert_eq!(records(body.as_bytes()).number("mtime").unwrap(), number);
        }
        assert!(records(b"13 mtime=1e9\n").number("mtime").is_err());
    }

    #[test]
    fn malformed_records_are_refused() {
        for body in [
            &b"x"[..],
            b"99 path=a\n",
            b"9 path=a",
            b"0 path=a\n",
            b"1 \n",
            b"18446744073709551616 a=b\n",
            b"6 path\n",
        ] {
            assert!(Records::default().merge(body).is_err(), "{body:?}");
        }
    }
}
