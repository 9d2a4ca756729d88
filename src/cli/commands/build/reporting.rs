//! What is told of a build besides its progress.

use std::path::PathBuf;

use jiff::Timestamp;
use rbuild::build::{BuildRequest, BuildResult};
use rbuild::engine::{Config, Engine};
use rbuild::fs;
use rbuild::oci::Reference;

use crate::cli::progress::Summary;
use crate::cli::report::Failure;
use crate::cli::report_page::{self, Report};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Reporting {
    /// Write what the build did to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Write what the build did to this file, as an HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Reporting {
    /// Puts what was asked for into the request.
    #[expect(clippy::unnecessary_wraps, reason = "one form for all groups of flags")]
    pub(super) fn apply(&self, build: &mut BuildRequest, _config: &Config) -> Result<(), Failure> {
        // A report says why steps ran.
        build.explain_cache |= self.wanted();
        Ok(())
    }

    /// Whether anything is to be written once the build is over.
    fn wanted(&self) -> bool {
        self.summary.is_some() || self.report.is_some()
    }

    /// Writes what was asked for about a build that is over, well or not.
    pub(super) fn write(
        &self,
        engine: &Engine,
        summary: &Summary,
        result: Result<&BuildResult, &Failure>,
    ) -> Result<(), Failure> {
        if !self.wanted() {
            return Ok(());
        }
        let made = result.ok();
        let names = made.map_or(&[][..], |result| &result.names);
        let report = Report {
            record: &summary.record,
            image: made.and_then(|result| result.image.map(|image| image.to_string())),
            names: names.iter().map(Reference::familiar).collect(),
            failure: result.err().map(Failure::text),
            ended: Timestamp::now(),
        };
        if let Some(path) = &self.summary {
            fs::publish(path, report_page::summary(&report).as_bytes())?;
        }
        if let Some(path) = &self.report {
            let contents = report_page::contents(engine, &summary.record);
            let page = report_page::page(&report, &contents);
            fs::publish(path, page.as_bytes())?;
        }
        Ok(())
    }
}
