//! `sluice-bench engine`: one simulated engine until the program is ended.

#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::channel::{Source, SyntheticOptions};
use crate::engine::{ChannelSpec, Engine, Options, Profile};
use crate::sys;

/// Options of the subcommand.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the engine's HTTP API listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:6878")]
    listen: SocketAddr,
    /// Where the side channel (faults and counters) listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:6879")]
    control: SocketAddr,
    /// How many channels the engine knows; the nth has the same ids in every engine.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    channels: u32,
    /// Bits per second of each channel, with K or M.
    #[arg(long, default_value = "8M", value_parser = bits)]
    rate: u64,
    /// How media arrives: smooth, pieces or burst.
    #[arg(long, default_value = "pieces")]
    profile: Profile,
    /// What the channels carry.
    #[arg(long, value_enum, default_value_t = Kind::Clip)]
    source: Kind,
    /// Group of pictures of synthetic channels, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    gop_ms: u32,
    /// How long a cold start takes, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    prebuffer_ms: u64,
    /// How many seconds of media before live a body begins with.
    #[arg(long, default_value_t = 10)]
    reach_back_s: u64,
    /// Share of a real engine's look-up delays, in thousandths (1000 is real).
    #[arg(long, default_value_t = 50)]
    latency_permille: u32,
    /// Idle sessions end after this many seconds.
    #[arg(long, default_value_t = 60)]
    idle_timeout_s: u64,
    /// Unix second at which all broadcasts began; the same for engines of the same broadcasts.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=4_102_444_800))]
    epoch: u64,
    /// Threads that serve.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What the channels carry.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A real H.264 and AAC clip, looped.
    Clip,
    /// Self-checking packets.
    Synthetic,
}

/// Reads `8M`, `800K` or plain bits per second; gives bytes per second.
fn bits(text: &str) -> anyhow::Result<u64> {
    let (digits, factor) = match text.to_ascii_uppercase().strip_suffix(['K', 'M']) {
        Some(digits) if text.ends_with(['k', 'K']) => (digits.to_owned(), 1e3),
        Some(digits) => (digits.to_owned(), 1e6),
        None => (text.to_owned(), 1.0),
    };
    let bits =
        digits.parse::<f64>().context("a rate is a number, with K or M for thousands or millions")? * factor;
    if !(8.0..1e12).contains(&bits) {
        bail!("a rate lies between 8 bit/s and 1 Tbit/s");
    }
    Ok((bits / 8.0) as u64)
}

/// Starts the engine, prints what it serves, and serves until the program is ended.
///
/// # Errors
/// An option makes no sense or a port is taken.
pub fn run(args: Args) -> anyhow::Result<()> {
    // As the first process of a container nothing ends this one unless it says so.
    sys::end_on_terminate().context("cannot listen to SIGTERM")?;
    let channel = |n: u32| {
        let source = match args.source {
            Kind::Clip => Source::Clip { rate: args.rate },
            Kind::Synthetic => Source::Synthetic(SyntheticOptions {
                seed: u64::from(n),
                rate: args.rate,
                gop_ms: args.gop_ms,
                ..SyntheticOptions::default()
            }),
        };
        ChannelSpec::new(n, source)
            .with_profile(args.profile)
            .with_prebuffer(Duration::from_millis(args.prebuffer_ms))
            .with_reach_back(Duration::from_secs(args.reach_back_s))
    };
    let engine = Engine::start(Options {
        listen: args.listen,
        control: args.control,
        channels: (0..args.channels).map(channel).collect(),
        epoch: SystemTime::UNIX_EPOCH + Duration::from_secs(args.epoch),
        latency_scale_permille: args.latency_permille,
        idle_timeout: Duration::from_secs(args.idle_timeout_s),
        threads: usize::from(args.threads),
        seed: args.seed,
        ..Options::default()
    })?;
    println!("engine   http://{}", engine.addr());
    println!("control  http://{}/", engine.control_addr());
    for n in 0..args.channels {
        let spec = channel(n);
        println!("{:<12} id {}  infohash {}", spec.name, spec.content_id, spec.infohash);
    }
    println!("play     http://{}/ace/getstream?id={}", engine.addr(), channel(0).content_id);
    // The engine serves on its own threads; this one has nothing to do.
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that rates are read as bits and that nonsense is refused.
    #[test]
    fn rates_are_bits_per_second() {
        assert_eq!(bits("8M").ok(), Some(1_000_000));
        assert_eq!(bits("2.5m").ok(), Some(312_500));
        assert_eq!(bits("800K").ok(), Some(100_000));
        assert_eq!(bits("16000").ok(), Some(2_000));
        for bad in ["", "M", "-8M", "8G", "nan", "1e99"] {
            assert!(bits(bad).is_err(), "{bad}");
        }
    }
}
