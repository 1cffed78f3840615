//! The media of a started session, in whichever form the engine gives it.

use super::body::Body;
use super::exchange::{Endpoint, Error};
use super::segments::Segments;
use super::start::{Started, open_playback};
use std::time::{Duration, Instant};

/// What a wait for media came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Media.
    Bytes {
        /// How much of it.
        count: usize,
        /// Whether it continues what came before.
        continues: bool,
    },
    /// So many segments could not be had.
    Missed(u64),
    /// Nothing comes any more.
    End,
}

/// Media being read. Dropping it closes the connection.
pub enum Media {
    /// One body without an end.
    Progressive(Body),
    /// A playlist of segments.
    Segmented(Box<Segments>),
}

impl Media {
    /// Fetches the media of a started session: follows redirects on the same engine, repeats what was asked too early,
    /// waits for the head as long as it takes. The caller watches progress and drops the call when it has seen enough.
    ///
    /// # Errors
    /// Everything an engine can answer instead of media.
    pub async fn open(endpoint: &Endpoint, started: &Started, deadline: Instant) -> Result<Self, Error> {
        if started.is_playlist() {
            let segments = Segments::open(endpoint, &started.playback, deadline).await?;
            return Ok(Self::Segmented(Box::new(segments)));
        }
        open_playback(endpoint, &started.playback, deadline).await.map(Self::Progressive)
    }

    /// Waits for bytes and copies them to `buffer`, which has room.
    ///
    /// # Errors
    /// When the connection breaks, or what comes breaks its framing.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<Came, Error> {
        match self {
            Self::Progressive(body) => Ok(match body.read(buffer).await? {
                0 => Came::End,
                count => Came::Bytes { count, continues: true },
            }),
            Self::Segmented(segments) => segments.read(buffer).await,
        }
    }

    /// How long nothing may come because a segment comes whole.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Progressive(_) => Duration::ZERO,
            Self::Segmented(segments) => segments.target(),
        }
    }
}
