//! A socket that first gives what was already read from it, and tells whether bytes move.

use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What can be seen of a socket from outside while hyper owns it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    bytes: AtomicU64,
    write_blocked: AtomicBool,
}

impl Activity {
    /// Bytes moved in both directions so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the last write found the socket full.
    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_blocked.load(Ordering::Relaxed)
    }
}

/// The socket with its unread bytes in front.
#[derive(Debug)]
pub(crate) struct Rewind<T> {
    unread: Bytes,
    inner: T,
    activity: Arc<Activity>,
}

impl<T> Rewind<T> {
    /// Puts bytes in front of a socket.
    pub(crate) fn new(unread: Bytes, inner: T, activity: Arc<Activity>) -> Self {
        Self { unread, inner, activity }
    }

    /// The bytes nobody has read yet, and the socket.
    pub(crate) fn into_parts(self) -> (Bytes, T) {
        (self.unread, self.inner)
    }

    fn moved(&self, bytes: usize) {
        self.activity.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn written(&self, outcome: &Poll<io::Result<usize>>) {
        self.activity.write_blocked.store(outcome.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = outcome {
            self.moved(*bytes);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewind<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.has_remaining() {
            let taken = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.moved(buffer.filled().len() - before);
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewind<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.written(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
