//! The media body of a playback answer.

use super::exchange::{Error, Exchange};
use crate::http::{BodyDecoder, BodyEvent, Framing};
use crate::uring::Socket;
use std::io;

/// Answers that are read whole are small JSON documents, playlists, or one line of text.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// A body being read. Dropping it closes the connection.
pub struct Body {
    socket: Socket,
    decoder: BodyDecoder,
    /// Raw bytes received and not decoded yet.
    raw: Vec<u8>,
    /// Where in `raw` decoding stands.
    at: usize,
    /// Whether raw bytes are the body, so that reads can go straight into the caller's buffer.
    plain: bool,
    ended: bool,
}

impl Body {
    pub(super) fn new(exchange: Exchange) -> Self {
        let framing = exchange.head.framing();
        Self {
            plain: matches!(framing, Framing::UntilClose),
            decoder: BodyDecoder::new(framing),
            socket: exchange.socket,
            raw: exchange.unread,
            at: 0,
            ended: false,
        }
    }

    /// Waits for body bytes and copies them to `buffer`; 0 is the end of the body. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks or the body breaks its framing.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if self.ended {
                return Ok(0);
            }
            // No more than the caller has room for, so that what is decoded always fits.
            let end = self.raw.len().min(self.at + buffer.len());
            let mut input = &self.raw[self.at..end];
            let event = if input.is_empty() && self.plain {
                BodyEvent::NeedMore
            } else {
                self.decoder.next(&mut input)?
            };
            let at = end - input.len();
            match event {
                BodyEvent::Data(data) => {
                    buffer[..data.len()].copy_from_slice(data);
                    let count = data.len();
                    self.at = at;
                    return Ok(count);
                }
                BodyEvent::End => {
                    self.ended = true;
                    return Ok(0);
                }
                BodyEvent::NeedMore if at < self.raw.len() => self.at = at,
                BodyEvent::NeedMore => {
                    self.raw.clear();
                    self.at = 0;
                    if let Some(count) = self.receive(buffer).await? {
                        return Ok(count);
                    }
                }
            }
        }
    }

    /// Reads the rest as text, at most [`TEXT_BYTES_MAX`].
    ///
    /// # Errors
    /// As for [`Body::read`], and when it is longer.
    pub(super) async fn text(mut self) -> Result<String, Error> {
        let mut text = Vec::new();
        let mut chunk = vec![0; 16 << 10];
        loop {
            let count = self.read(&mut chunk).await?;
            if count == 0 {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            text.extend_from_slice(&chunk[..count]);
            if text.len() > TEXT_BYTES_MAX {
                return Err(Error::TooLong(TEXT_BYTES_MAX));
            }
        }
    }

    /// Receives once; `Some` when the bytes went straight into `buffer`.
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        if self.plain {
            let count = self.socket.recv(buffer).await?;
            self.ended = count == 0;
            return Ok(Some(count));
        }
        const READ: usize = 64 << 10;
        self.socket.readable().await?;
        self.raw.resize(READ, 0);
        let outcome = self.socket.try_recv(&mut self.raw);
        self.raw.truncate(outcome.as_ref().copied().unwrap_or(0));
        match outcome {
            Ok(0) => {
                self.decoder.on_eof()?;
                self.ended = true;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }
}
