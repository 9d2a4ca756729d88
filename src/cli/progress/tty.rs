//! Progress as a moving picture on a terminal.
//!
//! A frame is one write: up to where the moving rows begin, what has ended,
//! the moving rows anew. Rows are overwritten and never erased first, and
//! terminals that know synchronized output show a frame as a whole.

use std::io::{self, Write};
use std::time::Instant;

use rbuild::progress::Event;

use super::screen::{Row, Screen, Size};
use super::settings::Settings;
use super::text::rows_of;
use super::{Ending, Renderer};

/// Begins a frame: synchronized output on, cursor hidden.
const BEGIN: &str = "\u{1b}[?2026h\u{1b}[?25l";
/// Ends a frame; what is left of the last one beneath is erased.
const END: &str = "\u{1b}[J\u{1b}[?25h\u{1b}[?2026l";
/// Erases what is left in a row.
const END_OF_ROW: &str = "\u{1b}[K\n";

/// Draws on the terminal that standard error is.
#[derive(Debug)]
pub(super) struct Tty {
    screen: Screen,
    /// The moving rows of the last frame.
    drawn: Vec<String>,
}

impl Tty {
    /// Draws on standard error.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            screen: Screen::new(settings, Instant::now()),
            drawn: Vec::new(),
        }
    }

    fn draw(&mut self, ended: &[Row], moving: &[Row], size: Size) {
        let text = frame(up(&self.drawn, size), ended, moving);
        self.drawn = moving.iter().map(|row| row.text.clone()).collect();
        // A terminal that is gone stops no build.
        let _terminal_gone = io::stderr().write_all(text.as_bytes());
    }
}

impl Renderer for Tty {
    fn event(&mut self, at: Instant, event: &Event) {
        self.screen.event(at, event);
    }

    fn tick(&mut self, now: Instant) {
        // Asked for each frame: whoever changes the size need not be listened to.
        let size = terminal_size();
        let ended = self.screen.take_ended(size.columns);
        let moving = self.screen.moving(now, size);
        self.draw(&ended, &moving, size);
    }

    fn end(&mut self, now: Instant, _ending: &Ending) {
        let size = terminal_size();
        let rows = self.screen.end(now, size.columns);
        self.draw(&rows, &[], size);
    }
}

fn terminal_size() -> Size {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let or = |given: Option<u16>, usual: usize| match given {
        None | Some(0) => usual,
        Some(given) => usize::from(given),
    };
    Size {
        columns: or(size.map(|size| size.ws_col), 80),
        rows: or(size.map(|size| size.ws_row), 24),
    }
}

/// How many rows above the cursor the moving rows begin. A terminal that became
/// narrower has broken each row into as many as it needs.
fn up(drawn: &[String], size: Size) -> usize {
    let rows = drawn.iter().map(|row| rows_of(row, size.columns));
    rows.sum::<usize>().min(size.rows.saturating_sub(1))
}

fn frame(up: usize, ended: &[Row], moving: &[Row]) -> String {
    let mut text = String::from(BEGIN);
    text.push('\r');
    if up > 0 {
        text.push_str(&format!("\u{1b}[{up}A"));
    }
    for Row { text: row, style } in ended.iter().chain(moving) {
        text.push_str(&format!("{style}{row}{style:#}{END_OF_ROW}"));
    }
    text.push_str(END);
    text
}

#[cfg(test)]
mod tests {
    use anstyle::Style;

    use super::*;

    #[test]
    fn rows_of_a_narrowed_terminal_are_counted_as_it_breaks_them() {
        let size = |columns, rows| Size { columns, rows };
        assert_eq!(up(&[], size(80, 24)), 0);
        let drawn = ["x".repeat(79), "x".repeat(10), String::new()];
        assert_eq!(up(&drawn, size(80, 24)), 3);
        assert_eq!(up(&drawn, size(40, 24)), 4);
        assert_eq!(up(&drawn, size(10, 5)), 4);
    }

    #[test]
    fn a_frame_goes_up_overwrites_and_erases_the_rest() {
        let row = |text: &str| Row {
            text: text.to_owned(),
            style: Style::new(),
        };
        assert_eq!(
            frame(2, &[row("done")], &[row("header")]),
            "\u{1b}[?2026h\u{1b}[?25l\r\u{1b}[2Adone\u{1b}[K\nheader\u{1b}[K\n\u{1b}[J\u{1b}[?25h\u{1b}[?2026l"
        );
    }
}
