//! Users and groups of an image: `/etc/passwd` and `/etc/group`, and what a
//! user such as `app:staff` means there. Values only.
//!
//! Source: passwd(5), group(5); Docker's rules for `USER` and `--user`.

use serde::{Deserialize, Serialize};

/// Longest line that is looked at; a longer one is no account.
const LINE_LIMIT: usize = 64 << 10;
/// The kernel's -1 and Docker's limit alike forbid more.
const ID_LIMIT: u32 = i32::MAX as u32;

/// A text that names no user or group here. The messages are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No line of `/etc/passwd` has this name.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// No line of `/etc/group` has this name.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// The number is too large.
    #[error("uids and gids must be in range 0-{ID_LIMIT}")]
    Range,
}

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory; `/` for a user without an entry.
    pub home: String,
}

#[derive(Debug, Clone)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug, Clone)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The accounts of one root file system.
#[derive(Debug, Clone, Default)]
pub struct Users {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Users {
    /// Parses the two files; a missing file is empty, a line that is no account is skipped.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: lines(passwd).filter_map(|line| user(&line)).collect(),
            groups: lines(group).filter_map(|line| self::group(&line)).collect(),
        }
    }

    /// What `user`, `user:group`, `uid` or `uid:gid` means; the empty text is root.
    ///
    /// A number is always an ID and need not have an entry. Supplementary groups
    /// come with a user that has an entry, unless a group is named.
    pub fn resolve(&self, text: &str) -> Result<Account, UserError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let number = number(user);
        let entry = self.users.iter().find(|entry| match (user, number) {
            ("", _) => entry.uid == 0,
            (_, Some(uid)) => u64::from(entry.uid) == uid,
            (name, None) => entry.name == name,
        });
        let mut account = match (entry, number) {
            (Some(entry), _) => Account {
                uid: entry.uid,
                gid: entry.gid,
                groups: Vec::new(),
                home: match entry.home.as_str() {
                    "" => "/".to_owned(),
                    home => home.to_owned(),
                },
            },
            (None, None) if !user.is_empty() => return Err(UserError::NoUser(user.to_owned())),
            (None, number) => Account {
                uid: in_range(number.unwrap_or(0))?,
                gid: 0,
                groups: Vec::new(),
                home: "/".to_owned(),
            },
        };
        if !group.is_empty() {
            account.gid = self.group(group)?;
        } else if let Some(entry) = entry {
            let member = |group: &&Group| group.members.contains(&entry.name);
            account.groups = self.groups.iter().filter(member).map(|g| g.gid).collect();
        }
        Ok(account)
    }

    /// What a group's name or number means.
    pub fn group(&self, text: &str) -> Result<u32, UserError> {
        let number = number(text);
        let entry = self.groups.iter().find(|entry| match number {
            Some(gid) => u64::from(entry.gid) == gid,
            None => entry.name == text,
        });
        match (entry, number) {
            (Some(entry), _) => Ok(entry.gid),
            (None, Some(gid)) => in_range(gid),
            (None, None) => Err(UserError::NoGroup(text.to_owned())),
        }
    }
}

/// A number of any size; its range is judged apart, as Docker does.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn in_range(number: u64) -> Result<u32, UserError> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id <= ID_LIMIT)
        .ok_or(UserError::Range)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= LINE_LIMIT)
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next().and_then(|gid| gid.parse().ok()).unwrap_or(0);
    let home = fields.nth(1).unwrap_or_default().to_owned();
    (!name.is_empty()).then_some(User {
        name,
        uid,
        gid,
        home,
    })
}

fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default();
    (!name.is_empty()).then_some(Group {
        name,
        gid,
        members: members.split(',').map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n# remark\napp:x:1000:1001::/srv/app:/bin/sh\n\
        broken\nnohome:x:7:8\nnobody:*:65534:65534:nobody:/home:/bin/false\n";
    const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:app,other\nwheel:x:10:root,app\napp:x:1001:\n";

    fn check(text: &str, want: Result<(u32, u32, &[u32], &str), UserError>) {
        let got = Users::parse(PASSWD, GROUP).resolve(text);
        let want = want.map(|(uid, gid, groups, home)| Account {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        });
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn names_numbers_and_groups() {
        check("", Ok((0, 0, &[10], "/root")));
        check("root", Ok((0, 0, &[10], "/root")));
        check("app", Ok((1000, 1001, &[50, 10], "/srv/app")));
        check("1000", Ok((1000, 1001, &[50, 10], "/srv/app")));
        check("app:staff", Ok((1000, 50, &[], "/srv/app")));
        check("app:7", Ok((1000, 7, &[], "/srv/app")));
        check("4444", Ok((4444, 0, &[], "/")));
        check("4444:55", Ok((4444, 55, &[], "/")));
        check(":staff", Ok((0, 50, &[], "/root")));
        check("nohome", Ok((7, 8, &[], "/")));
    }

    #[test]
    fn unknown_names_are_refused_in_dockers_words() {
        check("no", Err(UserError::NoUser("no".to_owned())));
        check("app:no", Err(UserError::NoGroup("no".to_owned())));
        check("4294967296", Err(UserError::Range));
        check("2147483648", Err(UserError::Range));
        check("99999999999999999999999", Err(UserError::Range));
        assert_eq!(
            UserError::NoUser("x".to_owned()).to_string(),
            "unable to find user x: no matching entries in passwd file"
        );
    }

    #[test]
    fn without_files_root_and_numbers_remain() {
        let none = Users::default();
        assert_eq!(none.resolve("").unwrap().home, "/");
        assert_eq!(none.resolve("5:6").unwrap().gid, 6);
        assert!(none.resolve("root").is_err());
    }
}
