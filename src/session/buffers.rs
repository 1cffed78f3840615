//! Room for reads from engines, which the sources of a shard have in turn: between two reads a source holds none.

use std::cell::RefCell;
use std::rc::Rc;

/// One read from the engine; bounds what is parsed in one go.
pub(super) const READ_BYTES: usize = 256 << 10;

/// The buffers of a shard.
#[derive(Default)]
pub struct Buffers(Rc<RefCell<Vec<Vec<u8>>>>);

impl Buffers {
    /// Buffers kept while nobody has them. Sources that read progressively need one; those that read segments hold theirs
    /// while they wait.
    const KEPT_MAX: usize = 2;

    pub(super) fn lend(&self) -> Buffer {
        let bytes = self.0.borrow_mut().pop().unwrap_or_else(|| vec![0; READ_BYTES]);
        Buffer { bytes, home: self.0.clone() }
    }
}

/// One of them, of [`READ_BYTES`]; goes back when it is dropped.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    home: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut home = self.home.borrow_mut();
        if home.len() < Buffers::KEPT_MAX {
            home.push(std::mem::take(&mut self.bytes));
        }
    }
}
