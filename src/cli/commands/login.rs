//! `login`, `logout`

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rbuild::engine::Engine;
use rbuild::registry::Credentials;

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
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
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
    let host = host(args.server.as_deref());
    if args.password_stdin && args.username.is_none() {
        return Err(Failure::new(
            1,
            "the --password-stdin option requires --username",
        ));
    }
    if args.password.is_some() {
        output.warn("Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask(output, "Username: ", true)?,
    };
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => password.clone(),
        (None, true) => {
            let mut text = String::new();
            io::stdin().lock().take(LIMIT).read_to_string(&mut text)?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        (None, false) => ask(output, "Password: ", false)?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(Failure::new(1, "username and password must not be empty"));
    }
    let kept = engine.log_in(
        &host,
        &Credentials::Password { user, password },
        args.reach.reach(),
    );
    let helper = kept?;
    if helper.is_none() {
        let path = engine.keyring().path().display().to_string();
        output.message(format!(
            "WARNING! Your credentials are stored unencrypted in '{path}'.\nConfigure a credential helper to remove this warning."
        ));
    }
    output.line("Login Succeeded")?;
    Ok(0)
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
    output.line(if engine.log_out(&host)? {
        format!("Removing login credentials for {shown}")
    } else {
        format!("Not logged in to {shown}")
    })?;
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

/// Asks on the terminal; what is secret is not shown while it is typed.
fn ask(output: &mut Output, question: &str, shown: bool) -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = "cannot perform an interactive login from a non TTY device";
        return Err(Failure::new(1, message).with_hint("use --username and --password-stdin"));
    }
    output.flush()?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(question.as_bytes())?;
    stdout.flush()?;
    let before = if shown { None } else { hide(&stdin) };
    let mut line = String::new();
    let read = stdin.lock().take(LIMIT).read_line(&mut line);
    if let Some(before) = before {
        // The terminal shows what is typed again, whatever was read.
        let _gone =
            rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, &before);
        writeln!(stdout)?;
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Stops the terminal from showing what is typed; returns how it was.
fn hide(stdin: &io::Stdin) -> Option<rustix::termios::Termios> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let before = tcgetattr(stdin).ok()?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin, OptionalActions::Now, &hidden).ok()?;
    Some(before)
}
