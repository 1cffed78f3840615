//! Copies of a window for other shards: files of their own at the same offsets, because one file that two cores send from
//! costs each of them a fifth more.
//!
//! A copy is filled piece by piece while the window goes on, then attached to it: from there on whatever is appended to the
//! window is written to the copy as well, and the other shard is told how far it may send. Only that shard releases what
//! lies before its own tail, so what holds for a window on one thread holds for each of them.

use super::{AccessIndex, Reservation, State, Window};
use crate::media::ts::PACKET;
use crate::uring::{BLOCK, Memfd};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Bytes copied at once: less than a slice of the fan-out takes.
pub const COPY_BYTES: usize = 512 << 10;

/// A copy that is being filled.
pub struct Copying {
    file: Memfd,
    /// The tail it begins with.
    tail: u64,
    /// Everything before it is there.
    at: u64,
}

/// A copy that is attached, as it goes to the shard that sends from it.
#[derive(Debug)]
pub struct Copied {
    file: OwnedFd,
    head: u64,
    tail: u64,
    release_mark: u64,
    reservation: Reservation,
}

/// A copy as the window holds it.
pub(super) struct Mirror {
    number: u64,
    file: Memfd,
    /// It could not be written to, and ends where that was.
    is_broken: bool,
}

impl Copying {
    /// Begins a copy of what a window offers.
    ///
    /// # Errors
    /// When descriptors or memory are short.
    pub fn begin(window: &Window) -> io::Result<Self> {
        let tail = window.tail();
        // Whole blocks are released, so a copy begins with one.
        Ok(Self { file: Memfd::new()?, tail, at: tail - tail % BLOCK })
    }

    /// The tail it begins with.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Copies a piece more, by way of `buffer`; whether it has everything.
    ///
    /// # Errors
    /// When memory is short, or the window has released what comes next.
    pub fn advance(&mut self, window: &Window, buffer: &mut [u8]) -> io::Result<bool> {
        let count = (window.head() - self.at).min(buffer.len() as u64) as usize;
        window.read(self.at, &mut buffer[..count])?;
        self.file.append(self.at, &buffer[..count])?;
        self.at += count as u64;
        Ok(self.at == window.head())
    }
}

impl Mirror {
    pub(super) fn append(&mut self, head: u64, packets: &[u8]) {
        self.is_broken = self.is_broken || self.file.append(head, packets).is_err();
    }
}

impl Window {
    /// Attaches a copy that has everything: it gets what is appended from now on.
    ///
    /// # Errors
    /// When it does not have everything, or descriptors are short.
    pub fn attach(&mut self, copying: Copying, number: u64, reservation: Reservation) -> io::Result<Copied> {
        let Copying { file, tail, at } = copying;
        if at != self.head() {
            return Err(io::Error::other("the copy is not complete"));
        }
        let copied = Copied {
            file: file.as_fd().try_clone_to_owned()?,
            head: at,
            tail,
            release_mark: tail - tail % BLOCK,
            reservation,
        };
        self.mirrors.push(Mirror { number, file, is_broken: false });
        Ok(copied)
    }

    /// Lets go of a copy: it gets nothing more.
    pub fn detach(&mut self, number: u64) {
        self.mirrors.retain(|mirror| mirror.number != number);
    }

    /// Whether copies are attached.
    pub fn has_copies(&self) -> bool {
        !self.mirrors.is_empty()
    }

    /// Whether this copy has everything that was appended since it was attached.
    pub fn is_copied(&self, number: u64) -> bool {
        self.mirrors.iter().any(|mirror| mirror.number == number && !mirror.is_broken)
    }

    /// The window of a copy, on the shard that sends from it.
    ///
    /// # Errors
    /// When the file does not hold what was said of it.
    pub fn of_copy(now: Instant, copied: Copied) -> io::Result<Self> {
        let Copied { file, head, tail, release_mark, reservation } = copied;
        let access = AccessIndex::default();
        Self::standing(now, file, State { head, tail, release_mark, reserved: 0, access }, reservation)
    }

    /// More of it may be sent: whoever writes to the copy has come so far.
    pub fn grow_to(&mut self, head: u64) {
        debug_assert!(head.is_multiple_of(PACKET as u64), "the window holds whole packets");
        self.extent.grow(head.saturating_sub(self.extent.head()));
    }

