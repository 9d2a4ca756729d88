//! `login`, `logout`

mod secret;

use std::io::{self, Read};

use rbuild::engine::{Engine, Error};
use rbuild::registry::{self, Credentials};

use super::reach::ReachArgs;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// The registry that is meant when none is named.
const DEFAULT: &str = "docker.io";
/// Longest password that is read.
const LIMIT: u64 = 64 << 10;

/// Log in to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// The registry [default: docker.io]
    server: Option<String>,
    /// The user
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// The password; others on this machine can see it, better use --password-stdin
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Forget the credentials for a registry
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// The registry [default: docker.io]
    server: Option<String>,
}

pub(crate) fn login(args: &LoginArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    check(args)?;
    let host = host(args.server.as_deref());
    let is_new = args.username.is_some() || args.password.is_some();
    let stored = engine.credentials(&host)?.filter(|_| !is_new);
    let before = match &stored {
        Some(Credentials::Password { user, .. }) => Some(user.as_str()),
        _ => None,
    };
    if let Some(stored) = &stored {
        let user = before.map(|user| format!(" [Username: {user}]"));
        output.line(format!(
            "Authenticating with existing credentials...{}",
            user.unwrap_or_default()
        ))?;
        output.message("To log in as somebody else, run `rbuild logout` before `rbuild login`\n");
        match engine.log_in(&host, stored, args.reach.reach()) {
            Ok(_) => {
                output.line("Login Succeeded")?;
                return Ok(0);
            }
            Err(Error::Registry(registry::Error::Unauthorized { .. })) => {
                output.message("Stored credentials invalid or expired");
            }
            Err(error) => output.message(format!("Login did not succeed, error: {error}")),
        }
    }
    if args.password.is_some() {
        output.message("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let (user, password) = who(args, before, output)?;
    let credentials = Credentials::Password { user, password };
    let helper = engine.log_in(&host, &credentials, args.reach.reach())?;
    if helper.is_none() {
        let path = engine.keyring().path().display().to_string();
        output.message(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{path}'.\n\
             Configure a credential helper to remove this warning.\n"
        ));
    }
    output.line("Login Succeeded")?;
    Ok(0)
}

/// Refuses flags that do not go together.
fn check(args: &LoginArgs) -> Result<(), Failure> {
    let message = match (&args.password, args.password_stdin, &args.username) {
        (Some(_), true, _) => {
            "conflicting options: cannot specify both --password and --password-stdin"
        }
        (_, true, None) => "the --password-stdin option requires --username to be set",
        _ => return Ok(()),
    };
    Err(Failure::new(1, message))
}

/// The user and the password: typed, given, or read.
fn who(
    args: &LoginArgs,
    before: Option<&str>,
    output: &mut Output,
) -> Result<(String, String), Failure> {
    let user = if let Some(user) = &args.username {
        user.trim().to_owned()
    } else {
        let shown = before.map(|user| format!(" ({user})")).unwrap_or_default();
        let typed = secret::ask(output, &format!("Username{shown}: "))?;
        match (typed.trim(), before) {
            ("", Some(before)) => before.to_owned(),
            (typed, _) => typed.to_owned(),
        }
    };
    if user.is_empty() {
        return Err(Failure::new(1, "username is required"));
    }
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => password.clone(),
        (None, true) => {
            let mut text = String::new();
            io::stdin().lock().take(LIMIT).read_to_string(&mut text)?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        (None, false) => secret::ask_hidden(output, "Password: ")?,
    };
    if password.is_empty() {
        return Err(Failure::new(1, "password is required"));
    }
    Ok((user, password))
}

pub(crate) fn logout(
    args: &LogoutArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let host = host(args.server.as_deref());
    let shown = match host.as_str() {
        DEFAULT => "https://index.docker.io/v1/",
        other => other,
    };
    // Said also when there is nothing to remove, as Docker's client does.
    output.line(format!("Removing login credentials for {shown}"))?;
    engine.log_out(&host)?;
    Ok(0)
}

/// The host of what was typed, which may be a URL.
pub(crate) fn host(server: Option<&str>) -> String {
    let text = server.unwrap_or(DEFAULT);
    let text = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    match text.split('/').next().unwrap_or(text) {
        "index.docker.io" | "registry-1.docker.io" | "" => DEFAULT.to_owned(),
        host => host.to_owned(),
    }
}
