//! The media body of a playback answer.

use super::exchange::{Error, Exchange};
use crate::http::{BodyDecoder, BodyEvent, Framing};
use crate::uring::Socket;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Answers that are read whole are small JSON documents, playlists, or one line of text.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// A body being read, as another process is told of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    decoder: BodyDecoder,
    raw: Vec<u8>,
    plain: bool,
    ended: bool,
}

/// A body being read. Dropping it closes the connection.
///
/// It holds no buffer of its own: what is received is decoded where the caller has room for it.
pub struct Body {
    socket: Rc<Socket>,
    decoder: BodyDecoder,
    /// What came with the head and is not decoded yet.
    raw: Vec<u8>,
    /// Where in `raw` decoding stands.
    at: usize,
    /// Whether raw bytes are the body.
    plain: bool,
    ended: bool,
    /// The last look at the connection took all there was.
    is_drained: bool,
}

impl Body {
    pub(super) fn new(exchange: Exchange) -> Self {
        let framing = exchange.head.framing();
        Self {
            plain: matches!(framing, Framing::UntilClose),
            decoder: BodyDecoder::new(framing),
            socket: Rc::new(exchange.socket),
            raw: exchange.unread,
            at: 0,
            ended: false,
            is_drained: false,
        }
    }

    /// The connection, to be waited on.
    pub fn socket(&self) -> Rc<Socket> {
        self.socket.clone()
    }

    /// What another process needs to go on reading.
    pub fn state(&self) -> State {
        let (decoder, raw) = (self.decoder.clone(), self.raw[self.at..].to_vec());
        State { decoder, raw, plain: self.plain, ended: self.ended }
    }

    /// Goes on reading where another process has stopped.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn going_on(connection: OwnedFd, state: State) -> io::Result<Self> {
        let State { decoder, raw, plain, ended } = state;
        Ok(Self {
            socket: Rc::new(Socket::new(connection)?),
            decoder,
            raw,
            at: 0,
            plain,
            ended,
            is_drained: false,
        })
    }

    /// Waits for body bytes and copies them to `buffer`; 0 is the end of the body. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks or the body breaks its framing.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.try_read(buffer)? {
                Some(count) => return Ok(count),
                None => self.socket.readable().await?,
            }
        }
    }

    /// Whether the last read took all there was: another one most likely brings nothing before the connection is readable.
    pub fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Copies body bytes that are there to `buffer`; 0 is the end of the body, `None` says that none are there yet.
    ///
    /// # Errors
    /// When the connection breaks or the body breaks its framing.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        while !self.ended && self.at < self.raw.len() {
            if let Some(count) = self.decode_raw(buffer)? {
                return Ok(Some(count));
            }
        }
        self.raw = Vec::new();
        self.at = 0;
        while !self.ended {
            // A body of known length is over without a further byte, and a fault in its framing comes again.
            if matches!(self.decoder.next(&mut &[][..])?, BodyEvent::End) {
                self.ended = true;
                break;
            }
            let received = match self.socket.try_recv(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_drained = true;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            self.is_drained = received < buffer.len();
            if received == 0 {
                self.ended = true;
                if !self.plain {
                    self.decoder.on_eof()?;
                }
            } else if self.plain {
                return Ok(Some(received));
            } else if let count @ 1.. = self.decoder.decode_in_place(&mut buffer[..received])? {
                return Ok(Some(count));
            }
        }
        Ok(Some(0))
    }

    /// Takes one step through what came with the head.
    fn decode_raw(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        // No more than the caller has room for, so that what is decoded always fits.
        let end = self.raw.len().min(self.at + buffer.len());
        let mut input = &self.raw[self.at..end];
        let event = self.decoder.next(&mut input)?;
        self.at = end - input.len();
        Ok(match event {
            BodyEvent::Data(data) => {
                buffer[..data.len()].copy_from_slice(data);
                Some(data.len())
            }
            BodyEvent::End => {
                self.ended = true;
                None
            }
            BodyEvent::NeedMore => None,
        })
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
}
