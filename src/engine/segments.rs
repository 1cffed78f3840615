//! Media that an engine gives as a playlist of segments: read one after the other, as if they were one body.
//!
//! Which segment comes next, and when the playlist is looked at again, is [`Reading`]'s to say. Each request has its own
//! connection, as all have that go to engines. An engine that does not answer, or breaks a segment off, has failed; a
//! segment that it no longer has is passed over and counted.

use super::body::Body;
use super::exchange::{Endpoint, Error, until, within};
use super::media::Came;
use super::start::{fetch, open_playback};
use crate::http::url::resolve;
use crate::media::hls::reading::{Parsed, Reading, parse};
use monoio::time::sleep_until;
use std::time::{Duration, Instant};

/// How long an engine may take to answer for a playlist it has given before, or for a segment of it. The API of a busy
/// engine has been seen to take ten seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// See the module text. Dropping it closes the connection.
pub struct Segments {
    endpoint: Endpoint,
    /// Path of the media playlist.
    playlist: String,
    reading: Reading,
    body: Option<Body>,
    /// The next bytes continue what was read before.
    continues: bool,
}

impl Segments {
    /// Reads the first playlist, which comes when the engine has media.
    ///
    /// # Errors
    /// Everything an engine can answer instead.
    pub(super) async fn open(endpoint: &Endpoint, target: &str, deadline: Instant) -> Result<Self, Error> {
        let mut playlist = target.to_owned();
        let mut asked = Instant::now();
        let text = open_playback(endpoint, &playlist, deadline).await?.text().await?;
        let listing = match parse(text.as_bytes())? {
            Parsed::Media(listing) => listing,
            Parsed::Variants(best) => {
                playlist = resolve(&playlist, &best)?;
                asked = Instant::now();
                let text = open_playback(endpoint, &playlist, deadline).await?.text().await?;
                match parse(text.as_bytes())? {
                    Parsed::Media(listing) => listing,
                    Parsed::Variants(_) => return Err(Error::Redirect("from playlist to playlist")),
                }
            }
        };
        let mut reading = Reading::default();
        reading.take(asked, listing)?;
        Ok(Self { endpoint: endpoint.clone(), playlist, reading, body: None, continues: true })
    }

    /// Waits for media and copies it to `buffer`. What one call gives belongs to one segment.
    ///
    /// # Errors
    /// When the engine fails, or its playlist cannot be read on.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> Result<Came, Error> {
        loop {
            if let Some(body) = &mut self.body {
                let count = body.read(buffer).await?;
                if count > 0 {
                    let continues = std::mem::replace(&mut self.continues, true);
                    return Ok(Came::Bytes { count, continues });
                }
                self.body = None;
                self.reading.done();
            } else if let missed @ 1.. = self.reading.take_missed() {
                return Ok(Came::Missed(missed));
            } else if let Some(next) = self.reading.next() {
                let target = resolve(&self.playlist, &next.uri)?;
                match within(ANSWER_TIMEOUT, fetch(&self.endpoint, &target)).await {
                    Ok(body) => {
                        self.continues &= next.continues;
                        self.body = Some(body);
                    }
                    Err(Error::Refused(_) | Error::Status { status: 404 | 410, .. }) => {
                        self.reading.unavailable(Instant::now());
                    }
                    Err(error) => return Err(error),
                }
            } else if self.reading.is_over() {
                return Ok(Came::End);
            } else {
                self.reload().await?;
            }
        }
    }

    /// How long a segment may last.
    pub(super) fn target(&self) -> Duration {
        self.reading.target()
    }

    async fn reload(&mut self) -> Result<(), Error> {
        if let Some(at) = self.reading.reload_at() {
            sleep_until(at.into()).await;
        }
        let asked = Instant::now();
        let deadline = asked + ANSWER_TIMEOUT;
        let text =
            within(until(deadline), async { fetch(&self.endpoint, &self.playlist).await?.text().await });
        match parse(text.await?.as_bytes())? {
            Parsed::Media(listing) => Ok(self.reading.take(asked, listing)?),
            Parsed::Variants(_) => Err(Error::Redirect("from playlist to playlist")),
        }
    }
}