    /// Everything before it is released.
    pub fn release_mark(&self) -> u64 {
        self.extent.release_mark()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{Budget, Retention, SESSION_BYTES_MIN, Sent};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn window(budget: &std::sync::Arc<Budget>) -> Window {
        Window::new(budget.reserve(SESSION_BYTES_MIN).unwrap()).unwrap()
    }

    /// Packets that tell their own offset, so that a wrong byte shows.
    fn packets(from: u64, count: u64) -> Vec<u8> {
        let one = |n: u64| [&(from + n * PACKET as u64).to_be_bytes()[..], &[0x47; PACKET - 8]].concat();
        (0..count).flat_map(one).collect()
    }

    fn copied(window: &mut Window, budget: &std::sync::Arc<Budget>, grow: u64) -> Window {
        let mut copying = Copying::begin(window).unwrap();
        let mut buffer = vec![0; COPY_BYTES];
        let mut grown = 0;
        while !copying.advance(window, &mut buffer).unwrap() {
            if grown < grow {
                window.append(&packets(window.head(), 100)).unwrap();
                grown += 1;
            }
        }
        let reservation = budget.reserve(SESSION_BYTES_MIN).unwrap();
        let copied = window.attach(copying, 7, reservation).unwrap();
        Window::of_copy(Instant::now(), copied).unwrap()
    }

    /// Guards: a copy has every byte from its tail on, also of what came while it was made, and gets what comes after; both
    /// release for themselves.
    #[test]
    fn a_copy_has_the_same_bytes_at_the_same_offsets() {
        let budget = Budget::new(256 << 20);
        let mut window = window(&budget);
        let start = Instant::now();
        for _ in 0..40 {
            window.append(&packets(window.head(), 4000)).unwrap();
        }
        window.trim(start, Retention::new(9 << 20, 0)).unwrap();
        window.trim(start + Duration::from_secs(3), Retention::new(9 << 20, 0)).unwrap();
        assert!(window.release_mark() > 0 && !window.has_copies());
        let mut copy = copied(&mut window, &budget, 5);
        assert!(window.is_copied(7) && window.has_copies());
        assert_eq!((copy.head(), copy.tail()), (window.head(), window.tail()));
        let told = copy.head();
        window.append(&packets(window.head(), 1000)).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(copy.send(ours.as_fd(), told, 1 << 20).unwrap(), Sent::AtHead, "sent before it was told");
        copy.grow_to(window.head());
        let length = (copy.head() - copy.tail()) as usize;
        let (mut one, mut other) = (vec![0; length], vec![0; length]);
        window.read(copy.tail(), &mut one).unwrap();
        copy.read(copy.tail(), &mut other).unwrap();
        assert!(one == other, "the copy has other bytes");
        // The window goes on; the copy still has what the window has released.
        let (tail, kept) = (copy.tail(), window.head());
        for _ in 0..40 {
            window.append(&packets(window.head(), 4000)).unwrap();
        }
        window.trim(start + Duration::from_secs(4), Retention::new(9 << 20, 0)).unwrap();
        window.trim(start + Duration::from_secs(8), Retention::new(9 << 20, 0)).unwrap();
        assert!(window.release_mark() > tail, "nothing was released");
        assert_eq!(copy.head(), kept);
        copy.read(tail, &mut other).unwrap();
        assert!(one == other, "the copy lost what the window released");
        // A head told twice, or an old one, moves nothing back.
        copy.grow_to(kept - PACKET as u64);
        assert_eq!(copy.head(), kept);
    }

    /// Guards: a copy that is let go of gets nothing more, and one that lags behind cannot be attached: it would have a hole.
    #[test]
    fn a_copy_is_whole_or_not_attached() {
        let budget = Budget::new(256 << 20);
        let mut window = window(&budget);
        window.append(&packets(0, 10)).unwrap();
        let copying = Copying::begin(&window).unwrap();
        assert!(window.attach(copying, 1, budget.reserve(1).unwrap()).is_err());
        let copy = copied(&mut window, &budget, 0);
        window.detach(7);
        assert!(!window.has_copies() && !window.is_copied(7));
        window.append(&packets(window.head(), 10)).unwrap();
        assert_eq!(copy.memfd.size().unwrap(), copy.head());
        let reserved = budget.reserved();
        drop(copy);
        assert!(budget.reserved() < reserved, "the copy kept its memory");
    }

    /// Guards: a cursor ahead of what this shard was told of waits, whatever the other one has come to.
    #[test]
    fn a_cursor_ahead_of_the_head_waits() {
        let budget = Budget::new(256 << 20);
        let mut window = window(&budget);
        window.append(&packets(0, 10)).unwrap();
        let copy = copied(&mut window, &budget, 0);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(copy.send(ours.as_fd(), copy.head() + PACKET as u64, 1 << 20).unwrap(), Sent::AtHead);
    }
}
