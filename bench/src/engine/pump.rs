//! The media body: follows the pacer, and goes wrong as the channel's faults say.
//!
//! One pump serves one reader, on the connection's own task. Before each write it looks at the state once; writes
//! and waits end early when the reader is cut, replaced or gone.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::faults::{Body, Cut, Faults, Framing, Garbage, Resume};
use super::pacer::Pacer;
use super::playback::Claim;
use super::serve::gone;
use super::world::World;
use crate::channel::{self, PACKET, mix};

/// Most bytes of one write; no multiple of 188.
const WRITE_MAX: u64 = 256 * 1024;
/// Most bytes of garbage at a time.
const GARBAGE_MAX: u32 = 4096;
/// Longest time without a look at the state.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const HTML: &[u8] = b"<!DOCTYPE html>\n<html><head><title>Sign in to the network</title></head>\n\
    <body><h1>Welcome</h1><p>Please accept the terms to go on.</p></body></html>\n";
const ERROR_TEXT: &[u8] = b"failed to load content";

/// How a body ended.
pub(super) enum Ended {
    Cleanly,
    ByReset,
}

/// What to do next.
enum Step {
    /// Send the buffer, then wait for this span of engine time.
    Send(Duration),
    /// Nothing to send for this span of engine time.
    Wait(Duration),
    /// No more; `true` when a chunked body gets its proper end.
    Finish(bool),
    Reset,
}

struct Pump<'a> {
    world: &'a World,
    claim: &'a Claim,
    number: u64,
    pacer: Pacer,
    position: u64,
    /// How far behind the pacer a seek put the reader.
    lag: u64,
    sent: u64,
    began: Duration,
    is_silent: bool,
    /// Where what comes again began to.
    repeats_from: Option<u64>,
    framing: Framing,
    buffer: Vec<u8>,
}

