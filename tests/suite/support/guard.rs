//! Whose data roots there are, and who puts them away when the suite is killed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Notes that a directory is this test's: `tests/leftovers.sh` tells by that what was
/// left behind by whom, and the guard what to remove.
pub(super) fn note(directory: &Path) {
    static NOTING: Mutex<()> = Mutex::new(());
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a thread");
    let line = format!("{} {test}\n", directory.display());
    let _turn = NOTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = std::fs::File::options()
        .append(true)
        .open(&started().homes)
        .expect("it was made");
    file.write_all(line.as_bytes())
        .expect("the target directory is writable");
}

/// A process that outlives this one by as long as it has to.
struct Guard {
    homes: PathBuf,
    /// Closed when this process ends, which is what the guard waits for.
    _life: Option<ChildStdin>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "the guard has to be another process, in a session that no signal to the suite reaches"
)]
fn started() -> &'static Guard {
    static GUARD: OnceLock<Guard> = OnceLock::new();
    GUARD.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("homes");
        std::fs::create_dir_all(&place).expect("the target directory is writable");
        let homes = place.join(std::process::id().to_string());
        std::fs::write(&homes, "").expect("the target directory is writable");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guard.sh");
        let child = Command::new("setsid")
            .arg(script)
            .arg(env!("CARGO_BIN_EXE_rbuild"))
            .arg(&homes)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Guard {
            homes,
            _life: child.ok().and_then(|child| child.stdin),
        }
    })
}
