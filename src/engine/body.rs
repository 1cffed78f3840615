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
pub struct Body {
    socket: Rc<Socket>,
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
            socket: Rc::new(exchange.socket),
            raw: exchange.unread,
            at: 0,
            ended: false,
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
        Ok(Self { socket: Rc::new(Socket::new(connection)?), decoder, raw, at: 0, plain, ended })
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

    /// Copies body bytes that are there to `buffer`; 0 is the end of the body, `None` says that none are there yet.
    ///
    /// # Errors
    /// When the connection breaks or the body breaks its framing.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        loop {
            if self.ended {
                return Ok(Some(0));
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
                    return Ok(Some(count));
                }
                BodyEvent::End => {
                    self.ended = true;
                    return Ok(Some(0));
                }
                BodyEvent::NeedMore if at < self.raw.len() => self.at = at,
                BodyEvent::NeedMore => {
                    self.raw.clear();
                    self.at = 0;
                    match self.receive(buffer)? {
                        Received::Raw => {}
                        Received::Nothing => return Ok(None),
                        Received::Body(count) => return Ok(Some(count)),
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

    /// Receives what is there.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Received, Error> {
        if self.plain {
            return match self.socket.try_recv(buffer) {
                Ok(count) => {
                    self.ended = count == 0;
                    Ok(Received::Body(count))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
                Err(error) => Err(error.into()),
            };
        }
        const READ: usize = 64 << 10;
        self.raw.resize(READ, 0);
        let outcome = self.socket.try_recv(&mut self.raw);
        self.raw.truncate(outcome.as_ref().copied().unwrap_or(0));
        match outcome {
            Ok(0) => {
                self.decoder.on_eof()?;
                self.ended = true;
                Ok(Received::Raw)
            }
            Ok(_) => Ok(Received::Raw),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a look at the connection brought.
enum Received {
    /// Bytes to be decoded, or the end.
    Raw,
    /// Nothing is there.
    Nothing,
    /// Bytes of the body, straight into the caller's buffer.
    Body(usize),
}
