//! Where everything printed goes: data to standard output, messages to standard error.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, BufRead, BufWriter, IsTerminal, Read, Write};

use super::report::Failure;

/// The two streams of the command. Standard output is buffered: [`Output::flush`]
/// makes it visible, and happens at the end of the command by itself.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: BufWriter<io::Stdout>,
    colors: bool,
    is_detailed: bool,
}

impl Output {
    /// The process' own streams.
    pub(crate) fn new(environment: &BTreeMap<String, String>) -> Self {
        let set = |name| environment.get(name).is_some_and(|value| !value.is_empty());
        let dumb = environment.get("TERM").is_some_and(|term| term == "dumb");
        Self {
            colors: io::stderr().is_terminal() && !set("NO_COLOR") && !dumb,
            is_detailed: false,
            stdout: BufWriter::with_capacity(64 << 10, io::stdout()),
        }
    }

    /// Asks for more than what is usually said.
    pub(crate) fn set_detailed(&mut self) {
        self.is_detailed = true;
    }

    /// Whether more than usual is wanted: `--debug` stands before the command.
    pub(crate) fn is_detailed(&self) -> bool {
        self.is_detailed
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

    /// Whether messages on standard error may have colours.
    pub(crate) fn colors(&self) -> bool {
        self.colors
    }

    /// Lines in columns, as Docker prints them.
    pub(crate) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        self.columns(header, rows, 10)
    }

    /// Lines in columns, as Docker's `top` prints them.
    pub(crate) fn wide_table(
        &mut self,
        header: &[&str],
        rows: &[Vec<String>],
    ) -> Result<(), Failure> {
        self.columns(header, rows, 20)
    }

    fn columns(
        &mut self,
        header: &[&str],
        rows: &[Vec<String>],
        least: usize,
    ) -> Result<(), Failure> {
        let mut lines = vec![header.iter().map(|title| (*title).to_owned()).collect()];
        lines.extend_from_slice(rows);
        for line in align_to(&lines, least) {
            self.line(line)?;
        }
        Ok(())
    }

    /// Asks a question on standard output; only `y` or `yes` on standard input is one.
    pub(crate) fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        self.bytes(question.as_bytes())?;
        self.bytes(b" [y/N] ")?;
        self.flush()?;
        let mut answer = String::new();
        io::stdin().lock().take(64).read_line(&mut answer)?;
        let agreed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        if !agreed && !io::stdin().is_terminal() {
            self.line("")?;
        }
        Ok(agreed)
    }

    /// A line on standard error. That it cannot be written stops nothing.
    pub(crate) fn message(&mut self, text: impl Display) {
        self.standard_error(&format!("{text}\n"));
    }

    /// Text on standard error from where nobody has the streams: while something
    /// else runs that may print. Standard output must have been flushed.
    pub(crate) fn notice(text: &str) {
        let _reader_gone = io::stderr().write_all(text.as_bytes());
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

/// Pads the cells of each column but the last to one width: the widest cell and
/// three spaces, ten at least, as Docker's tables are.
pub(crate) fn align(lines: &[Vec<String>]) -> Vec<String> {
    align_to(lines, 10)
}

/// The same with columns of `least` at least.
fn align_to(lines: &[Vec<String>], least: usize) -> Vec<String> {
    const GAP: usize = 3;
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let widest = lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max();
            (widest.unwrap_or(0) + GAP).max(least)
        })
        .collect();
    lines
        .iter()
        .map(|line| {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
            text.truncate(text.trim_end().len());
            text
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_docker_makes_them() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = align(&[
            row(["REPOSITORY", "TAG", "SIZE"]),
            row(["a", "latest", "1kB"]),
        ]);
        assert_eq!(lines[0], "REPOSITORY   TAG       SIZE");
        assert_eq!(lines[1], "a            latest    1kB");
    }
}