/// Sends the body until it ends one way or another.
///
/// # Errors
/// The client is gone.
pub(super) async fn run(
    world: &World,
    stream: &mut TcpStream,
    claim: &Claim,
    number: u64,
    mut cut: watch::Receiver<Option<Cut>>,
    framing: Framing,
) -> io::Result<Ended> {
    let began = world.clock.now();
    let pacer = world.pacer(claim.channel, began);
    let position = pacer.start();
    let mut pump = Pump {
        world,
        claim,
        number,
        pacer,
        position,
        lag: 0,
        sent: 0,
        began,
        is_silent: false,
        repeats_from: None,
        framing,
        buffer: Vec::new(),
    };
    let mut pulse = world.pulse.subscribe();
    loop {
        pulse.borrow_and_update();
        let (send, wait) = match pump.step() {
            Step::Send(wait) => (true, wait),
            Step::Wait(wait) => (false, wait),
            Step::Finish(properly) => return pump.finish(stream, properly).await,
            Step::Reset => return Ok(Ended::ByReset),
        };
        if send {
            let framed = frame(framing, &pump.buffer);
            let bytes = framed.as_deref().unwrap_or(&pump.buffer);
            tokio::select! {
                biased;
                how = was_cut(&mut cut) => return pump.cut_short(stream, how).await,
                written = stream.write_all(bytes) => written?,
            }
        }
        if !wait.is_zero() {
            tokio::select! {
                how = was_cut(&mut cut) => return pump.cut_short(stream, how).await,
                _ = pulse.changed() => {}
                () = world.clock.sleep(wait) => {}
                () = gone(stream) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }
}

/// Returns when the reader is cut, and how. A reader whose download was forgotten counts as cut cleanly.
async fn was_cut(cut: &mut watch::Receiver<Option<Cut>>) -> Cut {
    match cut.wait_for(Option::is_some).await {
        Ok(how) => how.unwrap_or(Cut::Eof),
        Err(_) => Cut::Eof,
    }
}

impl Pump<'_> {
    /// Looks at the state and fills the buffer.
    fn step(&mut self) -> Step {
        let now = self.world.clock.now();
        let stalled = self.world.engine_faults.borrow().stall;
        let mut state = self.world.lock();
        let faults = state.channels[self.claim.channel].faults.clone();
        let Some(download) = state.downloads.get_mut(&self.claim.channel) else { return Step::Finish(true) };
        if download.reader.as_ref().is_none_or(|reader| reader.number != self.number) {
            return Step::Finish(true);
        }
        if let Some(target) = download.seek.take() {
            let available = self.pacer.available(now);
            self.position = target.min(available);
            self.lag = available - self.position;
        }
        let silence = self.silence(&faults, stalled, now);
        if let Some(remaining) = silence {
            download.starving_since.get_or_insert(now);
            self.is_silent = true;
            return Step::Wait(remaining.min(LOOK_AGAIN));
        }
        if std::mem::take(&mut self.is_silent) {
            download.starving_since = None;
            self.resume(faults.resume, now);
        }
        let step = self.produce(&faults, now);
        if let Step::Send(_) = step {
            download.position = self.position;
            let bytes = self.buffer.len() as u64;
            state.channels[self.claim.channel].counters.bytes += bytes;
            if let Some(record) = state.ledger.session(self.claim.record) {
                record.bytes += bytes;
            }
        }
        step
    }

    /// How much silence is left, if there is any right now.
    fn silence(&self, faults: &Faults, stalled: bool, now: Duration) -> Option<Duration> {
        if faults.starve || stalled {
            return Some(LOOK_AGAIN);
        }
        let from = self.began + Duration::from_millis(faults.starve_after_ms?);
        let until = faults
            .starve_for_ms
            .map_or(Duration::MAX, |span| from.saturating_add(Duration::from_millis(span)));
        (now >= from && now < until).then(|| until - now)
    }

    /// Goes on after silence.
    fn resume(&mut self, resume: Resume, now: Duration) {
        let live = self.pacer.available(now) / PACKET as u64 * PACKET as u64;
        match resume {
            Resume::Contiguous => {}
            Resume::Jump => self.position = self.position.max(live),
            Resume::JumpMidPacket => {
                self.position = self.position.max(live.saturating_sub(PACKET as u64 / 2))
            }
        }
    }

    fn produce(&mut self, faults: &Faults, now: Duration) -> Step {
        self.buffer.clear();
        let instead = match faults.body {
            Body::Media => None,
            Body::Html => Some(HTML),
            Body::ErrorText => Some(ERROR_TEXT),
            Body::Empty => Some(&[][..]),
        };
        if let Some(bytes) = instead {
            if self.sent > 0 || bytes.is_empty() {
                return Step::Finish(true);
            }
            self.buffer.extend_from_slice(bytes);
            self.sent += bytes.len() as u64;
            return Step::Send(Duration::ZERO);
        }
        let limit =
            [faults.eof_after_bytes, faults.reset_after_bytes].into_iter().flatten().map(off_boundary).min();
        if limit.is_some_and(|limit| self.sent >= limit) {
            return if faults.reset_after_bytes.is_some() { Step::Reset } else { Step::Finish(false) };
        }
        let announced = match self.framing {
            Framing::ContentLength(length) => Some(length),
            _ => None,
        };
        if announced.is_some_and(|length| self.sent >= length) {
            return Step::Finish(true);
        }
        let available = self.pacer.available(now).saturating_sub(self.lag);
        if self.position >= available {
            return Step::Wait(self.pacer.pause(now));
        }
        let most = if faults.trickle { 1 } else { WRITE_MAX };
        let left = limit.into_iter().chain(announced).map(|end| end - self.sent).min().unwrap_or(u64::MAX);
        let to = available.min(self.position + most.min(left));
        match faults.repeat_bytes {
            Some(length) => self.fill_again(to, length),
            None => {
                self.repeats_from = None;
                self.fill(to, faults.garbage);
            }
        }
        self.buffer.truncate(left.min(self.buffer.len() as u64) as usize);
        self.position = to;
        self.sent += self.buffer.len() as u64;
        Step::Send(if faults.trickle { Duration::from_secs(1) } else { Duration::ZERO })
    }

    /// Appends the broadcast up to `to`, with garbage between packets where asked for.
    fn fill(&mut self, to: u64, garbage: Option<Garbage>) {
        let broadcast = &*self.world.stations[self.claim.channel].channel;
        let Some(Garbage { every_packets, bytes }) = garbage else {
            channel::read(broadcast, self.position, to, &mut self.buffer);
            return;
        };
        let stride = u64::from(every_packets.max(1)) * PACKET as u64;
        let mut from = self.position;
        while from < to {
            let next = ((from / stride + 1) * stride).min(to);
            channel::read(broadcast, from, next, &mut self.buffer);
            if next.is_multiple_of(stride) {
                let noise = (0..u64::from(bytes.min(GARBAGE_MAX))).map(|n| mix(next ^ (n << 48)) as u8);
                // Never a sync byte: the garbage must be told from packets, and not by luck.
                self.buffer.extend(noise.map(|byte| if byte == 0x47 { 0 } else { byte }));
            }
            from = next;
        }
    }

    /// The same out of what came before the repetition began.
    fn fill_again(&mut self, to: u64, length: u64) {
        let broadcast = &*self.world.stations[self.claim.channel].channel;
        let packet = PACKET as u64;
        let length = (length / packet * packet).max(packet);
        let from = *self.repeats_from.get_or_insert(self.position.next_multiple_of(packet));
        let first = from.min(to);
        channel::read(broadcast, self.position, first, &mut self.buffer);
        let mut position = self.position.max(first);
        while position < to {
            let past = (position - from) % length;
            let count = (to - position).min(length - past);
            let at = from.saturating_sub(length) + past;
            channel::read(broadcast, at, at + count, &mut self.buffer);
            position += count;
        }
    }

    async fn cut_short(&self, stream: &mut TcpStream, how: Cut) -> io::Result<Ended> {
        match how {
            // A write may have been cut in the middle of a chunk: a proper end would only add garbage.
            Cut::Eof => self.finish(stream, false).await,
            Cut::Reset => Ok(Ended::ByReset),
        }
    }

    async fn finish(&self, stream: &mut TcpStream, properly: bool) -> io::Result<Ended> {
        if properly {
            match self.framing {
                Framing::Chunked => stream.write_all(b"0\r\n\r\n").await?,
                Framing::ChunkedExtensions => stream.write_all(b"000;last\r\nX-Trailer: 1\r\n\r\n").await?,
                Framing::Close | Framing::ContentLength(_) => {}
            }
        }
        Ok(Ended::Cleanly)
    }
}

/// A limit that does not fall on a packet boundary.
fn off_boundary(limit: u64) -> u64 {
    if limit.is_multiple_of(PACKET as u64) { limit + PACKET as u64 / 2 } else { limit }
}

/// The bytes on the wire for one write, when they are not the bytes themselves.
fn frame(framing: Framing, bytes: &[u8]) -> Option<Vec<u8>> {
    let size = match framing {
        Framing::Close | Framing::ContentLength(_) => return None,
        Framing::Chunked => format!("{:x}\r\n", bytes.len()),
        Framing::ChunkedExtensions => format!("00{:X};piece=\"a b\";x\r\n", bytes.len()),
    };
    Some([size.as_bytes(), bytes, b"\r\n"].concat())
}
