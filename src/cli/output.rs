//! Where everything printed goes: data to standard output, messages to standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use super::report::Failure;

/// The two streams of the command. Standard output is buffered: [`Output::flush`]
/// makes it visible, and happens at the end of the command by itself.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: BufWriter<io::Stdout>,
}

impl Output {
    /// The process' own streams.
    pub(crate) fn new() -> Self {
        Self {
            stdout: BufWriter::with_capacity(64 << 10, io::stdout()),
        }
    }

    /// One line of data.
    ///
    /// # Errors
    /// A silent failure when the reader is gone; `?` ends the command quietly.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// Data as it is.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stdout.write_all(bytes)?)
    }

    /// Makes everything so far visible.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }

    /// Standard output as a writer, for streams.
    pub(crate) fn stdout(&mut self) -> &mut dyn Write {
        &mut self.stdout
    }

    /// Whether standard output is a terminal.
    pub(crate) fn stdout_is_terminal(&self) -> bool {
        self.stdout.get_ref().is_terminal()
    }

    /// Lines in columns that are as wide as their widest cell and three spaces,
    /// as Docker prints them.
    pub(crate) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let width = |column: usize, title: &str| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .fold(title.chars().count(), usize::max)
        };
        let widths: Vec<usize> = header
            .iter()
            .enumerate()
            .map(|(column, title)| width(column, title))
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for (cell, width) in cells.zip(&widths) {
                text.push_str(cell);
                let padding = width + 3 - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', padding));
            }
            text.truncate(text.trim_end().len());
            text
        };
        self.line(line(&mut header.iter().copied()))?;
        for row in rows {
            self.line(line(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }

    /// A line on standard error. That it cannot be written stops nothing.
    pub(crate) fn message(&mut self, text: impl Display) {
        self.standard_error(&format!("{text}\n"));
    }

    /// A warning on standard error.
    pub(crate) fn warn(&mut self, text: impl Display) {
        self.standard_error(&format!("WARNING: {text}\n"));
    }

    /// An error on standard error; for verbs that go on with their next argument.
    pub(crate) fn error(&mut self, text: impl Display) {
        self.standard_error(&format!("Error: {text}\n"));
    }

    /// A failure on standard error, whole.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        self.standard_error(&failure.text());
    }

    fn standard_error(&mut self, text: &str) {
        // Data and messages keep their order when both go to one terminal.
        let _reader_gone = self.stdout.flush();
        let _reader_gone = io::stderr().write_all(text.as_bytes());
    }
}
