//! Tasks that cannot take their shard down.

use futures_util::{FutureExt, TryFutureExt};
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

/// Starts a task on the current shard. A panic in it ends this task alone: monoio would let it unwind through the
/// runtime and end every session of the shard. `failed` is called with the panic's text then, to count it and to put
/// right what the task owned.
pub fn spawn<F>(task: F, failed: impl FnOnce(&str) + 'static)
where
    F: Future<Output = ()> + 'static,
{
    monoio::spawn(guarded(task, failed));
}

/// Of combinators, not an `async` block: that would keep the task once as its own, and once more in what it awaits. A
/// player over HLS has a task for as long as it plays.
fn guarded<F>(task: F, failed: impl FnOnce(&str)) -> impl Future<Output = ()>
where
    F: Future<Output = ()>,
{
    caught(task).map(|outcome| outcome.unwrap_or_else(|panic| failed(&panic)))
}

/// Runs a task and gives the text of its panic, should it panic.
pub fn caught<T>(task: impl Future<Output = T>) -> impl Future<Output = Result<T, String>> {
    AssertUnwindSafe(task).catch_unwind().map_err(|panic| text_of(&*panic).to_owned())
}

/// Makes a call and gives the text of its panic, should it panic.
///
/// # Errors
/// The panic's text.
pub fn caught_call<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(call)).map_err(|panic| text_of(&*panic).to_owned())
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: what watches over a task adds a few words to it, not a copy.
    #[test]
    fn a_task_is_kept_once() {
        let large = [0u8; 4096];
        let task = async move {
            std::future::pending::<()>().await;
            std::hint::black_box(large);
        };
        let own = size_of_val(&task);
        let guarded = size_of_val(&guarded(task, |_| ()));
        assert!(guarded <= own + 64, "{own} bytes became {guarded}");
    }
}
