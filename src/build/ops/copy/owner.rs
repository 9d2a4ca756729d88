//! `--chown` as numbers.

use crate::build::ops::AccountError;
use crate::oci::passwd::Users;

/// The owner that `--chown` names, by these users. A number alone is the group's
/// as well; a name alone brings its own group.
pub(super) fn resolve(chown: &str, users: &Users) -> Result<(u32, u32), AccountError> {
    let (user, group) = match chown.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (chown, None),
    };
    let (uid, own) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let account = users.resolve(user)?;
            (account.uid, account.gid)
        }
    };
    let gid = match group {
        None => own,
        Some(group) => users.group(group)?,
    };
    Ok((uid, gid))
}
