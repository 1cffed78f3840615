//! How far the pull of an image is, shown while it lasts.

use crate::docker::Pull;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two changes that are shown.
const SHOWN_INTERVAL: Duration = Duration::from_millis(500);
/// Layers counted; an image has a few dozen.
const LAYERS_MAX: usize = 512;

/// A pull under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulling {
    /// Of which image.
    pub(crate) image: Arc<str>,
    /// Since when.
    pub(crate) since: Instant,
    /// Docker's newest words.
    pub(crate) status: String,
    /// Bytes so far, of all layers whose size is known.
    pub(crate) bytes: u64,
    /// Bytes of those layers in all.
    pub(crate) bytes_total: u64,
}

/// Shows one pull until dropped, however it ends.
pub(super) struct Shown<'a> {
    pull: Pulling,
    layers: HashMap<String, (u64, u64)>,
    shown: &'a watch::Sender<Option<Pulling>>,
    shown_at: Instant,
}

impl<'a> Shown<'a> {
    pub(super) fn new(image: &str, shown: &'a watch::Sender<Option<Pulling>>) -> Self {
        let now = Instant::now();
        let pull =
            Pulling { image: image.into(), since: now, status: "begun".to_owned(), bytes: 0, bytes_total: 0 };
        shown.send_replace(Some(pull.clone()));
        Self { pull, layers: HashMap::new(), shown, shown_at: now }
    }

    /// Takes what Docker says.
    pub(super) fn take(&mut self, line: &Pull) {
        tracing::debug!(
            image = &*self.pull.image,
            layer = line.layer,
            bytes = line.bytes,
            of = line.bytes_total,
            "{}",
            line.status
        );
        if let Some(layer) = line.layer.as_ref().filter(|_| line.bytes_total > 0)
            && (self.layers.len() < LAYERS_MAX || self.layers.contains_key(layer))
        {
            // A layer is downloaded and then unpacked; the second count begins anew and says nothing of the first.
            let is_download = !line.status.starts_with("Extract");
            let known = self.layers.entry(layer.clone()).or_default();
            *known = if is_download { (line.bytes, line.bytes_total) } else { (known.1, known.1) };
        }
        self.pull.status.clone_from(&line.status);
        self.pull.bytes = self.layers.values().map(|(bytes, _)| bytes).sum();
        self.pull.bytes_total = self.layers.values().map(|(_, total)| total).sum();
        if self.shown_at.elapsed() >= SHOWN_INTERVAL {
            self.shown_at = Instant::now();
            self.shown.send_replace(Some(self.pull.clone()));
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.shown.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: &str, layer: &str, bytes: u64, bytes_total: u64) -> Pull {
        Pull { status: status.to_owned(), layer: Some(layer.to_owned()), bytes, bytes_total }
    }

    /// Guards the sum over layers, which unpacking does not take back, and that nothing is shown once it is over.
    #[test]
    fn a_pull_is_shown_while_it_lasts() {
        let (sender, _receiver) = watch::channel(None);
        let mut shown = Shown::new("a:b", &sender);
        assert_eq!(sender.borrow().as_ref().map(|pull| (pull.bytes, pull.bytes_total)), Some((0, 0)));
        shown.take(&line("Downloading", "one", 10, 100));
        shown.take(&line("Downloading", "two", 50, 50));
        shown.take(&line("Pulling fs layer", "three", 0, 0));
        shown.take(&line("Extracting", "two", 5, 50));
        shown.shown_at -= SHOWN_INTERVAL;
        shown.take(&line("Downloading", "one", 40, 100));
        let told = sender.borrow().clone().expect("it lasts");
        assert_eq!((told.bytes, told.bytes_total, told.status.as_str()), (90, 150, "Downloading"));
        drop(shown);
        assert_eq!(*sender.borrow(), None);
    }
}
