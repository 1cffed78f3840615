//! A way to the daemon on which every call is seen before the daemon sees it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The daemon gets it.
    Pass,
    /// It is answered with 500, and the daemon does not hear of it.
    Refuse,
    /// Its connection is closed without an answer, as where no daemon listens.
    Close,
}

/// What is done with the first line of a call before it is passed on.
type Look = dyn Fn(&str) -> Verdict + Send + Sync;

/// The way. It stays open as long as the tests run.
pub struct Gate {
    host: String,
    passing: Arc<Mutex<Vec<UnixStream>>>,
}

impl Gate {
    /// Listens at `path` and passes on to `daemon` what passes; each call has a connection of its own, whose first line `look` is
    /// shown. The call waits for as long as that takes.
    pub fn open(
        path: &Path,
        daemon: PathBuf,
        look: impl Fn(&str) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("a socket can be made");
        let look: Arc<Look> = Arc::new(look);
        let passing = Arc::<Mutex<Vec<UnixStream>>>::default();
        let kept = passing.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (daemon, look, kept) = (daemon.clone(), look.clone(), kept.clone());
                // A connection that breaks off is what there is to be seen.
                thread::spawn(move || drop(pass(stream, &daemon, &*look, &kept)));
            }
        });
        Self { host: format!("unix://{}", path.display()), passing }
    }

    /// What `DOCKER_HOST` has to be.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Breaks off everything that has passed, as a daemon does that goes away.
    pub fn cut(&self) {
        for stream in self.passing.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that has ended by itself cannot be cut any more.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(
    mut client: UnixStream,
    daemon: &Path,
    look: &Look,
    passing: &Mutex<Vec<UnixStream>>,
) -> io::Result<()> {
    let mut begin = vec![0; 16 * 1024];
    let count = client.read(&mut begin)?;
    begin.truncate(count);
    let line = begin.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match look(&String::from_utf8_lossy(line)) {
        Verdict::Pass => {}
        Verdict::Close => return Ok(()),
        Verdict::Refuse => {
            let body = r#"{"message":"not now"}"#;
            return write!(
                client,
                "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    }
    let mut server = UnixStream::connect(daemon)?;
    passing.lock().unwrap_or_else(PoisonError::into_inner).push(server.try_clone()?);
    server.write_all(&begin)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let sending = thread::spawn(move || {
        let copied = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
        copied
    });
    let copied = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = sending.join();
    copied.map(drop)
}
