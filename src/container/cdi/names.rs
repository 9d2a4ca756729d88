//! `vendor.com/class=name`.

/// The parts of a device's full name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) vendor: &'a str,
    pub(super) class: &'a str,
    pub(super) device: &'a str,
}

impl<'a> Name<'a> {
    /// Takes a full name apart; `None` for what is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (kind, device) = text.split_once('=')?;
        let (vendor, class) = kind.split_once('/')?;
        let name = Self {
            vendor,
            class,
            device,
        };
        let good = check_vendor(vendor).is_ok() && check_class(class).is_ok();
        (good && check_device(device).is_ok()).then_some(name)
    }
}

/// Whether a value of `--device` names a device of a vendor, not one of the host.
pub fn is_qualified(text: &str) -> bool {
    Name::parse(text).is_some()
}

/// Letters, digits, `_`, `-` and `.`, beginning with a letter.
pub(super) fn check_vendor(vendor: &str) -> Result<(), String> {
    check("vendor", vendor, "_-.", |first| first.is_ascii_alphabetic())
}

/// The same.
pub(super) fn check_class(class: &str) -> Result<(), String> {
    check("class", class, "_-.", |first| first.is_ascii_alphabetic())
}

/// Letters, digits, `_`, `-`, `.` and `:`.
pub(super) fn check_device(device: &str) -> Result<(), String> {
    check("device name", device, "_-.:", |first| {
        first.is_ascii_alphanumeric()
    })
}

fn check(
    what: &str,
    text: &str,
    between: &str,
    may_begin: impl Fn(char) -> bool,
) -> Result<(), String> {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else {
        return Err(format!("invalid (empty) {what}"));
    };
    let known = |c: char| c.is_ascii_alphanumeric() || between.contains(c);
    if !may_begin(first) || !last.is_ascii_alphanumeric() || !text.chars().all(known) {
        return Err(format!("invalid {what} {text:?}"));
    }
    Ok(())
}
