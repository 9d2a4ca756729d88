//! `logs`

use std::io::{self, Write};

use rbuild::engine::{Engine, LogEntry, LogOptions, Stream};

use crate::cli::commands::filters;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Print what a container wrote
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on until the container stops
    #[arg(short, long)]
    follow: bool,
    /// Only so many lines from the end, or `all`
    #[arg(short = 'n', long, default_value = "all", value_name = "NUMBER")]
    #[arg(allow_hyphen_values = true)]
    tail: String,
    /// Put its time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// Only lines since this time: RFC 3339, seconds since 1970, or back from now such as `10m`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only lines until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Put labels and variables before each line that the log's options asked for
    #[arg(long)]
    details: bool,
    /// The container, by name or ID
    container: String,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let options = LogOptions {
        follow: args.follow,
        tail: tail(&args.tail),
        since: args.since.as_deref().map(moment).transpose()?,
        until: args.until.as_deref().map(moment).transpose()?,
    };
    let live = args.follow;
    let mut stderr = io::BufWriter::new(io::stderr());
    let written = engine.container_logs(&args.container, &options, &mut |entry| {
        match entry.stream {
            // What was written in an order is shown in that order.
            Stream::Stdout => {
                stderr.flush()?;
                write(output.stdout(), entry, args)?;
                if live {
                    output.stdout().flush()?;
                }
            }
            Stream::Stderr => {
                output.stdout().flush()?;
                write(&mut stderr, entry, args)?;
                if live {
                    stderr.flush()?;
                }
            }
        }
        Ok(())
    })?;
    written?;
    stderr.flush()?;
    Ok(0)
}

fn write(out: &mut dyn Write, entry: &LogEntry, args: &Args) -> io::Result<()> {
    if args.timestamps {
        write!(out, "{} ", entry.time)?;
    }
    if args.details {
        let pairs = entry
            .attributes
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        write!(out, "{} ", pairs.collect::<Vec<_>>().join(","))?;
    }
    out.write_all(entry.text.as_bytes())
}

fn tail(text: &str) -> Option<usize> {
    match text {
        "all" | "" => None,
        // Docker takes a negative number for all.
        text if text.starts_with('-') => None,
        // What is no number is all, too.
        text => text.parse().ok(),
    }
}

fn moment(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::new(1, format!("invalid time: \"{text}\""));
    let moment = filters::moment(text).ok_or_else(wrong)?;
    i64::try_from(moment.as_nanosecond()).map_err(|_| wrong())
}
