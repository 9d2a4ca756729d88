//! `registry serve`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rbuild::engine::{Engine, RegistryOptions};
use rbuild::serve::Access;
use rbuild::sys::signals::Signals;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// SIGINT and SIGTERM of signal(7).
const STOPPING: [i32; 2] = [2, 15];
/// The port of registries.
const PORT: u16 = 5000;
/// How often what senders have given up is removed.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Serve a registry over the data root until Ctrl-C
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen: an address, with a port or without
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    listen: (IpAddr, Option<u16>),
    /// The port; 0 for any that is free, which is then printed [default: 5000]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// The certificate, PEM, with those that signed it after it
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Users and hashes of their passwords, as `htpasswd -B` writes them
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Give tokens for passwords, instead of taking the password with each request
    #[arg(long)]
    token: bool,
    /// Let those who are no users pull
    #[arg(long)]
    anonymous_pull: bool,
    /// Take nothing in and remove nothing
    #[arg(long)]
    read_only: bool,
    /// Offer the images of this data root by their names as well
    #[arg(long)]
    images: bool,
    /// Fetch what is missing from this registry, and keep it
    #[arg(long, value_name = "HOST")]
    upstream: Option<String>,
    /// The URL that clients reach it by, when that is a proxy before it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Listen for other machines even without users or without TLS
    #[arg(long)]
    insecure: bool,
    /// Do not print a line for each request
    #[arg(short, long)]
    quiet: bool,
}

fn address(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip(), Some(address.port())));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => {
            let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
            (host, Some(port))
        }
        _ => (text, None),
    };
    match host {
        "localhost" => Ok((Ipv4Addr::LOCALHOST.into(), port)),
        "" | "*" => Ok((Ipv4Addr::UNSPECIFIED.into(), port)),
        host => host
            .trim_matches(['[', ']'])
            .parse()
            .map(|ip| (ip, port))
            .map_err(|_| "expected an address, such as 127.0.0.1 or 0.0.0.0:5000".to_owned()),
    }
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let (ip, port) = args.listen;
    let options = RegistryOptions {
        address: SocketAddr::new(ip, args.port.or(port).unwrap_or(PORT)),
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        htpasswd: args.htpasswd.clone(),
        tokens: args.token,
        anonymous_pull: args.anonymous_pull,
        read_only: args.read_only,
        images: args.images,
        upstream: args.upstream.clone(),
        url: args.url.clone(),
        insecure: args.insecure,
    };
    // Before there are threads, so that none of them takes the signals.
    let signals = Signals::catch(&STOPPING)?;
    let quiet = args.quiet;
    let server = engine.registry(
        &options,
        Box::new(move |access| {
            if !quiet || access.note.is_some() {
                Output::notice(&line(&access));
            }
        }),
    )?;
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        "http"
    };
    output.line(format!("Listening on {scheme}://{}", server.address()))?;
    output.flush()?;
    let served = std::thread::scope(|scope| {
        let (done, over) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            loop {
                if let Err(err) = engine.sweep_registry() {
                    Output::notice(&format!("WARNING: {err}\n"));
                }
                // Only its end is ever told.
                if over.recv_timeout(SWEEP_EVERY) != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    return;
                }
            }
        });
        let served = server.run(std::os::fd::AsFd::as_fd(&signals));
        drop(done);
        served
    });
    // Taken, so that it does not act when signals are let through again.
    while signals.next().is_some() {}
    served.map_err(|err| Failure::new(1, format!("cannot go on serving: {err}")))?;
    Ok(0)
}

/// A line of the access log.
fn line(access: &Access) -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let broken = if access.whole { "" } else { " broken off" };
    let note = access.note.as_deref().unwrap_or_default();
    let note: String = note.chars().filter(|c| !c.is_control()).collect();
    let note = if note.is_empty() {
        note
    } else {
        format!(" ({note})")
    };
    format!(
        "{now} {} {} {} {} in={} out={} {}ms{broken}{note}\n",
        access.peer,
        access.method,
        access.path,
        access.status,
        access.received,
        access.sent,
        access.took.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_ports_or_not() {
        let check = |text: &str, want: &str| {
            let (ip, port) = address(text).unwrap();
            assert_eq!(format!("{ip} {port:?}"), want, "{text}");
        };
        check("127.0.0.1", "127.0.0.1 None");
        check("0.0.0.0:80", "0.0.0.0 Some(80)");
        check("[::1]:5000", "::1 Some(5000)");
        check("::1", "::1 None");
        check("localhost:1", "127.0.0.1 Some(1)");
        check(":5000", "0.0.0.0 Some(5000)");
        assert!(address("example.com").is_err());
        assert!(address("127.0.0.1:http").is_err());
    }
}
