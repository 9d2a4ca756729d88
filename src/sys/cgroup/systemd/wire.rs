//! The bytes of messages on a bus, as far as they are needed here.
//!
//! Source: D-Bus specification, "Marshaling (Wire Format)" and "Message Protocol".

/// The longest message that is read. systemd's are a few hundred bytes.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// The part of a header whose length is known.
pub(super) const FIXED_BYTES: usize = 16;

/// What kind a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A message that was read, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The call that it answers.
    pub(super) reply_to: Option<u32>,
    /// Name of the signal or of the error.
    pub(super) name: String,
    /// The texts in its body: all members that are texts or paths, the numbers left out.
    pub(super) texts: Vec<String>,
}

/// Values, one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        let length = self.bytes.len().next_multiple_of(to);
        self.bytes.resize(length, 0);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.bytes.push(text.len().to_le_bytes()[0]);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose elements begin at multiples of `align`.
    pub(super) fn array(&mut self, align: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.bytes.len();
        self.align(align);
        let start = self.bytes.len();
        elements(self);
        let size = length(self.bytes.len() - start).to_le_bytes();
        self.bytes[place - size.len()..place].copy_from_slice(&size);
    }

    /// `(sv)` with a value of that signature.
    pub(super) fn property(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.text(name);
        self.signature(signature);
        value(self);
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A call's address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// A whole message that calls a method, with a body of this signature.
pub(super) fn call(serial: u32, method: Method<'_>, signature: &str, body: Writer) -> Vec<u8> {
    const CALL: u8 = 1;
    let mut header = Writer::default();
    header.bytes.extend([b'l', CALL, 0, 1]);
    header.number(length(body.bytes.len()));
    header.number(serial);
    header.array(8, |fields| {
        for (code, kind, value) in [
            (1, "o", method.path),
            (6, "s", method.destination),
            (2, "s", method.interface),
            (3, "s", method.member),
            (8, "g", signature),
        ] {
            if value.is_empty() {
                continue;
            }
            fields.align(8);
            fields.bytes.push(code);
            fields.signature(kind);
            if kind == "g" {
                fields.signature(value);
            } else {
                fields.text(value);
            }
        }
    });
    header.align(8);
    header.bytes.extend(body.bytes);
    header.bytes
}

/// How many bytes follow the fixed part of a header; nothing for what is no message
/// or too long for one of ours.
pub(super) fn rest(fixed: &[u8; FIXED_BYTES]) -> Option<usize> {
    let number = |at: usize| {
        let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (body, fields) = (number(4)?, number(12)?);
    let whole = fields.checked_next_multiple_of(8)?.checked_add(body)?;
    (fixed[0] == b'l' && fixed[3] == 1 && whole <= MOST_BYTES).then_some(whole)
}

/// Reads a whole message.
pub(super) fn parse(message: &[u8]) -> Option<Message> {
    let kind = match message.get(1)? {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return None,
    };
    let mut reader = Reader {
        bytes: message,
        at: 12,
    };
    let fields = usize::try_from(reader.number()?).ok()?;
    let end = FIXED_BYTES.checked_add(fields)?;
    let (mut reply_to, mut name, mut signature) = (None, String::new(), String::new());
    while reader.at < end {
        reader.align(8)?;
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match kind.as_str() {
            "o" | "s" => {
                let text = reader.text()?;
                if matches!(code, 3 | 4) {
                    name = text;
                }
            }
            "g" => {
                let text = reader.signature()?;
                if code == 8 {
                    signature = text;
                }
            }
            "u" => {
                let number = reader.number()?;
                if code == 5 {
                    reply_to = Some(number);
                }
            }
            _ => return None,
        }
    }
    reader.at = end;
    reader.align(8)?;
    let mut texts = Vec::new();
    for kind in signature.chars() {
        match kind {
            's' | 'o' => texts.push(reader.text()?),
            'u' | 'i' | 'b' => drop(reader.number()?),
            // What comes behind is nothing that is waited for.
            _ => break,
        }
    }
    Some(Message {
        kind,
        reply_to,
        name,
        texts,
    })
}

/// Values of a message, little-endian, one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4)?;
        let bytes = self.bytes.get(self.at..self.at.checked_add(4)?)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        self.letters(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.letters(length)
    }

    fn letters(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let text = std::str::from_utf8(self.bytes.get(self.at..end)?).ok()?;
        self.at = end + 1;
        Some(text.to_owned())
    }
}

/// A message of another kind than a call, as systemd would write it.
#[cfg(test)]
pub(super) fn answer(kind: u8, reply_to: u32, name: &str, texts: &[&str]) -> Vec<u8> {
    const ERROR: u8 = 3;
    let mut body = Writer::default();
    for text in texts {
        body.text(text);
    }
    let mut header = Writer::default();
    header.bytes.extend([b'l', kind, 0, 1]);
    header.number(length(body.bytes.len()));
    header.number(1);
    header.array(8, |fields| {
        fields.bytes.extend([5, 1, b'u', 0]);
        fields.number(reply_to);
        fields.bytes.push(if kind == ERROR { 4 } else { 3 });
        fields.signature("s");
        fields.text(name);
        fields.align(8);
        fields.bytes.push(8);
        fields.signature("g");
        fields.signature(&"s".repeat(texts.len()));
    });
    header.align(8);
    header.bytes.extend(body.bytes);
    header.bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let method = Method {
            destination: "a.b",
            path: "/a/b",
            interface: "a.b.c",
            member: "Do",
        };
        let mut body = Writer::default();
        body.text("hello");
        body.number(7);
        body.text("");
        let message = call(3, method, "sus", body);
        let (fixed, behind) = message.split_first_chunk::<FIXED_BYTES>().unwrap();
        assert_eq!(rest(fixed), Some(behind.len()));
        let parsed = parse(&message).unwrap();
        assert_eq!((parsed.kind, parsed.name.as_str()), (Kind::Call, "Do"));
        assert_eq!(parsed.texts, ["hello", ""]);
        for end in 0..message.len() {
            // Cut anywhere it is no message, or one without its last text's end.
            let _never_a_panic = parse(&message[..end]);
        }
    }

    #[test]
    fn arrays_know_their_length_without_what_aligns_them() {
        let mut writer = Writer::default();
        writer.array(8, |list| {
            list.property("A", "b", |value| value.number(1));
        });
        let want = [
            16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'A', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0,
        ];
        assert_eq!(writer.bytes, want);
    }

    #[test]
    fn lengths_from_outside_are_bounded() {
        let mut fixed = [0; FIXED_BYTES];
        (fixed[0], fixed[3]) = (b'l', 1);
        assert_eq!(rest(&fixed), Some(0));
        fixed[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(rest(&fixed), None);
    }
}
