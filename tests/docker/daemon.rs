//! A Docker daemon of the tests' own, and the images it needs.

use crate::common::{SOON, eventually_within};
use crate::space;
use serde_json::Value;
use sluice_bench::player::http;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tempfile::TempDir;

/// Where the daemon listens as if it were another machine's.
pub const REMOTE: &str = "10.99.0.1:2375";

/// What lies in the cache of an engine whose recipe may keep one on disk.
pub const CACHED_BYTES: usize = 1 << 20;

/// What the daemon may keep of its containers beside their images: a disk of its own, so that it can be full.
const DISK_MIB: usize = 32;

/// Images of the recipes, and how each takes its arguments.
const IMAGES: [(&str, &str); 4] = [
    ("ghcr.io/krinkuto11/acestream-http-proxy:latest", "variables"),
    ("jopsis/acestream:x64", "arguments"),
    ("jopsis/acestream:arm64-v3.2.13", "command"),
    ("ghcr.io/krinkuto11/acestream:latest-amd64", "ace-serve"),
];

/// Starts `dockerd` and ends it when its standard input says so or is closed, which also happens when the tests end in
/// whatever way. Only a daemon that is to come back leaves its directory.
const KEEPER: &str = r#"
trap '' INT
if ! mountpoint -q "$DIRECTORY/data/containers"; then
	mkdir -p "$DIRECTORY/data/containers"
	# The daemon would otherwise do this itself, over what is mounted below.
	mount --bind "$DIRECTORY/data" "$DIRECTORY/data" && mount --make-shared "$DIRECTORY/data"
	mount -t tmpfs -o size="$DISK" sluice "$DIRECTORY/data/containers"
