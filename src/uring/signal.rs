//! A wake-up between tasks of one thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Counts events and wakes whoever waits for the next one. Never crosses threads.
#[derive(Debug, Default)]
pub struct Signal {
    count: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Events so far; pass it to [`Signal::after`] to miss none that comes between the look and the wait.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Notes an event and wakes all who wait.
    pub fn notify(&self) {
        self.count.set(self.count.get().wrapping_add(1));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until there are other events than `seen`, and returns their count. Cancel safe.
    pub async fn after(&self, seen: u64) -> u64 {
        poll_fn(|cx| {
            let count = self.count.get();
            if count != seen {
                return Poll::Ready(count);
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
