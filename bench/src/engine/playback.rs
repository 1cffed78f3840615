//! Playback URLs: waiting for the prebuffer, redirects, exclusivity, and the head of the media response.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::faults::{Cut, Framing, HeadQuirk, Redirect};
use super::hls;
use super::http;
use super::ledger::End;
use super::options::SecondReader;
use super::pump::{self, Ended};
use super::serve::{Exchange, Next, gone};
use super::world::{ActiveReader, World};
use crate::channel::Id;

/// Length of the header name in [`HeadQuirk::LongName`].
const LONG_NAME_BYTES: usize = 66_000;
const OVERSIZED_BYTES: usize = 1 << 20;
const ENDLESS_BYTES_MAX: usize = 64 << 20;

/// A playback request: which channel, and whose session.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) channel: usize,
    pub(super) key: String,
    pub(super) record: u64,
}

/// `GET /ace/r/<infohash>/<key>`.
pub(super) async fn by_key(exchange: &mut Exchange<'_>, infohash: &str, key: &str) -> io::Result<Next> {
    let Some(claim) = claim(exchange.world, infohash, key) else {
        return exchange.answer(&http::error("download not found")).await;
    };
    if exchange.world.stations[claim.channel].spec.is_encrypted {
        return hls::refuse_progressive(exchange, claim.channel).await;
    }
    let _reading = Reading::new(exchange.world, &claim, true);
    if let Some(failure) = wait_for_media(exchange, &claim).await? {
        return exchange.answer(&http::error(&failure)).await;
    }
    let faults = exchange.world.faults(claim.channel);
    match &faults.redirect {
        Some(Redirect::Loop) => {
            let location = format!("{}{}", exchange.base(), exchange.request.target);
            return exchange.answer_and_close(&http::redirect(&location)).await;
        }
        Some(Redirect::To(location)) => return exchange.answer_and_close(&http::redirect(location)).await,
        None => {}
    }
    if exchange.world.options.content_hop {
        let Some(token) = token(exchange.world, &claim) else {
            return exchange.answer(&http::error("download not found")).await;
        };
        let location = format!("{}/content/{infohash}/{token}", exchange.base());
        return exchange.answer_and_close(&http::redirect(&location)).await;
    }
    media(exchange, claim).await
}

/// `GET /content/<infohash>/<token>`: the second hop. The token holds the download's secret and the key.
pub(super) async fn by_token(exchange: &mut Exchange<'_>, infohash: &str, text: &str) -> io::Result<Next> {
    let Some(claim) = claim_by_token(exchange.world, infohash, text) else {
        return exchange.answer(&http::error("download not found")).await;
    };
    let _reading = Reading::new(exchange.world, &claim, false);
    if let Some(failure) = wait_for_media(exchange, &claim).await? {
        return exchange.answer(&http::error(&failure)).await;
    }
    media(exchange, claim).await
}

pub(super) fn claim(world: &World, infohash: &str, key: &str) -> Option<Claim> {
    let channel = world.channel_by_infohash(infohash.parse().ok()?)?;
    let mut state = world.lock();
    let (_, session) = state.session(channel, key)?;
    Some(Claim { channel, key: key.to_owned(), record: session.record })
}

/// The token of a session: 32 hex digits that depend on the download and on the key.
fn token_of(secret: &str, key: &str) -> String {
    Id::derive(&format!("{secret} {key}")).to_string()[..32].to_owned()
}

fn token(world: &World, claim: &Claim) -> Option<String> {
    let mut state = world.lock();
    let (download, _) = state.session(claim.channel, &claim.key)?;
    Some(token_of(&download.token, &claim.key))
}

fn claim_by_token(world: &World, infohash: &str, text: &str) -> Option<Claim> {
    let channel = world.channel_by_infohash(infohash.parse().ok()?)?;
    let state = world.lock();
    let download = state.downloads.get(&channel)?;
    let session = download.sessions.iter().find(|session| token_of(&download.token, &session.key) == text)?;
    Some(Claim { channel, key: session.key.clone(), record: session.record })
}

