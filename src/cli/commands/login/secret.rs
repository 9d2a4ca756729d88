//! Questions on the terminal, secret ones too.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{tcgetattr, tcsetattr};

use super::LIMIT;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Asks for a line.
pub(super) fn ask(output: &mut Output, question: &str) -> Result<String, Failure> {
    must_be_terminal(&io::stdin())?;
    show(output, question)?;
    let mut line = String::new();
    io::stdin().lock().take(LIMIT).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for a line that is not shown while it is typed.
///
/// Keys that would end the program come as bytes, so that no way out leaves a
/// terminal behind that shows nothing.
pub(super) fn ask_hidden(output: &mut Output, question: &str) -> Result<String, Failure> {
    let stdin = io::stdin();
    must_be_terminal(&stdin)?;
    // Whoever types as soon as the question stands there is not seen either.
    let hidden = Hidden::new(&stdin)?;
    show(output, question)?;
    let line = line(&mut stdin.lock());
    drop(hidden);
    output.line("")?;
    output.flush()?;
    String::from_utf8(line?).map_err(|_| Failure::new(1, "the password is no UTF-8"))
}

fn must_be_terminal(stdin: &io::Stdin) -> Result<(), Failure> {
    if stdin.is_terminal() {
        return Ok(());
    }
    let message = "Cannot perform an interactive login from a non TTY device";
    Err(Failure::new(1, message).with_hint("use --username and --password-stdin"))
}

fn show(output: &mut Output, question: &str) -> Result<(), Failure> {
    output.flush()?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(question.as_bytes())?;
    Ok(stdout.flush()?)
}

/// The bytes of a line from a terminal that edits nothing itself.
fn line(from: &mut dyn BufRead) -> Result<Vec<u8>, Failure> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const KILL_LINE: u8 = 21;
    const BACKSPACES: [u8; 2] = [8, 127];
    let mut line = Vec::new();
    for byte in from.take(LIMIT).bytes() {
        match byte? {
            b'\n' | b'\r' | END => break,
            INTERRUPT => return Err(Failure::silent(130)),
            KILL_LINE => line.clear(),
            byte if BACKSPACES.contains(&byte) => {
                // The last character may have several bytes.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    }
    Ok(line)
}

/// A terminal that shows nothing; dropped, it is as it was.
struct Hidden<'a> {
    stdin: &'a io::Stdin,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(stdin: &'a io::Stdin) -> Result<Self, Failure> {
        let before = tcgetattr(stdin).map_err(io::Error::from)?;
        let mut hidden = before.clone();
        hidden
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin, OptionalActions::Now, &hidden).map_err(io::Error::from)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _gone = tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn lines_are_edited() {
        let read = |typed: &[u8]| line(&mut &*typed).map_err(|failure| failure.code());
        assert_eq!(read(b"abc\nrest"), Ok(b"abc".to_vec()));
        assert_eq!(read("a\u{e4}\u{7f}b\r".as_bytes()), Ok(b"ab".to_vec()));
        assert_eq!(read(b"abc\x15d\x04"), Ok(b"d".to_vec()));
        assert_eq!(read(b"\x7fa"), Ok(b"a".to_vec()));
        assert_eq!(read(b"a\x03"), Err(130));
    }
}
