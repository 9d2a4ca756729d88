//! `version`

use rbuild::oci::Platform;
use serde_json::{Value, json};

use crate::cli::format;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

/// The dialect of the commands and documents.
const API_VERSION: &str = "1.51";
/// The oldest version whose documents are the same as far as clients read them.
const MIN_API_VERSION: &str = "1.24";

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    let document = document();
    if let Some(format) = args.format.as_deref().filter(|format| !format.is_empty()) {
        format::document(output, format, &document)?;
        return Ok(0);
    }
    let version = env!("CARGO_PKG_VERSION");
    let host = Platform::host();
    output.line("Client: rbuild")?;
    output.line(format!(" Version:           {version}"))?;
    output.line(format!(" API version:       {API_VERSION}"))?;
    output.line(format!(
        " OS/Arch:           {}/{}",
        host.os, host.architecture
    ))?;
    output.line(" Context:           default")?;
    // Scripts ask for a server; it is this program.
    output.line("\nServer: rbuild")?;
    output.line(" Engine:")?;
    output.line(format!("  Version:          {version}"))?;
    output.line(format!(
        "  API version:      {API_VERSION} (minimum version {API_VERSION})"
    ))?;
    output.line(format!(
        "  OS/Arch:          {}/{}",
        host.os, host.architecture
    ))?;
    output.line("  Experimental:     false")?;
    Ok(0)
}

/// Under Docker's keys.
fn document() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let host = Platform::host();
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    json!({
        "Client": {
            "Platform": { "Name": "rbuild" },
            "Version": version,
            "ApiVersion": API_VERSION,
            "APIVersion": API_VERSION,
            "DefaultAPIVersion": API_VERSION,
            "GitCommit": "",
            "GoVersion": "",
            "Os": host.os,
            "Arch": host.architecture,
            "BuildTime": "",
            "Context": "default",
        },
        "Server": {
            "Platform": { "Name": "rbuild" },
            "Components": [{ "Name": "Engine", "Version": version, "Details": {} }],
            "Version": version,
            "ApiVersion": API_VERSION,
            "APIVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "GitCommit": "",
            "GoVersion": "",
            "Os": host.os,
            "Arch": host.architecture,
            "KernelVersion": kernel,
            "Experimental": false,
            "BuildTime": "",
        },
    })
}
