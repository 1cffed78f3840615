//! `sluice-bench image`: a simulated engine that is started the way the engine inside a published image is.
//!
//! An image of a test is this program and nothing else; what it is told by environment and command it reads as strictly as
//! the real engine reads its arguments: an unknown flag, a missing value or a number that is none ends it with status 2.

#![allow(clippy::print_stderr)]

use super::load::time;
use crate::engine::{ChannelSpec, Engine, Options};
use crate::sys;
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

/// Port of an engine nobody gave one.
const DEFAULT_PORT: u16 = 6878;
/// A variable of the container: after so many seconds the engine takes memory until it is killed for it. No real engine knows it.
const DEVOUR_AFTER_S: &str = "SLUICE_BENCH_DEVOUR_AFTER_S";
/// How much it takes at a time, and how often: where no limit holds it has to end before the machine's memory does.
const MOUTHFUL: (usize, usize) = (8 << 20, 64);

/// Options of the subcommand.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How the image takes its arguments.
    #[arg(long, value_enum)]
    style: Style,
    /// How many channels the engine knows.
    #[arg(long, default_value_t = 20)]
    channels: u32,
    /// Bytes per second of each channel.
    #[arg(long, default_value_t = 250_000)]
    rate: u64,
    /// From the start of the process until the engine listens: the real one takes seconds.
    #[arg(long, default_value = "0s", value_parser = time)]
    boot: Duration,
    /// Takes connections and never answers any.
    #[arg(long)]
    hung: bool,
    /// What the container's command is; only some images take one.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// How an image takes its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Style {
    /// One environment variable for each.
    Variables,
    /// All in `ACESTREAM_ARGS`.
    Arguments,
    /// `python main.py` and flags, with HTTPS.
    Command,
    /// `python main.py` and flags, with a control API and without HTTPS.
    AceServe,
}

/// What an engine was told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    http_port: u16,
    is_bound_to_all: bool,
}

/// Flags without a value.
const SWITCHES: [&str; 9] = [
    "--client-console",
    "--bind-all",
    "--service-remote-access",
    "--allow-user-config",
    "--stats-report-peers",
    "--disable-sentry",
    "--log-stdout",
    "--disable-upnp",
    "--use-internal-buffering",
];

/// Flags with a value, and whether it is a number.
const VALUES: [(&str, bool); 36] = [
    ("--access-token", false),
    ("--service-access-token", false),
    ("--cache-dir", false),
    ("--cache-limit", true),
    ("--log-file", false),
    ("--live-cache-type", false),
    ("--live-cache-size", true),
    ("--live-mem-cache-size", true),
    ("--vod-cache-type", false),
    ("--vod-cache-size", true),
    ("--vod-drop-max-age", true),
    ("--max-file-size", true),
    ("--live-buffer", true),
    ("--vod-buffer", true),
    ("--refill-buffer-interval", true),
    ("--max-connections", true),
    ("--max-peers", true),
    ("--max-upload-slots", true),
    ("--auto-slots", true),
    ("--download-limit", true),
    ("--upload-limit", true),
    ("--port", true),
    ("--http-port", true),
    ("--https-port", true),
    ("--api-port", true),
    ("--webrtc-allow-outgoing-connections", true),
    ("--webrtc-allow-incoming-connections", true),
    ("--stats-report-interval", true),
    ("--slots-manager-use-cpu-limit", true),
    ("--core-skip-have-before-playback-pos", true),
    ("--core-dlr-periodic-check-interval", true),
    ("--check-live-pos-interval", true),
    ("--log-debug", true),
    ("--log-max-size", true),
    ("--log-backup-count", true),
    ("--live-buffer-time", true),
];

/// Reads a list of flags; the last of several wins.
fn flags<'a>(words: impl IntoIterator<Item = &'a str>, banned: &str) -> anyhow::Result<Told> {
    let mut told = Told { http_port: DEFAULT_PORT, is_bound_to_all: false };
    let mut words = words.into_iter();
    while let Some(flag) = words.next() {
        if flag == banned {
            bail!("this image does not know {flag}");
        }
        if SWITCHES.contains(&flag) {
            told.is_bound_to_all |= flag == "--bind-all";
            continue;
        }
        let Some((_, is_number)) = VALUES.iter().find(|(name, _)| *name == flag) else {
            bail!("unknown flag {flag:?}");
        };
        let value = words.next().with_context(|| format!("{flag} has no value"))?;
        if *is_number && value.parse::<u64>().is_err() {
            bail!("{flag} {value:?} is no number");
        }
        if flag == "--http-port" {
            told.http_port = value.parse().with_context(|| format!("{flag} {value} is no port"))?;
        }
    }
    Ok(told)
}

