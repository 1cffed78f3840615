//! One connection to the appliance that is kept. What is measured is the appliance, so whoever asks does little: a body is read
//! into memory that is there already, and stays where it was read.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{ANSWER_TIMEOUT, Error, io_error};

/// Longest answer head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Room for answers at first; it doubles with those that need more.
const ROOM_BYTES: usize = 256 * 1024;

/// A connection on which one question follows the other.
pub(super) struct Peer {
    socket: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Peer {
    pub(super) fn connect(addr: SocketAddr) -> Result<Self, Error> {
        let connect = || {
            let socket = TcpStream::connect(addr)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            io::Result::Ok(socket)
        };
        let socket = connect().map_err(|cause| io_error(format!("connecting to {addr}"), cause))?;
        Ok(Self { socket, buffer: vec![0; ROOM_BYTES], filled: 0 })
    }

    /// Asks and reads the whole answer, which stays until the next question.
    pub(super) fn ask(&mut self, line: &str, body: &str) -> Result<&[u8], Error> {
        let request =
            format!("{line} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = self.socket.write_all(request.as_bytes()).and_then(|()| self.read());
        let (status, head) = answer.map_err(|cause| io_error(line, cause))?;
        let body = &self.buffer[head..self.filled];
        if status == 200 {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(body).chars().take(200).collect();
        Err(Error::Answer { what: line.to_owned(), status, text })
    }

    /// Reads one answer; its status, and where its body begins.
    fn read(&mut self) -> io::Result<(u16, usize)> {
        let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        self.filled = 0;
        let (status, head, length) = loop {
            if let Some(found) =
                head_of(&self.buffer[..self.filled]).map_err(|error| broken(&error.to_string()))?
            {
                break found;
            }
            if self.filled > HEAD_BYTES_MAX {
                return Err(broken("the head of the answer does not end"));
            }
            self.receive()?;
        };
        while self.filled < head + length {
            self.receive()?;
        }
        if self.filled > head + length {
            return Err(broken("more was answered than was asked for"));
        }
        Ok((status, head))
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        match self.socket.read(&mut self.buffer[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }
}

/// Status, length of the head, and of the body.
fn head_of(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(None) };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    Ok(Some((response.code.unwrap_or(0), head, length.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: answers are told apart by their length, whatever pieces they come in.
    #[test]
    fn heads_are_read_when_they_are_whole() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let head = text.len() - 5;
        assert_eq!(head_of(text), Ok(Some((200, head, 5))));
        assert_eq!(head_of(&text[..head - 1]), Ok(None));
        assert!(head_of(b"SSH-2.0\r\n\r\n").is_err());
    }
}
