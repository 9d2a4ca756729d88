//! A browser without a window, to see pages as people's browsers see them.

use std::path::{Path, PathBuf};

/// Where distributions put it.
const PLACES: [&str; 4] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/usr/lib/chromium/chromium",
];

/// Chromium with a profile of its own.
pub(crate) struct Browser {
    program: PathBuf,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Finds the program.
    pub(super) fn find() -> Result<PathBuf, String> {
        let mut places = PLACES.iter().map(PathBuf::from);
        let found = places.find(|path| path.exists());
        found.ok_or("needs chromium (package chromium)".to_owned())
    }

    /// A browser that has never been used; the test asked for one first.
    pub(crate) fn new() -> Self {
        Self {
            program: Self::find().unwrap(),
            profile: tempfile::tempdir().unwrap(),
        }
    }

    /// Loads a page, lets its scripts run, and returns the document that came of it.
    pub(crate) fn document(&self, page: &Path) -> String {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let page = format!("file://{}", page.display());
        let arguments = [
            "--signal=KILL",
            "180",
            self.program.to_str().unwrap(),
            "--headless",
            // Its sandbox refuses to be started by root.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--window-size=1280,1000",
            "--virtual-time-budget=5000",
            &profile,
            "--dump-dom",
            &page,
        ];
        let document = super::run_other("timeout", &arguments);
        String::from_utf8(document).unwrap()
    }
}
