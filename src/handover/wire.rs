//! Parcels between two processes: bytes and descriptors, whole or not at all.
//!
//! ```text
//!   header: mark, length, number of descriptors │ descriptors, 128 at a time │ bytes, 32 KiB at a time
//! ```
//! The socket keeps packets apart (`SOCK_SEQPACKET`), so that descriptors belong to a packet and an end is told from a
//! break. Whatever arrives is bounded before it is kept. Descriptors are borrowed for sending: the sender keeps its own.
//! Every call has a deadline.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes of one parcel at most: a stream's state with thousands of players takes a few megabytes.
pub const BYTES_MAX: usize = 64 << 20;
/// Descriptors of one parcel at most.
pub const FDS_MAX: usize = 1 << 16;
/// Descriptors in one packet; the kernel takes 253.
const FDS_PER_PACKET: usize = 128;
/// Bytes in one packet: far below what any socket buffer takes.
const BYTES_PER_PACKET: usize = 32 << 10;
const MARK: [u8; 4] = *b"SLUP";
const HEADER: usize = 12;

/// Why a parcel did not go through.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("the connection to the other process failed: {0}")]
    Io(#[from] io::Error),
    /// The other end is gone, or was gone in the middle of a parcel.
    #[error("the other process is gone")]
    Gone,
    /// Not in time.
    #[error("the other process did not answer in time")]
    Late,
    /// What came is no parcel of ours.
    #[error("the other process does not speak as expected: {0}")]
    Foreign(&'static str),
    /// More than a parcel may hold.
    #[error("{what} of {count} exceeds the bound of {max}")]
    TooLarge {
        /// What of it.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many may be.
        max: usize,
    },
}

/// What arrived.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// One end of a connection to another process.
#[derive(Debug)]
pub struct Wire(OwnedFd);

impl Wire {
    /// Two ends.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// The end that a descriptor is.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor, to be handed to another process.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Takes nothing in and lets nothing out from now on; what has arrived can still be received.
    ///
    /// # Errors
    /// When the socket is none.
    pub fn shut(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both)?)
    }

    /// Sends a parcel.
    ///
    /// # Errors
    /// [`WireError`]; how much of it arrived is unknown then, and nothing more may be sent.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>], deadline: Instant) -> Result<(), WireError> {
        bound("bytes", bytes.len(), BYTES_MAX)?;
        bound("descriptors", fds.len(), FDS_MAX)?;
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MARK);
        header[4..8].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        header[8..].copy_from_slice(&(fds.len() as u32).to_be_bytes());
        self.send_packet(&header, &[], deadline)?;
        for some in fds.chunks(FDS_PER_PACKET) {
            self.send_packet(b"f", some, deadline)?;
        }
        for some in bytes.chunks(BYTES_PER_PACKET) {
            self.send_packet(some, &[], deadline)?;
        }
        Ok(())
    }

    /// Waits for a parcel; `None` when the other end closed instead of beginning one.
    ///
    /// # Errors
    /// [`WireError`]; nothing more can be received then.
    pub fn receive(&self, deadline: Instant) -> Result<Option<Parcel>, WireError> {
        let mut packet = vec![0; BYTES_PER_PACKET];
        let mut parcel = Parcel::default();
        let count = self.receive_packet(&mut packet, &mut parcel.fds, deadline)?;
        if count == 0 {
            return Ok(None);
        }
        let (Some(header), true) = (packet[..count].first_chunk::<HEADER>(), count == HEADER) else {
            return Err(WireError::Foreign("a header has another length"));
        };
        let [m0, m1, m2, m3, b0, b1, b2, b3, f0, f1, f2, f3] = *header;
        if [m0, m1, m2, m3] != MARK || !parcel.fds.is_empty() {
            return Err(WireError::Foreign("a header has another mark"));
        }
        let length = u32::from_be_bytes([b0, b1, b2, b3]) as usize;
        let fds = u32::from_be_bytes([f0, f1, f2, f3]) as usize;
        bound("bytes", length, BYTES_MAX)?;
        bound("descriptors", fds, FDS_MAX)?;
        while parcel.fds.len() < fds {
            let before = parcel.fds.len();
            if self.receive_packet(&mut packet, &mut parcel.fds, deadline)? == 0 {
                return Err(WireError::Gone);
            }
            if parcel.fds.len() == before || parcel.fds.len() > fds {
                return Err(WireError::Foreign("another number of descriptors than announced"));
            }
        }
        while parcel.bytes.len() < length {
            let mut strays = Vec::new();
            let count = self.receive_packet(&mut packet, &mut strays, deadline)?;
            if count == 0 {
                return Err(WireError::Gone);
            }
            if !strays.is_empty() || count > length - parcel.bytes.len() {
                return Err(WireError::Foreign("more than was announced"));
            }
            parcel.bytes.extend_from_slice(&packet[..count]);
        }
        Ok(Some(parcel))
    }

    fn send_packet(&self, bytes: &[u8], fds: &[BorrowedFd<'_>], deadline: Instant) -> Result<(), WireError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_PACKET))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(WireError::Foreign("descriptors do not fit their packet"));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags) {
                // Packets go whole or not at all.
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return Err(WireError::Gone),
                Err(error) => return Err(WireError::Io(error.into())),
            }
        }
    }

    /// Receives one packet; 0 is the end.
    fn receive_packet(
        &self,
        buffer: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        deadline: Instant,
    ) -> Result<usize, WireError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_PACKET))];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            match recvmsg(&self.0, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
                Ok(message) => {
                    for received in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(some) = received {
                            fds.extend(some);
                        }
                    }
                    if message.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) {
                        return Err(WireError::Foreign("a packet was cut, or descriptors are short"));
                    }
                    return Ok(message.bytes);
                }
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::IN, deadline)?,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Err(WireError::Gone),
                Err(error) => return Err(WireError::Io(error.into())),
            }
        }
    }

    fn wait(&self, what: PollFlags, deadline: Instant) -> Result<(), WireError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WireError::Late);
        }
        match poll(&mut [PollFd::new(&self.0, what)], Some(&timespec(left))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(WireError::Io(error.into())),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A length of time as the kernel takes it, a millisecond at least so that a wait that is due still looks once.
pub(crate) fn timespec(time: Duration) -> Timespec {
    let time = time.max(Duration::from_millis(1));
    Timespec { tv_sec: time.as_secs().min(1 << 31) as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

fn bound(what: &'static str, count: usize, max: usize) -> Result<(), WireError> {
    if count > max { Err(WireError::TooLarge { what, count, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::thread;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn file(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        file
    }

    /// Guards: parcels of any size arrive whole and in order, with every descriptor they were given, however many that
    /// are, and the sender keeps its own.
    #[test]
    fn parcels_arrive_whole_with_their_descriptors() {
        let sizes =
            [(0, 0), (1, 1), (BYTES_PER_PACKET, 128), (3 * BYTES_PER_PACKET + 7, 129), (2 << 20, 700)];
        let (one, other) = Wire::pair().unwrap();
        let sender = thread::spawn(move || {
            for (bytes, fds) in sizes {
                let files: Vec<File> = (0..fds).map(|n| file(&n.to_string())).collect();
                let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
                let bytes: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
                one.send(&bytes, &borrowed, soon()).unwrap();
                assert!(files.iter().all(|file| file.metadata().is_ok()));
            }
        });
        for (bytes, fds) in sizes {
            let parcel = other.receive(soon()).unwrap().expect("a parcel");
            assert!(parcel.bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8));
            assert_eq!((parcel.bytes.len(), parcel.fds.len()), (bytes, fds));
            for (n, fd) in parcel.fds.into_iter().enumerate() {
                let mut text = String::new();
                File::from(fd).read_to_string(&mut text).unwrap();
                assert_eq!(text, n.to_string());
            }
        }
        sender.join().unwrap();
        assert!(other.receive(soon()).unwrap().is_none(), "an end between parcels is an end");
    }

    /// Guards: a peer that dies in the middle of a parcel, after its header, its descriptors or part of its bytes, is
    /// told from one that ends, and a peer that stays silent from both.
    #[test]
    fn a_parcel_that_breaks_off_is_no_parcel() {
        let header =
            |bytes: u32, fds: u32| [MARK.as_slice(), &bytes.to_be_bytes(), &fds.to_be_bytes()].concat();
        let one_file = file("x");
        for (bytes, fds, sent_fd, sent_bytes) in
            [(10, 0, false, 0), (10, 0, false, 9), (1, 2, true, 0), (1, 1, true, 0)]
        {
            let (one, other) = Wire::pair().unwrap();
            one.send_packet(&header(bytes, fds), &[], soon()).unwrap();
            if sent_fd {
                one.send_packet(b"f", &[one_file.as_fd()], soon()).unwrap();
            }
            if sent_bytes > 0 {
                one.send_packet(&vec![0; sent_bytes], &[], soon()).unwrap();
            }
            let late = other.receive(Instant::now() + Duration::from_millis(20));
            assert!(matches!(late, Err(WireError::Late)), "{late:?}");
            let (again, other) = Wire::pair().unwrap();
            again.send_packet(&header(bytes, fds), &[], soon()).unwrap();
            drop(again);
            assert!(matches!(other.receive(soon()), Err(WireError::Gone)));
        }
    }

    /// Guards: what another program says is refused before anything is kept of it: another mark, a length beyond the bound,
    /// more bytes or descriptors than announced.
    #[test]
    fn strangers_are_refused() {
        let one_file = file("x");
        let cases: [(&[u8], bool); 4] = [
            (b"hello", false),
            (b"SLUQ\0\0\0\x01\0\0\0\0", false),
            (b"SLUP\xff\0\0\x01\0\0\0\0", false),
            (b"SLUP\0\0\0\x01\0\0\0\0", true),
        ];
        for (header, with_fd) in cases {
            let (one, other) = Wire::pair().unwrap();
            one.send_packet(header, &[], soon()).unwrap();
            let fds = if with_fd { vec![one_file.as_fd()] } else { Vec::new() };
            one.send_packet(b"xy", &fds, soon()).unwrap();
            let refused = other.receive(soon());
            assert!(
                matches!(refused, Err(WireError::Foreign(_) | WireError::TooLarge { .. })),
                "{header:?}: {refused:?}"
            );
        }
        let (one, _other) = Wire::pair().unwrap();
        let large = vec![0; BYTES_MAX + 1];
        assert!(matches!(one.send(&large, &[], soon()), Err(WireError::TooLarge { .. })));
    }
}
