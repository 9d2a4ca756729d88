//! Flags that say what an image of a list is for.

use crate::cli::values;

/// What is told of an image.
#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    /// Set the architecture
    #[arg(long, value_name = "ARCH")]
    pub(super) arch: Option<String>,
    /// Set the operating system
    #[arg(long, value_name = "OS")]
    pub(super) os: Option<String>,
    /// Add a feature that the operating system must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub(super) os_features: Vec<String>,
    /// Set the operating system's version
    #[arg(long, value_name = "VERSION")]
    pub(super) os_version: Option<String>,
    /// Set the architecture's variant
    #[arg(long, value_name = "VARIANT")]
    pub(super) variant: Option<String>,
    /// Annotate the image's entry
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(super) annotation: Vec<(String, String)>,
}