fi
dockerd "$@" &
daemon=$!
read -r word
kill -TERM $daemon
wait $daemon
[ "$word" = keep ] && exit
umount "$DIRECTORY"/run/netns/* "$DIRECTORY/data/containers" "$DIRECTORY/data"
rm -rf "$DIRECTORY"
"#;

static SERVER: Mutex<Option<Server>> = Mutex::new(None);

/// The daemon all tests share, one after the other: it is by far the dearest part of each.
struct Server {
    directory: PathBuf,
    keeper: Option<Child>,
}

/// The daemon, this test's alone until dropped. Containers and networks it made are gone afterwards.
pub struct Daemon {
    server: MutexGuard<'static, Option<Server>>,
    directory: TempDir,
}

impl Daemon {
    /// Puts this thread, and with it everything it starts, into the tests' own network and sees to it that a daemon runs
    /// there. `None` where that is impossible, which fails under `CI=true`.
    pub fn start() -> Option<Self> {
        if let Some(reason) = missing() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "Docker cannot be tested: {reason}");
            println!("skipped, Docker cannot be tested: {reason}");
            return None;
        }
        // A test that failed left nothing that matters to the next.
        let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        if space::enter().expect("root may make a network namespace") {
            run(Command::new("ip").args(["link", "set", "lo", "up"]));
            run(Command::new("ip").args(["address", "add", "10.99.0.1/32", "dev", "lo"]));
        }
        let is_new = server.is_none();
        // The path of a socket has to be short.
        let directory = std::env::temp_dir().join(format!("sluice-{}", std::process::id()));
        server.get_or_insert_with(|| Server { directory, keeper: None });
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut daemon = Self { server, directory };
        daemon.begin();
        if is_new {
            let binary = engine();
            std::thread::scope(|scope| {
                for (image, style) in IMAGES {
                    let daemon = &daemon;
                    scope.spawn(move || daemon.import(binary, image, style));
                }
            });
        }
        Some(daemon)
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it was made at the start")
    }

    /// Starts the daemon if it does not run, and waits until it answers.
    pub fn begin(&mut self) {
        let (host, socket) = (self.host(), self.socket());
        let server = self.server.as_mut().expect("it was made at the start");
        if server.keeper.is_none() {
            std::fs::create_dir_all(&server.directory).expect("a directory can be made");
            // One that was ended leaves its socket, which would look like a daemon that does not answer.
            let _ = std::fs::remove_file(&socket);
            let path = |name: &str| server.directory.join(name).display().to_string();
            let log = std::fs::File::options().create(true).append(true).open(path("log")).unwrap();
            let keeper = Command::new("sh")
                .args(["-c", KEEPER, "sh"])
                .args(["--data-root", &path("data"), "--exec-root", &path("run"), "--pidfile", &path("pid")])
                .args(["--host", &host, "--host", &format!("tcp://{REMOTE}"), "--tls=false"])
                .args(["--shutdown-timeout", "3"])
                .env("DIRECTORY", &server.directory)
                .env("DISK", format!("{DISK_MIB}m"))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("a shell starts");
            server.keeper = Some(keeper);
        }
        let log = server.directory.join("log");
        let answered = std::panic::catch_unwind(|| {
            eventually_within("dockerd answers", 2 * SOON, || {
                let answer = http::get(remote(), "/version");
                answer.is_ok_and(|answer| answer.status() == 200).then_some(())
            });
        });
        if answered.is_err() {
            panic!("dockerd does not answer: {}", std::fs::read_to_string(log).unwrap_or_default());
        }
    }

    /// Ends the daemon, and with it every container that runs.
    pub fn end(&mut self) {
        let server = self.server.as_mut().expect("it was made at the start");
        if let Some(mut keeper) = server.keeper.take() {
            let mut word = keeper.stdin.take().expect("its input is a pipe");
            word.write_all(b"keep\n").expect("the keeper listens");
            eventually_within("dockerd ends", 2 * SOON, || keeper.try_wait().unwrap());
        }
    }

    /// Fills the disk on which the daemon keeps its containers, until what is answered is dropped.
    pub fn fill_disk(&self) -> Filled {
        let data = self.server().directory.join("data");
        let device = |path: &Path| std::fs::metadata(path).expect("it is there").dev();
        // Nobody else's disk is ever filled.
        let log = || std::fs::read_to_string(self.server().directory.join("log")).unwrap_or_default();
        assert_ne!(device(&data), device(&data.join("containers")), "it is no disk of its own: {}", log());
        let path = data.join("containers/filled");
        let mut file = std::fs::File::create(&path).expect("a file can be made");
        let filled = Filled(path);
        let is_full = (0..256 * DISK_MIB + 1).any(|_| file.write_all(&[1; 4096]).is_err());
        assert!(is_full, "it is larger than it was made");
        filled
    }

    /// Makes an image again that starts the engine with these words, in place of the one that stands under this name until what
    /// is answered is dropped.
    pub fn replace_image(&self, image: &str, entrypoint: &[&str]) -> Replaced<'_> {
        self.docker(&["tag", image, "sluice:kept"]);
        let replaced = Replaced { daemon: self, image: image.to_owned() };
        self.docker(&["create", "--name", "replaced", image]);
        let change = format!("ENTRYPOINT {}", serde_json::to_string(entrypoint).expect("it is JSON"));
        self.docker(&["commit", "--change", &change, "replaced", image]);
        self.docker(&["rm", "replaced"]);
        replaced
    }

    /// What `DOCKER_HOST` has to be.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.server().directory.join("sock")
    }

    /// A directory of this test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
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

    /// Names of the containers that pass, running or not, sorted.
    fn names_of(&self, passes: impl Fn(&Value) -> bool) -> Vec<String> {
        // Asked over HTTP: a `docker` command costs a thousand times as much, and this is asked again and again.
        let answer = http::get(remote(), "/containers/json?all=1").expect("the daemon answers");
        let all: Vec<Value> = serde_json::from_slice(&answer.body).expect("it answers JSON");
        let name = |container: &Value| container["Names"][0].as_str().map(|name| name[1..].to_owned());
        let mut names: Vec<String> = all.iter().filter(|each| passes(each)).filter_map(name).collect();
        names.sort();
        names
    }

    /// Names of all containers that carry a label, running or not, sorted.
    pub fn labelled(&self, key: &str, value: &str) -> Vec<String> {
        self.names_of(|container| container["Labels"][key] == value)
    }

    /// Names of all containers, running or not, sorted.
    pub fn all(&self) -> Vec<String> {
        self.names_of(|_| true)
    }

    /// Names of all containers named as engines are, running or not, sorted.
    pub fn engines(&self) -> Vec<String> {
        self.names_of(|container| {
            container["Names"][0].as_str().is_some_and(|name| name.starts_with("/acestream-"))
        })
    }

    /// The names of all containers that run, sorted.
    pub fn running(&self) -> Vec<String> {
        self.names_of(|container| container["State"] == "running")
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

    /// Makes an image of the simulated engine, and where the recipe may keep a cache on disk of that, too, with what measures
    /// and empties it in the real image.
    fn import(&self, binary: &Path, image: &str, style: &str) {
        let entrypoint = format!(r#"ENTRYPOINT ["/engine", "image", "--style", "{style}"]"#);
        let mut tar = Command::new("tar");
        tar.args(["--create", "--dereference", "--transform", "s,^sluice-bench$,engine,", "--directory"])
            .arg(binary.parent().unwrap())
            .arg("sluice-bench");
        if style == "arguments" {
            let cached = self.server().directory.join("cached");
            let folder = cached.join("root/.ACEStream/.acestream_cache");
            std::fs::create_dir_all(&folder).expect("a directory can be made");
            std::fs::write(folder.join("piece"), vec![1; CACHED_BYTES]).expect("the disk has room");
            tar.arg("--directory").arg(cached).arg("root").args(["--directory", "/"]);
            let programs = ["/usr/bin/du", "/usr/bin/rm"];
            let mut files: BTreeSet<String> = programs.map(str::to_owned).into();
            for program in programs {
                let linked = run(Command::new("ldd").arg(program));
                let paths = linked.split_whitespace().filter(|word| word.starts_with('/'));
                files.extend(paths.map(str::to_owned));
            }
            // What is named twice would become a link to itself.
            tar.args(files.iter().map(|file| file.trim_start_matches('/')));
        }
        let mut tar = tar.stdout(Stdio::piped()).spawn().expect("tar runs");
        let mut import = self.command(&["import", "--change", &entrypoint, "-", image]);
        run(import.stdin(tar.stdout.take().unwrap()));
        assert!(tar.wait().unwrap().success());
    }
}

/// A full disk.
pub struct Filled(PathBuf);

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An image under another one's name.
pub struct Replaced<'a> {
    daemon: &'a Daemon,
    image: String,
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        let _ = self.daemon.command(&["tag", "sluice:kept", &self.image]).output();
        let _ = self.daemon.command(&["rmi", "sluice:kept"]).output();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let containers = self.command(&["ps", "--all", "--quiet"]).output().map(|output| output.stdout);
        let containers = String::from_utf8(containers.unwrap_or_default()).unwrap_or_default();
        let ids: Vec<&str> = containers.split_whitespace().collect();
        if !ids.is_empty() {
            let _ = self.command(&["rm", "--force", "--volumes"]).args(ids).output();
        }
        let _ = self.command(&["network", "prune", "--force"]).output();
    }
}

fn remote() -> SocketAddr {
    REMOTE.parse().expect("an address")
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

/// The simulated engine, linked statically so that an image needs nothing else: its `main` against the libraries that these
/// tests were built with. Had cargo do it, it would choose features for one package alone and build most libraries anew.
fn engine() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let profile =
            Path::new(env!("CARGO_BIN_EXE_sluice")).parent().expect("it is in a profile's directory");
        let mut asked = Command::new(env!("CARGO"));
        asked.current_dir(root).args([
            "test",
            "--locked",
            "--quiet",
            "--workspace",
            "--test",
            "docker",
            "--no-run",
        ]);
        asked
            .args(["--message-format=json", "--target-dir"])
            .arg(profile.parent().expect("a target directory"));
        // Build scripts would see in what cargo tells a test of its package that everything has changed: libraries would be built
        // anew, now and with the next build.
        for (name, _) in std::env::vars_os() {
            let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "OUT_DIR"];
            if name.to_str().is_some_and(|name| of_package.iter().any(|begin| name.starts_with(begin))) {
                asked.env_remove(name);
            }
        }
        let told = run(&mut asked);
        let made: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let library = |name: &str| {
            let is_meant = |made: &&Value| made["target"]["name"] == name && made["profile"]["test"] == false;
            let files = made.iter().filter(is_meant).flat_map(|made| made["filenames"].as_array()).flatten();
            let mut files = files.filter_map(Value::as_str).filter(|file| file.ends_with(".rlib"));
            let file = files.next().unwrap_or_else(|| panic!("{name} was not built"));
            format!("{name}={file}")
        };
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static-engine");
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let binary = directory.join("sluice-bench");
        let mut linked = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        linked.current_dir(root).args(["bench/src/main.rs", "--crate-name", "engine", "--edition", "2024"]);
        linked.args(["--cap-lints", "allow", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
        linked.arg("-L").arg(format!("dependency={}", profile.join("deps").display()));
        for name in ["sluice_bench", "clap", "anyhow"] {
            linked.args(["--extern", &library(name)]);
        }
        // What cargo tells a program of its package.
        linked.env("CARGO_PKG_NAME", "sluice-bench").env("CARGO_PKG_DESCRIPTION", "");
        linked.env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"));
        run(linked.arg("-o").arg(&binary));
        binary
    })
}