/// Counts a playback request for as long as it is served.
struct Reading {
    world: Arc<World>,
    claim: Claim,
}

impl Reading {
    fn new(world: &Arc<World>, claim: &Claim, is_first_hop: bool) -> Self {
        let mut state = world.lock();
        let counters = &mut state.channels[claim.channel].counters;
        counters.playback_requests += u64::from(is_first_hop);
        counters.readers += 1;
        counters.readers_max = counters.readers_max.max(counters.readers);
        if let Some(record) = state.ledger.session(claim.record) {
            record.playback_requests += u64::from(is_first_hop);
            record.readers += 1;
            record.readers_max = record.readers_max.max(record.readers);
        }
        Self { world: world.clone(), claim: claim.clone() }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let counters = &mut state.channels[self.claim.channel].counters;
        counters.readers = counters.readers.saturating_sub(1);
        if let Some(record) = state.ledger.session(self.claim.record) {
            record.readers = record.readers.saturating_sub(1);
        }
        if let Some((download, _)) = state.session(self.claim.channel, &self.claim.key) {
            download.active = self.world.clock.now();
        }
    }
}

/// Holds the request until media may flow. Gives the text of a 500 when it never will.
pub(super) async fn wait_for_media(exchange: &mut Exchange<'_>, claim: &Claim) -> io::Result<Option<String>> {
    let mut pulse = exchange.world.pulse.subscribe();
    let offers_compression = exchange.request.header("accept-encoding").is_some_and(|value| {
        ["gzip", "deflate", "br", "zstd"].iter().any(|coding| value.to_ascii_lowercase().contains(coding))
    });
    loop {
        pulse.borrow_and_update();
        let faults = exchange.world.faults(claim.channel);
        let now = exchange.world.clock.now();
        let opened = match exchange.world.lock().session(claim.channel, &claim.key) {
            Some((download, _)) => download.opened,
            None => return Ok(Some("download not found".to_owned())),
        };
        let ready = opened.saturating_add(exchange.world.prebuffer(claim.channel, &faults));
        let mut wake = ready;
        if let Some(error) = &faults.start_error {
            wake = opened + Duration::from_millis(faults.start_error_after_ms);
            if now >= wake {
                exchange.world.end(claim.channel, End::Failed);
                return Ok(Some(error.clone()));
            }
        } else if faults.dead || (faults.compression_starves && offers_compression) {
            wake = now + Duration::from_secs(1);
        } else if now >= ready {
            return Ok(None);
        }
        if faults.early_not_found && (faults.dead || now < ready) {
            return Ok(Some("download not found".to_owned()));
        }
        let wait = wake.saturating_sub(now).clamp(Duration::from_millis(1), Duration::from_secs(1));
        tokio::select! {
            _ = pulse.changed() => {}
            () = exchange.world.clock.sleep(wait) => {}
            () = gone(exchange.stream) => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Takes the download's reader, or says that somebody with the same session has it.
enum Taken {
    Reader(u64, watch::Receiver<Option<Cut>>),
    Collision,
    Gone,
}

fn take_reader(world: &World, claim: &Claim) -> Taken {
    let mut state = world.lock();
    let number = state.next_number();
    let Some((download, _)) = state.session(claim.channel, &claim.key) else { return Taken::Gone };
    let (mut collided, mut taken_over) = (false, false);
    if let Some(reader) = &download.reader {
        collided = reader.key == claim.key;
        taken_over = !collided;
        if taken_over || world.options.second_reader == SecondReader::CutFirst {
            reader.cut.send_replace(Some(Cut::Eof));
        }
    }
    let refused = collided && world.options.second_reader == SecondReader::Corrupt;
    let (cut, cutting) = watch::channel(None);
    if !refused {
        download.reader = Some(ActiveReader { number, key: claim.key.clone(), cut });
        download.starving_since = None;
    }
    let counters = &mut state.channels[claim.channel].counters;
    counters.collisions += u64::from(collided);
    counters.takeovers += u64::from(taken_over);
    counters.bodies += 1;
    if refused { Taken::Collision } else { Taken::Reader(number, cutting) }
}

/// Gives the reader back, unless somebody else has it by now.
struct Release<'a> {
    world: &'a World,
    channel: usize,
    number: u64,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if let Some(download) = self.world.lock().downloads.get_mut(&self.channel)
            && download.reader.as_ref().is_some_and(|reader| reader.number == self.number)
        {
            download.reader = None;
            download.starving_since = None;
        }
    }
}

/// Sends head and body.
async fn media(exchange: &mut Exchange<'_>, claim: Claim) -> io::Result<Next> {
    let (number, cut) = match take_reader(exchange.world, &claim) {
        Taken::Reader(number, cut) => (number, cut),
        Taken::Collision => return corrupt(exchange).await,
        Taken::Gone => return exchange.answer(&http::error("download not found")).await,
    };
    let world = exchange.world.clone();
    let _release = Release { world: &world, channel: claim.channel, number };
    let faults = exchange.world.faults(claim.channel);
    let framing = match faults.framing {
        Framing::Close => String::new(),
        Framing::Chunked | Framing::ChunkedExtensions => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::ContentLength(length) => format!("Content-Length: {length}\r\n"),
    };
    write_head(exchange, faults.head, &http::media_head(&framing)).await?;
    if exchange.request.is_head() {
        return Ok(Next::Close);
    }
    match pump::run(&world, exchange.stream, &claim, number, cut, faults.framing).await? {
        Ended::Cleanly => Ok(Next::Close),
        Ended::ByReset => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// What a second reader of one session gets: two status lines, or an error in the middle of the head.
async fn corrupt(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    let odd = exchange.world.lock().next_number() % 2 == 1;
    let head = http::media_head("");
    let mut bytes = Vec::new();
    if odd {
        bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        bytes.extend_from_slice(&head);
    } else {
        bytes.extend_from_slice(&head[..head.len() - 2]);
        bytes.extend_from_slice(&http::error("download not found"));
    }
    exchange.stream.write_all(&bytes).await?;
    Ok(Next::Close)
}

/// Writes a head, spoiled as asked.
pub(super) async fn write_head(exchange: &mut Exchange<'_>, quirk: HeadQuirk, head: &[u8]) -> io::Result<()> {
    // Extra headers go between the status line and the rest.
    let status_end = head.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (status, rest) = head.split_at(status_end);
    let stream = &mut *exchange.stream;
    match quirk {
        HeadQuirk::None => stream.write_all(head).await,
        HeadQuirk::LfOnly => {
            let bytes: Vec<u8> = head.iter().copied().filter(|byte| *byte != b'\r').collect();
            stream.write_all(&bytes).await
        }
        HeadQuirk::DoubleStatus => stream.write_all(&[status, head].concat()).await,
        HeadQuirk::LongName => {
            let name = vec![b'X'; LONG_NAME_BYTES];
            stream.write_all(&[status, &name, b": 1\r\n", rest].concat()).await
        }
        HeadQuirk::Oversized => {
            let value = vec![b'x'; OVERSIZED_BYTES];
            stream.write_all(&[status, b"X-Junk: ", &value, b"\r\n", rest].concat()).await
        }
        HeadQuirk::Endless => {
            stream.write_all(status).await?;
            let line = [&b"X-Junk: "[..], &[b'x'; 1000], b"\r\n"].concat();
            for _ in 0..ENDLESS_BYTES_MAX / line.len() {
                stream.write_all(&line).await?;
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        HeadQuirk::Slow => {
            for byte in head {
                stream.write_all(&[*byte]).await?;
                exchange.world.clock.sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        }
    }
}
