//! A wake-up between tasks of one thread.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Counts events and wakes whoever waits for the next one. Never crosses threads.
#[derive(Debug, Default)]
pub struct Signal {
    count: Cell<u64>,
    /// One place for each wait there is, empty once it has been woken.
    waiting: RefCell<Slab<Option<Waker>>>,
}

impl Signal {
    /// Events so far; pass it to [`Signal::after`] to miss none that comes between the look and the wait.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Notes an event and wakes all who wait.
    pub fn notify(&self) {
        self.count.set(self.count.get().wrapping_add(1));
        let mut place = 0;
        // Whoever is woken may come or go meanwhile, so nothing stays borrowed.
        while let Some(woken) = self.take(place) {
            if let Some(waker) = woken {
                waker.wake();
            }
            place += 1;
        }
    }

    /// Who waits at a place, if anybody; `None` behind the last one.
    fn take(&self, place: usize) -> Option<Option<Waker>> {
        let mut waiting = self.waiting.borrow_mut();
        (place < waiting.capacity()).then(|| waiting.get_mut(place).and_then(Option::take))
    }

    /// Waits until there are other events than `seen`, and returns their count. Cancel safe.
    pub fn after(&self, seen: u64) -> After<'_> {
        After { signal: self, seen, place: None }
    }
}

/// A wait for a [`Signal`]. It keeps one place however often it is polled: wakers of one task cannot be told by comparing
/// them, because the copies that a runtime makes of one need not compare equal to it.
#[derive(Debug)]
pub struct After<'a> {
    signal: &'a Signal,
    seen: u64,
    place: Option<usize>,
}

impl Future for After<'_> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let count = self.signal.count.get();
        if count != self.seen {
            return Poll::Ready(count);
        }
        let mut waiting = self.signal.waiting.borrow_mut();
        match self.place {
            Some(place) => match &mut waiting[place] {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            },
            None => self.place = Some(waiting.insert(Some(cx.waker().clone()))),
        }
        Poll::Pending
    }
}

impl Drop for After<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // What is dropped with a waker may be the task that waits at another place.
            let waker = self.signal.waiting.borrow_mut().remove(place);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::task::noop_waker;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Guards: a wait that is polled again and again, each time with another waker, keeps one place, and gives it back.
    /// A source polls its wait with each read; with a place for each poll a broadcast grew by 16 bytes a read, and each
    /// read looked through all of them.
    #[test]
    fn a_wait_keeps_one_place_and_gives_it_back() {
        let signal = Signal::default();
        {
            let mut wait = pin!(signal.after(signal.count()));
            for _ in 0..1000 {
                let waker = Waker::from(Arc::new(Woken::default()));
                assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            assert_eq!(signal.waiting.borrow().len(), 1);
        }
        for _ in 0..1000 {
            let mut wait = pin!(signal.after(signal.count()));
            assert!(wait.as_mut().poll(&mut Context::from_waker(&noop_waker())).is_pending());
        }
        assert_eq!(signal.waiting.borrow().len(), 0);
        assert!(signal.waiting.borrow().capacity() <= 4);
    }

    /// Guards: an event wakes everybody who waits, once, with the waker polled last; who has been woken and waits on is
    /// woken again; an event between the look and the wait is not missed.
    #[test]
    fn an_event_wakes_all_who_wait() {
        let signal = Signal::default();
        let (first, second, late) =
            (Arc::new(Woken::default()), Arc::new(Woken::default()), Arc::new(Woken::default()));
        let count = |woken: &Arc<Woken>| woken.0.load(Ordering::Relaxed);
        let seen = signal.count();
        let mut waits: Vec<_> = (0..3).map(|_| Box::pin(signal.after(seen))).collect();
        for wait in &mut waits {
            let waker = Waker::from(first.clone());
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let waker = Waker::from(second.clone());
        assert!(waits[1].as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        waits.remove(0);
        signal.notify();
        signal.notify();
        assert_eq!((count(&first), count(&second)), (1, 1));
        assert_eq!(waits.pop().and_then(FutureExt::now_or_never), Some(2));
        assert_eq!(signal.after(seen).now_or_never(), Some(2), "an event before the wait counts");
        let mut again = Box::pin(signal.after(signal.count()));
        let waker = Waker::from(late.clone());
        assert!(again.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        signal.notify();
        assert_eq!(count(&late), 1);
        assert_eq!(again.now_or_never(), Some(3));
    }
}
