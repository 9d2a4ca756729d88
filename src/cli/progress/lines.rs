//! A program's output, cut into lines.

/// A line longer than this is cut: it is no line but data.
const LINE_LIMIT: usize = 16 << 10;

/// Collects bytes until a line is whole.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Adds bytes and returns the lines that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut bytes = bytes;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&bytes[..end]);
            lines.push(self.take());
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LINE_LIMIT {
            lines.push(self.take());
        }
        lines
    }

    /// The last line, if it has no end.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.rest.is_empty()).then(|| self.take())
    }

    /// What there is of the line that has no end yet.
    pub(super) fn rest(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.rest)
    }

    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.rest);
        let text = String::from_utf8_lossy(&bytes);
        text.strip_suffix('\r').unwrap_or(&text).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together() {
        let mut lines = Lines::default();
        assert!(lines.push(b"a").is_empty());
        assert_eq!(lines.push(b"b\r\nc\n\nd"), ["ab", "c", ""]);
        assert_eq!(lines.rest(), "d");
        assert_eq!(lines.finish().as_deref(), Some("d"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn endless_lines_are_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'x'; LINE_LIMIT + 1]).len(), 1);
    }
}
