//! What many tests begin with: an engine with channels, a player that compares every byte, a bare connection.

use crate::common::{Appliance, SOON};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::http::Response;
use sluice_bench::player::{Plan, Player, check};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes per second of the channels here: enough to see flow, little enough to run beside other tests.
pub const RATE: u64 = 250_000;
/// The head in front of every stream, field by field.
pub const STREAM_HEAD: [(&str, &str); 5] = [
    ("Content-Type", "video/mp2t"),
    ("Cache-Control", "no-store"),
    ("Accept-Ranges", "none"),
    ("Access-Control-Allow-Origin", "*"),
    ("Connection", "close"),
];

/// An engine with the first `count` standard channels, self-checking.
pub fn engine(count: u32) -> Engine {
    engine_with((0..count).map(|n| ChannelSpec::synthetic(n, RATE)).collect())
}

/// An engine with these channels.
pub fn engine_with(channels: Vec<ChannelSpec>) -> Engine {
    Engine::start(Options { channels, ..Options::default() }).expect("the engine starts")
}

/// A player of the `n`th channel that compares what it gets with what `engine` broadcasts.
pub fn checked(appliance: &Appliance, engine: &Engine, n: u32) -> Plan {
    let reference = engine.control().broadcast(nth(n).0).expect("the channel exists");
    let options = check::Options { reference: Some(reference), ..check::Options::default() };
    appliance.player(nth(n).0).check(options)
}

/// Waits until a player has a good second of media and has met no fault.
pub fn plays(player: &Player) {
    let head = player.wait_head(SOON).expect("a head comes");
    assert_eq!(head.status, 200, "{head:?} {}", String::from_utf8_lossy(&player.first_bytes()));
    player.wait_decodable(SOON).expect("media comes");
    player.wait_more(RATE, SOON).expect("media goes on");
    assert_eq!(player.report().faults(), Vec::<String>::new());
}

/// Waits for the refusal of a player.
pub fn refused(player: &Player) -> Response {
    let head = player.wait_head(SOON).expect("a head comes");
    player.wait_end(SOON).expect("a refusal ends");
    Response { head, body: player.first_bytes() }
}

/// Checks that an answer is a refusal of the documented shape with this status and code; returns its text.
pub fn assert_refusal(answer: &Response, status: u16, code: &str) -> String {
    let text = answer.text();
    assert_eq!(answer.status(), status, "{answer:?} {text}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let body = answer.json().unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(body["code"], code, "{text}");
    assert_eq!(body["error"], body["detail"], "{text}");
    let stated = answer.header("retry-after").map(|seconds| seconds.parse::<u64>().expect("whole seconds"));
    assert_eq!(
        body.get("retry_after").map(|seconds| seconds.as_u64()),
        stated.map(Some),
        "{answer:?} {text}"
    );
    body["error"].as_str().expect("a text").to_owned()
}

/// The counter of refusals with a code, over all shards.
pub fn refusals(appliance: &Appliance, code: &str) -> f64 {
    appliance.metric(&format!("sluice_requests_refused_total{{code=\"{code}\""))
}

/// A connection that sends bytes as they are and keeps everything it received.
pub struct Raw {
    stream: TcpStream,
    /// Everything received so far.
    pub received: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&to, SOON).expect("somebody listens");
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends; a peer that has closed meanwhile is no fault of the sender.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        }
    }

    /// Shuts the sending side down, as a half-open peer has it.
    pub fn half_close(&self) {
        let _closed_by_peer = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Reads until `enough` holds of everything received, or the peer closes.
    pub fn read_until(&mut self, what: &str, within: Duration, mut enough: impl FnMut(&[u8]) -> bool) {
        let deadline = Instant::now() + within;
        let mut buffer = [0; 16 << 10];
        while !enough(&self.received) {
            let left = deadline.saturating_duration_since(Instant::now());
            let shown = String::from_utf8_lossy(&self.received[..self.received.len().min(2000)]).into_owned();
            assert!(!left.is_zero(), "{what} did not come within {within:?}: {shown}");
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("closed before {what}: {shown}"),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error} before {what}: {shown}"),
            }
        }
    }

    /// Reads to the end of the connection; a reset is an end as well.
    pub fn read_to_end(&mut self, within: Duration) -> String {
        let deadline = Instant::now() + within;
        let mut buffer = [0; 16 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let shown = String::from_utf8_lossy(&self.received).into_owned();
            assert!(!left.is_zero(), "not closed within {within:?}: {shown}");
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => return shown,
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return shown,
            }
        }
    }
}
