//! The media body of a playback answer.

use super::exchange::{Error, Exchange};
use crate::http::{BodyDecoder, BodyEvent, Framing};
use crate::uring::Socket;

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
            let mut input = &self.raw[self.at..];
            let before = input.len();
            let event = if before == 0 && self.plain { BodyEvent::NeedMore } else { self.decoder.next(&mut input)? };
            match event {
                BodyEvent::Data(data) => {
                    let count = data.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&data[..count]);
                    let unread = data.len() - count;
                    let left = input.len();
                    self.at = self.raw.len() - left - unread;
                    if unread > 0 {
                        self.decoder.push_back(unread as u64);
                    }
                    return Ok(count);
                }
                BodyEvent::End => {
                    self.ended = true;
                    return Ok(0);
                }
                BodyEvent::NeedMore => {
                    let left = input.len();
                    self.raw.drain(..self.raw.len() - left);
                    self.at = 0;
                    if let Some(count) = self.receive(buffer).await? {
                        return Ok(count);
                    }
                }
            }
        }
    }

    /// Receives once; `Some` when the bytes went straight into `buffer`.
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        if self.plain && self.raw.is_empty() {
            let count = self.socket.recv(buffer).await?;
            self.ended = count == 0;
            return Ok(Some(count));
        }
        const READ: usize = 64 << 10;
        let kept = self.raw.len();
        self.raw.resize(kept + READ, 0);
        let outcome = self.socket.recv(&mut self.raw[kept..]).await;
        self.raw.truncate(kept + outcome.as_ref().copied().unwrap_or(0));
        if outcome? == 0 {
            self.decoder.on_eof()?;
            self.ended = true;
        }
        Ok(None)
    }
}
