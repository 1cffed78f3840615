//! A Docker daemon of a test's own, and the images it needs.

use crate::common::{SOON, eventually_within};
use crate::{space, sys};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Where the daemon listens as if it were another machine's.
pub const REMOTE: &str = "10.99.0.1:2375";

/// Images of the recipes, and how each takes its arguments.
const IMAGES: [(&str, &str); 4] = [
    ("ghcr.io/krinkuto11/acestream-http-proxy:latest", "variables"),
    ("jopsis/acestream:x64", "arguments"),
    ("jopsis/acestream:arm64-v3.2.13", "command"),
    ("ghcr.io/krinkuto11/acestream:latest-amd64", "ace-serve"),
];

/// A daemon; ended when dropped, with everything it keeps. There is one at a time.
pub struct Daemon {
    directory: PathBuf,
    child: Option<Child>,
    _alone: MutexGuard<'static, ()>,
}

impl Daemon {
    /// Puts this thread, and with it everything it starts, into the tests' own network and starts a daemon there. `None`
    /// where that is impossible, which fails under `CI=true`.
    pub fn start() -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        if let Some(reason) = missing() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "Docker cannot be tested: {reason}");
            println!("skipped, Docker cannot be tested: {reason}");
            return None;
        }
        // A test that failed left nothing that matters to the next.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        if space::enter().expect("root may make a network namespace") {
            run(Command::new("ip").args(["link", "set", "lo", "up"]));
            run(Command::new("ip").args(["address", "add", "10.99.0.1/32", "dev", "lo"]));
        }
        // The path of a socket has to be short.
        let directory = std::env::temp_dir().join(format!("sluice-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let mut daemon = Self { directory, child: None, _alone: alone };
        daemon.begin();
        let binary = engine();
        std::thread::scope(|scope| {
            for (image, style) in IMAGES {
                let daemon = &daemon;
                scope.spawn(move || daemon.import(binary, image, style));
            }
        });
        Some(daemon)
    }

    /// Starts the daemon and waits until it answers.
    pub fn begin(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.directory.join("log")).unwrap();
        let path = |name: &str| self.directory.join(name).display().to_string();
        let child = Command::new("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("run"), "--pidfile", &path("pid")])
            .args(["--host", &self.host(), "--host", &format!("tcp://{REMOTE}"), "--tls=false"])
            .args(["--shutdown-timeout", "3"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        self.child = Some(child);
        eventually_within("dockerd answers", 2 * SOON, || {
            let answer = self.command(&["version"]).output().unwrap();
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().unwrap()
            {
                let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                panic!("dockerd ended with {status}: {log}");
            }
            answer.status.success().then_some(())
        });
    }

    /// Ends the daemon, and with it every container that runs.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            sys::signal(child.id(), libc::SIGTERM);
            eventually_within("dockerd ends", 2 * SOON, || child.try_wait().unwrap());
        }
    }

    /// What `DOCKER_HOST` has to be.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// A directory for whoever uses this daemon.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host()]).args(arguments).stdin(Stdio::null());
        command
    }

    /// What a `docker` command prints.
    pub fn docker(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    /// Names of the containers a filter finds, running or not, sorted.
    pub fn names(&self, filter: &str) -> Vec<String> {
        let text = self.docker(&["ps", "--all", "--filter", filter, "--format", "{{.Names}}"]);
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The names of all containers that run.
    pub fn running(&self) -> Vec<String> {
        self.names("status=running")
    }

    /// A field of a container, by Docker's template language.
    pub fn inspect(&self, container: &str, template: &str) -> String {
        self.docker(&["inspect", "--format", template, container]).trim().to_owned()
    }

    /// Makes an image `sluice:test` of the appliance and the libraries it is linked with.
    pub fn import_appliance(&self) {
        let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
        let linked = run(Command::new("ldd").arg(binary));
        let libraries = linked.split_whitespace().filter_map(|word| word.strip_prefix('/'));
        let mut tar = Command::new("tar")
            .args(["--create", "--dereference", "--directory", "/"])
            .args(libraries)
            .arg("--directory")
            .arg(binary.parent().unwrap())
            .arg("sluice")
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar runs");
        let mut import =
            self.command(&["import", "--change", r#"ENTRYPOINT ["/sluice"]"#, "-", "sluice:test"]);
        run(import.stdin(tar.stdout.take().unwrap()));
        assert!(tar.wait().unwrap().success());
    }

    /// Makes an image of the simulated engine alone.
    fn import(&self, binary: &Path, image: &str, style: &str) {
        let entrypoint = format!(r#"ENTRYPOINT ["/engine", "image", "--style", "{style}"]"#);
        let mut tar = Command::new("tar")
            .args(["--create", "--directory"])
            .arg(binary.parent().unwrap())
            .args(["--transform", "s/.*/engine/", "sluice-bench"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar runs");
        let mut import = self.command(&["import", "--change", &entrypoint, "-", image]);
        run(import.stdin(tar.stdout.take().unwrap()));
        assert!(tar.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            let containers = self.command(&["ps", "--all", "--quiet"]).output().map(|output| output.stdout);
            let containers = String::from_utf8(containers.unwrap_or_default()).unwrap_or_default();
            let ids: Vec<&str> = containers.split_whitespace().collect();
            if !ids.is_empty() {
                let _ = self.command(&["rm", "--force"]).args(ids).output();
            }
        }
        if let Some(mut child) = self.child.take() {
            sys::signal(child.id(), libc::SIGTERM);
            for _ in 0..1000 {
                if !matches!(child.try_wait(), Ok(None)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Why there can be no daemon here.
fn missing() -> Option<String> {
    if !std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Some("it takes root".to_owned());
    }
    let is_missing = |program: &&str| Command::new(program).arg("-V").output().is_err();
    ["dockerd", "docker", "ip", "tar"]
        .into_iter()
        .find(is_missing)
        .map(|program| format!("{program} is missing"))
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}: {stdout} {stderr}");
    stdout.into_owned()
}

/// The simulated engine, linked statically so that an image needs nothing else.
fn engine() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let flags = format!(
            r#"target.{triple}.rustflags=["-C", "target-feature=+crt-static", "-C", "strip=symbols"]"#
        );
        run(Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("RUSTFLAGS")
            .args(["build", "--locked", "--quiet", "--package", "sluice-bench", "--bin", "sluice-bench"])
            .args(["--target", &triple, "--config", &flags, "--target-dir"])
            .arg(&target));
        target.join(triple).join("debug/sluice-bench")
    })
}

/// Waits until the containers that run number `count`, and names them.
pub fn eventually_running(daemon: &Daemon, count: usize, within: Duration) -> Vec<String> {
    let mut last = Vec::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually_within("so many engines run", within, || {
            last = daemon.running();
            (last.len() == count).then(|| last.clone())
        })
    }));
    found.unwrap_or_else(|_| panic!("{count} engines were expected, there run {last:?}"))
}
