//! Who we are at S3: what the user says, else the environment, else AWS' own files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::S3Error;
use super::sign::Identity;
use crate::build::S3Cache;

/// Largest file of AWS' that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// The identity for a cache.
///
/// # Errors
/// [`S3Error::NoIdentity`] when none is found anywhere.
pub(super) fn identity(cache: &S3Cache) -> Result<Identity, S3Error> {
    if let (Some(id), Some(secret)) = (&cache.access_key_id, &cache.secret_access_key) {
        return Ok(Identity {
            access_key_id: id.clone(),
            secret_access_key: secret.clone(),
            session_token: cache.session_token.clone(),
        });
    }
    let environment = &cache.environment;
    of_environment(environment)
        .or_else(|| {
            let file = file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
            of_section(&section(&read(&file)?, &profile(environment)))
        })
        .or_else(|| {
            let file = file(environment, "AWS_CONFIG_FILE", "config")?;
            of_section(&config_section(&read(&file)?, &profile(environment)))
        })
        .ok_or(S3Error::NoIdentity)
}

/// The region that the environment names, else AWS' own settings of the profile.
pub fn region(environment: &BTreeMap<String, String>) -> Option<String> {
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(region) = value(environment, name) {
            return Some(region.to_owned());
        }
    }
    let file = file(environment, "AWS_CONFIG_FILE", "config")?;
    config_section(&read(&file)?, &profile(environment)).remove("region")
}

fn value<'a>(environment: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let value = environment.get(name).map(String::as_str);
    value.filter(|value| !value.is_empty())
}

fn of_environment(environment: &BTreeMap<String, String>) -> Option<Identity> {
    Some(Identity {
        access_key_id: value(environment, "AWS_ACCESS_KEY_ID")?.to_owned(),
        secret_access_key: value(environment, "AWS_SECRET_ACCESS_KEY")?.to_owned(),
        session_token: value(environment, "AWS_SESSION_TOKEN").map(str::to_owned),
    })
}

fn profile(environment: &BTreeMap<String, String>) -> String {
    value(environment, "AWS_PROFILE")
        .unwrap_or("default")
        .to_owned()
}

fn file(environment: &BTreeMap<String, String>, variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = value(environment, variable) {
        return Some(path.into());
    }
    Some(
        Path::new(value(environment, "HOME")?)
            .join(".aws")
            .join(name),
    )
}

fn read(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    file.take(FILE_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

/// In `config` every profile but the default one has a word before its name.
fn config_section(text: &str, profile: &str) -> BTreeMap<String, String> {
    match profile {
        "default" => section(text, profile),
        other => section(text, &format!("profile {other}")),
    }
}

/// The settings of a section `[name]`.
fn section(text: &str, name: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(title) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            inside = title.split_whitespace().eq(name.split_whitespace());
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            settings.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    settings
}

fn of_section(settings: &BTreeMap<String, String>) -> Option<Identity> {
    Some(Identity {
        access_key_id: settings.get("aws_access_key_id")?.clone(),
        secret_access_key: settings.get("aws_secret_access_key")?.clone(),
        session_token: settings.get("aws_session_token").cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(variables: &[(&str, &str)]) -> S3Cache {
        let variables = variables.iter();
        S3Cache {
            environment: variables
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..S3Cache::new("bucket".to_owned(), "here".to_owned())
        }
    }

    fn id(cache: &S3Cache) -> Option<String> {
        identity(cache).ok().map(|identity| identity.access_key_id)
    }

    #[test]
    fn the_first_who_knows_says_who_we_are() {
        let home = tempfile::tempdir().unwrap();
        let text = "# mine\n[default]\naws_access_key_id = D\naws_secret_access_key=d=\n\
                    [ci]\naws_access_key_id=C\naws_secret_access_key=c\naws_session_token=t\n";
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), text).unwrap();
        let config = "[default]\nregion = north\n[profile ci]\nregion=south\n\
                      [profile other]\naws_access_key_id=O\naws_secret_access_key=o\n";
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(id(&cache(&[])), None);
        assert_eq!(id(&cache(&[("HOME", home)])).as_deref(), Some("D"));
        let ci = cache(&[("HOME", home), ("AWS_PROFILE", "ci")]);
        assert_eq!(identity(&ci).unwrap().session_token.as_deref(), Some("t"));
        assert_eq!(region(&ci.environment).as_deref(), Some("south"));
        let other = cache(&[("HOME", home), ("AWS_PROFILE", "other")]);
        assert_eq!(id(&other).as_deref(), Some("O"));
        let both = [
            ("HOME", home),
            ("AWS_ACCESS_KEY_ID", "E"),
            ("AWS_SECRET_ACCESS_KEY", "e"),
            ("AWS_REGION", "west"),
        ];
        assert_eq!(id(&cache(&both)).as_deref(), Some("E"));
        assert_eq!(region(&cache(&both).environment).as_deref(), Some("west"));
        let mut said = cache(&both);
        said.access_key_id = Some("S".to_owned());
        said.secret_access_key = Some("s".to_owned());
        assert_eq!(id(&said).as_deref(), Some("S"));
        let shown = format!("{:?} {said:?}", identity(&ci).unwrap());
        assert!(
            !shown.contains("\"s\"") && !shown.contains("\"t\""),
            "{shown}"
        );
    }
}
