//! Sending through `io_uring`, one batch after the other.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, cqueue, opcode, types};

/// Sends in one batch.
const BATCH: usize = 256;
/// Marks the completion that says the pages of a zero-copy send are free again.
const NOTIFICATION: u32 = 1 << 3;

/// A ring, and the bytes that are sent through it.
pub(crate) struct Ring {
    ring: IoUring,
    /// Lives as long as the ring, because pages of a zero-copy send may be in sockets for longer than a call.
    source: Box<[u8]>,
    is_zero_copy: bool,
}

/// One send: whose it is, where to, and how many bytes of the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send<'a> {
    pub(crate) number: usize,
    pub(crate) socket: BorrowedFd<'a>,
    pub(crate) len: usize,
}

impl Ring {
    /// # Errors
    /// The kernel refuses rings.
    pub(crate) fn new(source: Box<[u8]>, is_zero_copy: bool) -> io::Result<Self> {
        // Two completions for each zero-copy send.
        let ring = IoUring::builder().setup_cqsize(4 * BATCH as u32).build(BATCH as u32)?;
        Ok(Self { ring, source, is_zero_copy })
    }

    /// Sends to sockets that do not block, a batch at a time, and tells the outcome of each.
    ///
    /// # Errors
    /// The ring is broken; what single sends meet is told.
    pub(crate) fn send(
        &mut self,
        sends: &[Send<'_>],
        mut done: impl FnMut(usize, io::Result<usize>),
    ) -> io::Result<()> {
        for batch in sends.chunks(BATCH) {
            for send in batch {
                let fd = types::Fd(send.socket.as_raw_fd());
                let len = send.len.min(self.source.len()) as u32;
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                let entry = if self.is_zero_copy {
                    opcode::SendZc::new(fd, self.source.as_ptr(), len).flags(flags).build()
                } else {
                    opcode::Send::new(fd, self.source.as_ptr(), len).flags(flags).build()
                };
                let entry = entry.user_data(send.number as u64);
                // SAFETY: the source is never written and lives as long as the ring; the socket is borrowed for the length of this
                // call, which ends when every send of the batch has its outcome.
                let pushed = unsafe { self.ring.submission().push(&entry) };
                pushed.map_err(|_| io::Error::other("the ring has no room for a batch"))?;
            }
            let mut left = batch.len();
            while left > 0 {
                match self.ring.submit_and_wait(left) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
                for completion in self.ring.completion() {
                    if completion.flags() & NOTIFICATION != 0 {
                        continue;
                    }
                    debug_assert!(self.is_zero_copy || !cqueue::more(completion.flags()));
                    left -= 1;
                    let result = completion.result();
                    let sent = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                    done(completion.user_data() as usize, sent);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// Guards that everybody of a batch gets its bytes, with and without copying, where the kernel has rings.
    #[test]
    fn a_batch_is_sent() {
        for is_zero_copy in [false, true] {
            let Ok(mut ring) = Ring::new(vec![7; 1000].into_boxed_slice(), is_zero_copy) else {
                eprintln!("skipped: this kernel refuses rings");
                return;
            };
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let pairs: Vec<(TcpStream, TcpStream)> = (0..3)
                .map(|_| {
                    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
                    near.set_nonblocking(true).expect("set");
                    (near, listener.accept().expect("accepts").0)
                })
                .collect();
            let sends: Vec<Send<'_>> = pairs
                .iter()
                .enumerate()
                .map(|(number, (near, _))| Send { number, socket: near.as_fd(), len: 100 * (number + 1) })
                .collect();
            let mut told = [0; 3];
            ring.send(&sends, |number, sent| told[number] = sent.expect("sent")).expect("the ring works");
            assert_eq!(told, [100, 200, 300]);
            for ((_, far), len) in pairs.iter().zip(told) {
                let mut far = far;
                let mut bytes = vec![0; len];
                far.read_exact(&mut bytes).expect("it comes");
                assert!(bytes.iter().all(|byte| *byte == 7));
            }
        }
    }
}
