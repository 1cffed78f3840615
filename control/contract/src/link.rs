//! The bounded queue between two threads: many senders, one receiver, woken through a plain [`std::task::Waker`], so
//! that either end may live under any runtime or none.

use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

struct Shared<T> {
    queue: ArrayQueue<T>,
    waker: AtomicWaker,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
}

/// Cheap handle to put messages in; clone it freely.
pub struct Sender<T>(Arc<Shared<T>>);

/// The only end that takes messages out.
pub struct Receiver<T>(Arc<Shared<T>>);

/// Why a message was not taken; it is handed back so that nothing it owns (a socket, a lease) is lost unseen.
#[derive(Debug)]
pub enum Rejected<T> {
    /// The queue is at its bound.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> Rejected<T> {
    /// The message that was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

/// Makes a link that holds at most `bound` messages.
///
/// # Panics
/// When `bound` is 0.
pub fn link<T: Send>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(bound),
        waker: AtomicWaker::new(),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
    });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts a message in, never waits.
    ///
    /// # Errors
    /// Hands the message back when the queue is full or nobody will ever read it.
    pub fn send(&self, message: T) -> Result<(), Rejected<T>> {
        if self.0.receiver_gone.load(Ordering::Acquire) {
            return Err(Rejected::Closed(message));
        }
        self.0.queue.push(message).map_err(Rejected::Full)?;
        self.0.waker.wake();
        Ok(())
    }

    /// Messages waiting now; for metrics.
    pub fn backlog(&self) -> usize {
        self.0.queue.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the next message if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.queue.pop()
    }

    /// Waits for the next message; `None` once every sender is gone and the queue is empty.
    ///
    /// Cancel safe: a dropped wait has taken nothing out.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// One look of [`Receiver::recv`]: for whoever holds the receiver only while it looks.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.0.queue.pop() {
            return Poll::Ready(Some(message));
        }
        self.0.waker.register(cx.waker());
        // A message may have come between the look and the registration.
        match self.0.queue.pop() {
            Some(message) => Poll::Ready(Some(message)),
            None if self.0.senders.load(Ordering::Acquire) == 0 => Poll::Ready(self.0.queue.pop()),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.store(true, Ordering::Release);
        // What is still queued may own sockets: release them now, not when the last sender goes.
        while self.0.queue.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::Wake;

    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_full_link_hands_the_message_back() {
        let (tx, mut rx) = link(1);
        tx.send(1).unwrap();
        assert!(matches!(tx.send(2), Err(Rejected::Full(2))));
        assert_eq!(rx.try_recv(), Some(1));
        drop(rx);
        assert!(matches!(tx.send(3), Err(Rejected::Closed(3))));
    }

    #[test]
    fn a_send_wakes_the_waiting_receiver_and_a_dropped_wait_loses_nothing() {
        let (tx, mut rx) = link(4);
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = flag.clone().into();
        let mut cx = Context::from_waker(&waker);
        {
            let mut wait = pin!(rx.recv());
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            tx.send(7).unwrap();
            assert!(flag.0.load(Ordering::SeqCst), "the receiver was not woken");
        }
        assert_eq!(pin!(rx.recv()).as_mut().poll(&mut cx), Poll::Ready(Some(7)));
        drop(tx);
        assert_eq!(pin!(rx.recv()).as_mut().poll(&mut cx), Poll::Ready(None));
    }
}
