//! Tasks that cannot take their shard down.

use futures_util::FutureExt;
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
    monoio::spawn(async move {
        if let Err(panic) = caught(task).await {
            failed(&panic);
        }
    });
}

/// Runs a task and gives the text of its panic, should it panic.
///
/// # Errors
/// The panic's text.
pub async fn caught<T>(task: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| text_of(&*panic).to_owned())
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
