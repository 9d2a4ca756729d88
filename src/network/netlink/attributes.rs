//! Attributes: the type-length-value lists that netlink messages are made of.
//!
//! Source: Documentation/userspace-api/netlink/intro.rst of Linux.

use std::io;

use super::malformed;

const HEADER_BYTES: usize = 4;
/// The two highest bits of a type are flags (linux/netlink.h, `NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// A list of attributes being written.
#[derive(Debug, Clone, Default)]
pub(in crate::network) struct Attributes(Vec<u8>);

impl Attributes {
    /// Appends raw bytes.
    pub(in crate::network) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = HEADER_BYTES + value.len();
        let length = u16::try_from(length).expect("our attributes are far smaller than 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends a text with its closing zero byte.
    pub(in crate::network) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &terminated(value))
    }

    /// Appends a number in network byte order, as nftables wants them.
    pub(in crate::network) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends a list of attributes.
    pub(in crate::network) fn nested(self, kind: u16, value: &Self) -> Self {
        self.bytes(kind | NESTED, &value.0)
    }

    /// Appends a list of attributes as it was read.
    pub(in crate::network) fn nested_bytes(self, kind: u16, list: &[u8]) -> Self {
        self.bytes(kind | NESTED, list)
    }

    /// The bytes so far.
    pub(in crate::network) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The text with a closing zero byte.
pub(in crate::network) fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The value of the first attribute of this type in a list.
pub(in crate::network) fn find(list: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = list;
    while rest.len() >= HEADER_BYTES {
        let length = usize::from(u16::from_ne_bytes(read_array(rest, 0).ok()?));
        let found = u16::from_ne_bytes(read_array(rest, 2).ok()?) & TYPE_MASK;
        let value = rest.get(HEADER_BYTES..length)?;
        if found == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The `N` bytes at `offset`.
pub(in crate::network) fn read_array<const N: usize>(
    bytes: &[u8],
    offset: usize,
) -> io::Result<[u8; N]> {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found() {
        let inner = Attributes::default().number(3, 0x0102_0304);
        let list = Attributes::default()
            .text(1, "eth0")
            .nested(2, &inner)
            .bytes(9, &[]);
        assert_eq!(list.as_bytes().len() % 4, 0);
        assert_eq!(find(list.as_bytes(), 1), Some(&b"eth0\0"[..]));
        let nested = find(list.as_bytes(), 2).unwrap();
        assert_eq!(find(nested, 3), Some(&[1, 2, 3, 4][..]));
        assert_eq!(find(list.as_bytes(), 9), Some(&[][..]));
        assert_eq!(find(list.as_bytes(), 8), None);
    }

    #[test]
    fn damaged_lists_end_quietly() {
        for list in [
            &[][..],
            &[1, 0, 0],
            &[0, 0, 1, 0],
            &[3, 0, 1, 0],
            &[200, 0, 1, 0, 1],
        ] {
            assert_eq!(find(list, 1), None, "{list:?}");
        }
    }
}
