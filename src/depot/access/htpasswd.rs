//! Users and the hashes of their passwords, as `htpasswd -B` writes them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;

use crate::fs::{At, PathError};

/// Largest file that is read, in bytes.
const SIZE_LIMIT: u64 = 1 << 20;
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most passwords that are remembered as right.
const REMEMBERED: usize = 1024;
/// A hash that no password has, to take as long for users that are not there.
const NOBODY: &str = "$2y$10$abcdefghijklmnopqrstuuOv1/Vs0q1H8mnhMqKBk1rcWkxKFn2nW";

/// Why users cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] PathError),
    /// A line is no user.
    #[error("`{}`, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody is in the file.
    #[error("`{}` has no users: add one with `htpasswd -B`", .0.display())]
    Nobody(PathBuf),
    /// No key can be made.
    #[error("the system has no random numbers")]
    NoKey,
}

/// The users of a file. The file is read again when it changes; while it cannot
/// be read, its users stay.
pub struct Htpasswd {
    path: PathBuf,
    key: hmac::Key,
    state: Mutex<State>,
    /// Passwords are hashed one at a time: guessing many costs one core at most.
    turn: Mutex<()>,
}

struct State {
    users: HashMap<String, String>,
    version: Option<(SystemTime, u64)>,
    looked: Instant,
    /// Keyed hashes of users with passwords that were right.
    known: HashSet<Vec<u8>>,
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Htpasswd({})", self.path.display())
    }
}

impl Htpasswd {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let version = version(path);
        let users = parse(path)?;
        if users.is_empty() {
            return Err(AccessError::Nobody(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            key: new_key()?,
            state: Mutex::new(State {
                users,
                version,
                looked: Instant::now(),
                known: HashSet::new(),
            }),
            turn: Mutex::new(()),
        })
    }

    /// Whether this is a user with this password.
    pub(super) fn verify(&self, user: &str, password: &str) -> bool {
        let hash = {
            let mut state = self.lock();
            self.renew(&mut state);
            state.users.get(user).cloned()
        };
        // With the hash, so that a changed password forgets the old one.
        let mut secret = hmac::Context::with_key(&self.key);
        for part in [user, password, hash.as_deref().unwrap_or_default()] {
            secret.update(&(part.len() as u64).to_le_bytes());
            secret.update(part.as_bytes());
        }
        let tag = secret.sign().as_ref().to_vec();
        if hash.is_some() && self.lock().known.contains(&tag) {
            return true;
        }
        let right = {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            bcrypt::verify(password, hash.as_deref().unwrap_or(NOBODY)).unwrap_or(false)
        };
        if !right || hash.is_none() {
            return false;
        }
        let mut state = self.lock();
        if state.known.len() >= REMEMBERED {
            state.known.clear();
        }
        state.known.insert(tag);
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self, state: &mut State) {
        if state.looked.elapsed() < LOOK_EVERY {
            return;
        }
        state.looked = Instant::now();
        let version = version(&self.path);
        if version.is_some()
            && version != state.version
            && let Ok(users) = parse(&self.path)
        {
            state.users = users;
            state.version = version;
        }
    }
}

/// A key that nobody knows and that ends with the process.
pub(super) fn new_key() -> Result<hmac::Key, AccessError> {
    hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
        .map_err(|_| AccessError::NoKey)
}

fn version(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn parse(path: &Path) -> Result<HashMap<String, String>, AccessError> {
    let mut text = String::new();
    let file = std::fs::File::open(path).at("open", path)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, SIZE_LIMIT), &mut text)
        .at("read", path)?;
    let mut users = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why| AccessError::Line {
            path: path.to_owned(),
            line: index + 1,
            why,
        };
        let (user, hash) = line
            .split_once(':')
            .filter(|(user, _)| !user.is_empty())
            .ok_or_else(|| wrong("expected USER:HASH"))?;
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|kind| hash.starts_with(kind));
        if !is_bcrypt || hash.len() != 60 {
            return Err(wrong(
                "only bcrypt hashes are taken: `htpasswd -B` makes them",
            ));
        }
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn users_are_known_by_their_passwords() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let (_dir, path) = file(&format!("# users\n\nme:{hash}\n"));
        let users = Htpasswd::read(&path).unwrap();
        for _ in 0..2 {
            assert!(users.verify("me", "secret"));
            assert!(!users.verify("me", "other"));
            assert!(!users.verify("you", "secret"));
            assert!(!users.verify("", ""));
        }
        assert!(!bcrypt::verify("", NOBODY).unwrap(), "it is well formed");
        assert!(!format!("{users:?}").contains(&hash));
    }

    #[test]
    fn a_changed_file_counts() {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let (_dir, path) = file(&format!("me:{}\n", hash("old")));
        let users = Htpasswd::read(&path).unwrap();
        assert!(users.verify("me", "old"));
        std::fs::write(&path, format!("me:{}\nmore:{}\n", hash("new"), hash("x"))).unwrap();
        std::thread::sleep(LOOK_EVERY);
        assert!(!users.verify("me", "old"));
        assert!(users.verify("me", "new") && users.verify("more", "x"));
    }

    #[test]
    fn other_hashes_are_refused_with_their_line() {
        let said = |text: &str| {
            let (_dir, path) = file(text);
            Htpasswd::read(&path).unwrap_err().to_string()
        };
        assert!(said("a:$2y$10$short").contains("line 1: only bcrypt"));
        assert!(said("\nme:$apr1$x$y\n").contains("line 2: only bcrypt"));
        assert!(said("me\n").contains("expected USER:HASH"));
        assert!(said("").contains("no users"));
    }
}
