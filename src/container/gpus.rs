//! Devices that are asked for by kind and number: `--gpus`, and names of vendors'
//! devices.
//!
//! Source: Docker's `--gpus`; moby `daemon/nvidia_linux.go`, which gives them to
//! the vendor's file where there is one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Error;
use super::cdi::Registry;

/// The driver that stands for names of vendors' files.
const BY_NAME: &str = "cdi";
/// Who describes graphics processors: the driver's name, and the devices' kind.
const MAKERS: [(&str, &str); 2] = [("nvidia", "nvidia.com/gpu"), ("amd", "amd.com/gpu")];

/// Devices that are asked for, as Docker's API has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceWish {
    /// Whose they are; any when empty.
    pub driver: String,
    /// How many; -1 for all.
    pub count: i64,
    /// Which ones.
    pub ids: Vec<String>,
    /// What they have to be capable of: one of these lists.
    pub capabilities: Vec<Vec<String>>,
    /// What else is told to the driver.
    pub options: BTreeMap<String, String>,
}

impl DeviceWish {
    /// Devices by their full names.
    pub fn by_name(names: Vec<String>) -> Self {
        Self {
            driver: BY_NAME.to_owned(),
            ids: names,
            ..Self::default()
        }
    }

    /// Parses a value of `--gpus`: `all`, a number, or pairs such as `device=0` and
    /// `driver=nvidia`, separated by commas; one with a comma in it is quoted.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |why: String| Error::Invalid(why);
        let mut wish = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let mut counted = false;
        for field in fields(text).map_err(invalid)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => ("count".to_owned(), field.clone()),
            };
            if seen.contains(&key) {
                let why = format!("gpu request key '{key}' can be specified only once");
                return Err(invalid(why));
            }
            let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
            match key.as_str() {
                "driver" => wish.driver.clone_from(&value),
                "count" => {
                    wish.count = count(&value).map_err(invalid)?;
                    counted = true;
                }
                "device" => wish.ids = list(&value),
                "capabilities" => {
                    let mut all = list(&value);
                    all.push("gpu".to_owned());
                    wish.capabilities = vec![all];
                }
                "options" => {
                    let pairs = fields(&value).map_err(invalid)?;
                    let pair = |text: String| match text.split_once('=') {
                        Some((name, value)) => (name.to_owned(), value.to_owned()),
                        None => (text, String::new()),
                    };
                    wish.options = pairs.into_iter().map(pair).collect();
                }
                _ => return Err(invalid(format!("unexpected key '{key}' in '{field}'"))),
            }
            seen.push(key);
        }
        if !counted && wish.ids.is_empty() {
            wish.count = 1;
        }
        if wish.capabilities.is_empty() {
            wish.capabilities = vec![vec!["gpu".to_owned()]];
        }
        wish.check()?;
        Ok(wish)
    }

    fn check(&self) -> Result<(), Error> {
        if self.count != 0 && !self.ids.is_empty() {
            let why = "cannot set both Count and DeviceIDs on device request";
            return Err(Error::Invalid(why.to_owned()));
        }
        Ok(())
    }

    /// The full names of the devices that are meant.
    ///
    /// # Errors
    /// [`Error::Invalid`] where nobody describes such devices.
    pub(super) fn names(&self, registry: &Registry) -> Result<Vec<String>, Error> {
        if self.driver == BY_NAME {
            return Ok(self.ids.clone());
        }
        let nobody = || {
            let lists = self
                .capabilities
                .iter()
                .map(|list| format!("[{}]", list.join(" ")));
            let lists: Vec<String> = lists.collect();
            Error::Invalid(format!(
                "could not select device driver \"{}\" with capabilities: [{}]",
                self.driver,
                lists.join(" ")
            ))
        };
        let about_gpus = self.capabilities.iter().flatten().any(|one| one == "gpu");
        let maker = MAKERS.iter().find(|(driver, kind)| {
            let meant = self.driver.is_empty() || self.driver == *driver;
            meant && about_gpus && registry.has_kind(kind)
        });
        let (_, kind) = maker.ok_or_else(nobody)?;
        let ids = match self.count {
            0 => self.ids.clone(),
            number if number < 0 => vec!["all".to_owned()],
            number => (0..number).map(|number| number.to_string()).collect(),
        };
        Ok(ids.iter().map(|id| format!("{kind}={id}")).collect())
    }
}

fn count(text: &str) -> Result<i64, String> {
    /// More than any machine has.
    const MOST: i64 = 4_096;
    if text == "all" {
        return Ok(-1);
    }
    let wrong = || format!("invalid count ({text}): value must be either \"all\" or an integer");
    let number = text.parse::<i64>().map_err(|_| wrong())?;
    (-1..=MOST)
        .contains(&number)
        .then_some(number)
        .ok_or_else(wrong)
}

/// The fields of a line of comma-separated values; quotes keep commas together.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match (c, fields.last_mut()) {
            ('"', Some(_)) => quoted = !quoted,
            (',', Some(_)) if !quoted => fields.push(String::new()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    if quoted {
        return Err(format!("extraneous or missing \" in quoted-field: {text}"));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_parsed_as_docker_does() {
        let parse = |text: &str| DeviceWish::parse(text).unwrap();
        assert_eq!(parse("all").count, -1);
        assert_eq!(parse("2").count, 2);
        assert_eq!(parse("device=0").ids, ["0"]);
        assert_eq!(parse("\"device=0,1\"").ids, ["0", "1"]);
        let all =
            parse("driver=nvidia,count=all,\"capabilities=compute,utility\",\"options=a=1,b=2\"");
        assert_eq!((all.driver.as_str(), all.count), ("nvidia", -1));
        assert_eq!(all.capabilities, [["compute", "utility", "gpu"]]);
        assert_eq!(all.options["b"], "2");
        assert_eq!(parse("driver=nvidia").count, 1);
    }

    #[test]
    fn wrong_gpus_are_told() {
        for (text, why) in [
            ("some", "value must be either"),
            ("count=1,count=2", "only once"),
            ("x=1", "unexpected key 'x'"),
            ("count=1,device=0", "both Count and DeviceIDs"),
            ("\"device=0", "quoted-field"),
        ] {
            let got = DeviceWish::parse(text).unwrap_err().to_string();
            assert!(got.contains(why), "{got}");
        }
    }

    #[test]
    fn without_a_file_there_is_no_driver() {
        let told = DeviceWish::parse("all")
            .unwrap()
            .names(&Registry::default());
        assert_eq!(
            told.unwrap_err().to_string(),
            "could not select device driver \"\" with capabilities: [[gpu]]"
        );
    }
}
