//! The ways bytes can take from one stream to many sockets.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use super::WINDOW;
use crate::sys::pipe::Pipe;
use crate::sys::ring::{Ring, Send};
use crate::sys::send_file;

/// Bytes that fit into a pipe wherever in a page they begin.
const PIECE: u64 = 56 * 1024;

/// A way of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// `sendfile` from a memory file.
    Sendfile,
    /// `send` from user memory.
    Copy,
    /// `splice` into a pipe, `tee` into each player's, `splice` out of it.
    Splice,
    /// `IORING_OP_SEND` from user memory, in batches.
    Uring,
    /// `IORING_OP_SEND_ZC`, likewise.
    Zerocopy,
}

impl Path {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Sendfile, Self::Copy, Self::Splice, Self::Uring, Self::Zerocopy];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sendfile => "sendfile",
            Self::Copy => "copy",
            Self::Splice => "splice",
            Self::Uring => "uring",
            Self::Zerocopy => "zerocopy",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a way of sending needs.
pub(super) enum Way {
    Sendfile,
    Copy,
    Splice(Box<Splice>),
    Ring(Box<Ring>),
}

/// A pipe that is filled once, one for each player with the bytes its socket did not take, and where what is left of the first goes.
pub(super) struct Splice {
    first: Pipe,
    each: Vec<(Pipe, usize)>,
    nowhere: File,
    filled_to: u64,
}

impl Way {
    /// # Errors
    /// The kernel refuses what it needs.
    pub(super) fn new(path: Path, clients: usize) -> io::Result<Self> {
        Ok(match path {
            Path::Sendfile => Self::Sendfile,
            Path::Copy => Self::Copy,
            Path::Splice => Self::Splice(Box::new(Splice {
                first: Pipe::new()?,
                each: (0..clients).map(|_| Ok((Pipe::new()?, 0))).collect::<io::Result<_>>()?,
                nowhere: OpenOptions::new().write(true).open("/dev/null")?,
                filled_to: 0,
            })),
            Path::Uring | Path::Zerocopy => {
                let source = vec![0x47; WINDOW as usize].into_boxed_slice();
                Self::Ring(Box::new(Ring::new(source, path == Path::Zerocopy)?))
            }
        })
    }

    /// Sends every client what lies between its cursor and the head; returns the bytes that sockets took and how often one refused.
    ///
    /// # Errors
    /// This way of sending broke; what single sockets refuse is counted.
    pub(super) fn round(
        &mut self,
        clients: &mut [(TcpStream, u64)],
        window: &File,
        source: &[u8],
        head: u64,
    ) -> io::Result<(u64, u64)> {
        match self {
            Self::Sendfile => Ok(one_by_one(clients, head, |stream, cursor, len| {
                send_file(stream.as_fd(), window, cursor, len)
            })),
            Self::Copy => Ok(one_by_one(clients, head, |mut stream, _, len| {
                stream.write(&source[..len.min(source.len())])
            })),
            Self::Splice(pipes) => pipes.round(clients, window, head),
            Self::Ring(ring) => batch(ring, clients, head),
        }
    }
}

fn one_by_one(
    clients: &mut [(TcpStream, u64)],
    head: u64,
    send: impl Fn(&TcpStream, u64, usize) -> io::Result<usize>,
) -> (u64, u64) {
    let (mut all, mut blocked) = (0, 0);
    for (stream, cursor) in clients {
        while *cursor < head {
            let len = (head - *cursor).min(WINDOW) as usize;
            match send(stream, *cursor, len) {
                Ok(sent) if sent > 0 => {
                    *cursor += sent as u64;
                    all += sent as u64;
                }
                _ => {
                    blocked += 1;
                    break;
                }
            }
        }
    }
    (all, blocked)
}

fn batch(ring: &mut Ring, clients: &mut [(TcpStream, u64)], head: u64) -> io::Result<(u64, u64)> {
    let due = clients.iter().enumerate().filter(|(_, (_, cursor))| *cursor < head);
    let sends: Vec<Send<'_>> = due
        .map(|(number, (stream, cursor))| Send {
            number,
            socket: stream.as_fd(),
            len: (head - cursor).min(WINDOW) as usize,
        })
        .collect();
    let (mut taken, mut blocked) = (Vec::with_capacity(sends.len()), 0);
    ring.send(&sends, |number, sent| match sent {
        Ok(sent) => taken.push((number, sent as u64)),
        Err(_) => blocked += 1,
    })?;
    for (number, sent) in &taken {
        clients[*number].1 += sent;
    }
    Ok((taken.iter().map(|(_, sent)| sent).sum(), blocked))
}

impl Splice {
    /// A player whose pipe still holds bytes when the next piece comes does not get that piece: it counts as refused, and nothing else
    /// could be done without a pipe that has no end.
    fn round(
        &mut self,
        clients: &mut [(TcpStream, u64)],
        window: &File,
        head: u64,
    ) -> io::Result<(u64, u64)> {
        let (mut all, mut blocked) = (0, 0);
        while self.filled_to < head {
            let len = (head - self.filled_to).min(PIECE);
            let mut filled = 0;
            while filled < len {
                filled += self.first.take(window, self.filled_to + filled, (len - filled) as usize)? as u64;
            }
            for ((stream, cursor), (pipe, held)) in clients.iter_mut().zip(&mut self.each) {
                let mut give = |held: &mut usize| {
                    let sent = pipe.give(stream.as_fd(), *held).unwrap_or(0);
                    *held -= sent;
                    all += sent as u64;
                };
                if *held > 0 {
                    give(held);
                }
                *cursor += len;
                if *held > 0 {
                    blocked += 1;
                    continue;
                }
                *held = pipe.copy_of(&self.first, len as usize)?;
                give(held);
            }
            let mut left = len as usize;
            while left > 0 {
                left -= self.first.give(self.nowhere.as_fd(), left)?;
            }
            self.filled_to += len;
        }
        Ok((all, blocked))
    }
}