/// Reads what an image of this style is told.
fn told(style: Style, env: &BTreeMap<String, String>, command: &[String]) -> anyhow::Result<Told> {
    let words = || command.iter().map(String::as_str);
    match style {
        Style::Variables | Style::Arguments if !command.is_empty() => {
            bail!("this image takes no command, and was given {command:?}")
        }
        Style::Variables => {
            let number = |name: &str| -> anyhow::Result<Option<u16>> {
                let value = env.get(name).map(|text| text.parse());
                value.transpose().with_context(|| format!("{name} is no port"))
            };
            number("HTTPS_PORT")?;
            number("P2P_PORT")?;
            Ok(Told {
                http_port: number("HTTP_PORT")?.unwrap_or(DEFAULT_PORT),
                is_bound_to_all: env.get("BIND_ALL").is_some_and(|text| !text.is_empty()),
            })
        }
        Style::Arguments => {
            let text = env.get("ACESTREAM_ARGS").context("ACESTREAM_ARGS is not set")?;
            flags(text.split_whitespace(), "--api-port")
        }
        Style::Command | Style::AceServe => {
            if !command.starts_with(&["python".to_owned(), "main.py".to_owned()]) {
                bail!("the command is not python main.py: {command:?}");
            }
            flags(words().skip(2), if style == Style::Command { "--api-port" } else { "--https-port" })
        }
    }
}

/// Starts the engine and serves until the program is ended.
///
/// # Errors
/// A port is taken.
pub fn run(args: Args) -> anyhow::Result<()> {
    // As the first process of a container nothing ends this one unless it says so.
    sys::end_on_terminate().context("cannot listen to SIGTERM")?;
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let told = match told(args.style, &env, &args.command) {
        Ok(told) => told,
        Err(error) => {
            eprintln!("engine: {error:#}");
            std::process::exit(2);
        }
    };
    thread::sleep(args.boot);
    let host = if told.is_bound_to_all { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    if args.hung {
        // The kernel takes them, and nobody looks.
        let _listener = TcpListener::bind((host, told.http_port)).context("the port is taken")?;
        loop {
            thread::park();
        }
    }
    let _engine = Engine::start(Options {
        listen: (host, told.http_port).into(),
        channels: (0..args.channels).map(|n| ChannelSpec::synthetic(n, args.rate)).collect(),
        ..Options::default()
    })?;
    // What a container's log is made of.
    eprintln!("engine: serving on port {}", told.http_port);
    if let Some(seconds) = env.get(DEVOUR_AFTER_S) {
        let seconds = seconds.parse().with_context(|| format!("{DEVOUR_AFTER_S} is a number of seconds"))?;
        thread::sleep(Duration::from_secs(seconds));
        devour();
    }
    loop {
        thread::park();
    }
}

/// Takes memory, and writes to it so that it is really there; the kernel ends this process before it is through.
fn devour() -> ! {
    let (bytes, times) = MOUTHFUL;
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    for _ in 0..times {
        eaten.push(vec![1; bytes]);
        thread::sleep(Duration::from_millis(20));
    }
    eprintln!("engine: nobody minds {} MiB", (bytes * eaten.len()) >> 20);
    std::process::exit(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Guards that every style is read, and that what the real images refuse is refused.
    #[test]
    fn images_read_what_they_are_told() {
        let all = |http_port| Told { http_port, is_bound_to_all: true };
        let variables = env(&[("HTTP_PORT", "19000"), ("BIND_ALL", "true"), ("CONF", "ignored")]);
        assert_eq!(told(Style::Variables, &variables, &[]).unwrap(), all(19000));
        let arguments =
            env(&[("ACESTREAM_ARGS", "--client-console --bind-all --http-port 19001 --https-port 45000")]);
        assert_eq!(told(Style::Arguments, &arguments, &[]).unwrap(), all(19001));
        let command =
            words("python main.py --bind-all --live-mem-cache-size 1 --http-port 19002 --https-port 45000");
        assert_eq!(told(Style::Command, &env(&[]), &command).unwrap(), all(19002));
        assert!(told(Style::AceServe, &env(&[]), &command).is_err(), "AceServe has no HTTPS");
        assert!(told(Style::Variables, &variables, &command).is_err(), "no command is taken");
        for bad in
            ["--bind-al", "--http-port", "--http-port x", "--http-port 99999", "--max-peers many", "stray"]
        {
            let command = words(&format!("python main.py {bad}"));
            assert!(told(Style::Command, &env(&[]), &command).is_err(), "{bad}");
        }
        assert!(told(Style::Command, &env(&[]), &words("--bind-all")).is_err());
        assert!(told(Style::Arguments, &env(&[]), &[]).is_err());
        assert!(told(Style::Variables, &env(&[("HTTP_PORT", "none")]), &[]).is_err());
    }
}
