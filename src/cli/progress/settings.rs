//! What the environment says about progress: colours, lines, limits.

use std::collections::BTreeMap;

use anstyle::{Ansi256Color, AnsiColor, RgbColor, Style};

/// How progress looks.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The colours.
    pub(super) palette: Palette,
    /// How many of its last lines a running step shows at most.
    pub(super) log_lines: usize,
    /// How much of a step's output is shown.
    pub(super) limits: LogLimits,
    /// What in the environment was not understood.
    pub(crate) complaints: Vec<String>,
    /// Whether the terminal can do no more than print.
    pub(super) dumb: bool,
    /// Whether it is shown why steps were cached or not.
    pub(crate) reasons: bool,
}

/// How much of one step's output is shown; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogLimits {
    /// Bytes in all.
    pub(super) size: Option<u64>,
    /// Bytes in each second that the step has run.
    pub(super) speed: Option<u64>,
}

impl Default for LogLimits {
    /// BuildKit's.
    fn default() -> Self {
        Self {
            size: Some(2 << 20),
            speed: Some(200 << 10),
        }
    }
}

/// The styles of lines; all plain without colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Palette {
    /// Steps that ran.
    pub(super) run: Style,
    /// Steps that were stopped.
    pub(super) cancel: Style,
    /// Steps that failed.
    pub(super) error: Style,
    /// Warnings.
    pub(super) warning: Style,
    /// Cached steps, logs and notes.
    pub(super) dim: Style,
    /// The line on top.
    pub(super) header: Style,
}

impl Palette {
    fn colorful() -> Self {
        Self {
            run: AnsiColor::Blue.on_default(),
            cancel: AnsiColor::Yellow.on_default(),
            error: AnsiColor::Red.on_default(),
            warning: AnsiColor::Yellow.on_default(),
            dim: Style::new().dimmed(),
            header: Style::new().bold(),
        }
    }
}

impl Settings {
    /// What `environment` asks for; `colors` says whether the terminal may have any.
    pub(crate) fn read(environment: &BTreeMap<String, String>, colors: bool) -> Self {
        let value = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let mut complaints = Vec::new();
        let mut number = |name: &str| -> Option<i64> {
            let text = value(name)?;
            let number = text.trim().parse().ok();
            if number.is_none() {
                complaints.push(format!("{name}: `{text}` is not a number"));
            }
            number
        };
        let log_lines = number("BUILDKIT_TTY_LOG_LINES");
        let limit = |given: Option<i64>, usual: Option<u64>| match given {
            Some(-1) => None,
            Some(given) => u64::try_from(given).ok().or(usual),
            None => usual,
        };
        let usual = LogLimits::default();
        let limits = LogLimits {
            size: limit(number("BUILDKIT_STEP_LOG_MAX_SIZE"), usual.size),
            speed: limit(number("BUILDKIT_STEP_LOG_MAX_SPEED"), usual.speed),
        };
        let mut palette = Palette::default();
        if colors {
            palette = Palette::colorful();
            if let Some(text) = value("BUILDKIT_COLORS") {
                complaints.extend(recolor(&mut palette, text));
            }
        }
        Self {
            palette,
            log_lines: log_lines.and_then(|n| usize::try_from(n).ok()).unwrap_or(6),
            limits,
            complaints,
            dumb: value("TERM").is_some_and(|term| term == "dumb"),
            reasons: true,
        }
    }

    /// How warnings look.
    pub(crate) fn warning(&self) -> Style {
        self.palette.warning
    }
}

/// Applies `run=green:error=255,0,0` as BuildKit reads it; returns what it cannot mean.
fn recolor(palette: &mut Palette, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for field in text.split(':').filter(|field| !field.is_empty()) {
        let Some((name, value)) = field.split_once('=').filter(|(_, v)| !v.contains('=')) else {
            complaints.push(format!(
                "could not parse BUILDKIT_COLORS component: {field}"
            ));
            continue;
        };
        let Some(style) = style(&value.to_ascii_lowercase()) else {
            complaints.push(format!(
                "unknown color value found in BUILDKIT_COLORS: {name}={value}"
            ));
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "run" => palette.run = style,
            "cancel" => palette.cancel = style,
            "error" => palette.error = style,
            "warning" => palette.warning = style,
            _ => complaints.push(format!("unknown key found in BUILDKIT_COLORS: {name}")),
        }
    }
    complaints
}

/// A colour by name or as `red,green,blue`; `default` is the terminal's own.
fn style(text: &str) -> Option<Style> {
    if text == "default" {
        return Some(Style::new());
    }
    if text.contains(',') {
        let mut parts = text.split(',').map(|part| part.trim().parse::<u8>());
        let mut part = || parts.next()?.ok();
        let rgb = RgbColor(part()?, part()?, part()?);
        return parts.next().is_none().then(|| rgb.on_default());
    }
    let (bright, name) = match text.strip_prefix("light-") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let color = match name {
        "black" => AnsiColor::Black,
        "blue" => AnsiColor::Blue,
        "cyan" => AnsiColor::Cyan,
        "green" => AnsiColor::Green,
        "magenta" => AnsiColor::Magenta,
        "red" => AnsiColor::Red,
        "white" => AnsiColor::White,
        "yellow" => AnsiColor::Yellow,
        "orange" if !bright => return Some(Ansi256Color(208).on_default()),
        _ => return None,
    };
    Some(color.bright(bright).on_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Settings {
        let pairs = pairs.iter();
        let environment = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(&environment.collect(), true)
    }

    #[test]
    fn limits_can_be_changed_and_switched_off() {
        let limits = |size: &str, speed: &str| {
            let settings = read(&[
                ("BUILDKIT_STEP_LOG_MAX_SIZE", size),
                ("BUILDKIT_STEP_LOG_MAX_SPEED", speed),
            ]);
            (settings.limits.size, settings.limits.speed)
        };
        assert_eq!(limits("", ""), (Some(2_097_152), Some(204_800)));
        assert_eq!(limits("-1", "-1"), (None, None));
        assert_eq!(limits("10485760", "0"), (Some(10_485_760), Some(0)));
        assert_eq!(
            read(&[("BUILDKIT_STEP_LOG_MAX_SIZE", "2MB")])
                .complaints
                .len(),
            1
        );
    }

    #[test]
    fn colors_are_read_as_buildkit_reads_them() {
        let palette = |text: &str| read(&[("BUILDKIT_COLORS", text)]).palette;
        assert_eq!(palette("run=green").run, AnsiColor::Green.on_default());
        assert_eq!(
            palette("RUN=LIGHT-Red:error=1,2,3").run,
            AnsiColor::BrightRed.on_default()
        );
        assert_eq!(palette("error=1,2,3").error, RgbColor(1, 2, 3).on_default());
        for wrong in [
            "run",
            "run=a=b",
            "run=purple",
            "run=1,2",
            "run=1,2,999",
            "go=red",
        ] {
            let settings = read(&[("BUILDKIT_COLORS", wrong)]);
            assert_eq!(settings.complaints.len(), 1, "{wrong}");
            assert_eq!(settings.palette, Palette::colorful());
        }
    }

    #[test]
    fn without_colors_everything_is_plain() {
        let environment = [("BUILDKIT_COLORS".to_owned(), "run=green".to_owned())];
        let settings = Settings::read(&environment.into(), false);
        assert_eq!(settings.palette, Palette::default());
    }
}
