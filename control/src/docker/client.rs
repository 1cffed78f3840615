//! The client: bollard behind deadlines, with the API version negotiated once for each connection to a daemon.
//!
//! A daemon may vanish and come back as another release. So nothing is kept that could go stale: each call opens its own
//! connection, and after any failure that concerns Docker as a whole the version is asked anew.

use super::error::refused;
use super::words::{Container, ContainerId, ContainerSpec, Details, Event, Executed, Pull, Usage, Version};
use super::{Docker, Error, Host, convert};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bollard::errors::Error as Fault;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, EventsOptionsBuilder,
    ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StatsOptionsBuilder,
    StopContainerOptionsBuilder,
};
use bollard::{ClientVersion, Docker as Bollard};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Questions a healthy daemon answers at once.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A list of a thousand containers on a busy daemon.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);
/// Making or starting a container on a slow disk.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of a pull that says nothing any more.
const PULL_SILENCE: Duration = Duration::from_secs(120);
/// What is kept of a command's output.
const EXEC_OUTPUT_BYTES_MAX: usize = 4096;
/// What is kept of what a container wrote.
const LOG_BYTES_MAX: usize = 256 * 1024;
const LOG_TIMEOUT: Duration = Duration::from_secs(10);
/// bollard's own limit, which only ever bounds a response's head; ours come first.
const BOLLARD_TIMEOUT_S: u64 = 600;
/// The oldest API version that has all we use: Docker 20.10, Debian 12.
const API_OLDEST: (usize, usize) = (1, 41);
/// The newest API version these models were made for.
const API_NEWEST: (usize, usize) = (1, 53);

/// One daemon. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    host: Arc<Host>,
    connected: Arc<ArcSwapOption<(Bollard, Version)>>,
}

impl Client {
    /// A client of the daemon at `host`; connects with the first call.
    pub fn new(host: Host) -> Self {
        Self { host: Arc::new(host), connected: Arc::default() }
    }

    /// Where the daemon is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    async fn connection(&self) -> Result<Arc<(Bollard, Version)>, Error> {
        if let Some(connected) = self.connected.load_full() {
            return Ok(connected);
        }
        let connected = Arc::new(self.connect().await?);
        self.connected.store(Some(connected.clone()));
        Ok(connected)
    }

    async fn connect(&self) -> Result<(Bollard, Version), Error> {
        const CALL: &str = "version";
        let prefix = Arc::new(OnceLock::new());
        let bollard = self.bollard()?.with_request_modifier({
            let prefix = prefix.clone();
            move |request| versioned(request, prefix.get())
        });
        // Asked without a version, which every daemon answers; from then on each path carries the one agreed on.
        let answer = tokio::time::timeout(QUESTION_TIMEOUT, bollard.version()).await;
        let answer = answer.map_err(|_| Error::Late { call: CALL, after: QUESTION_TIMEOUT })?;
        let answer = answer.map_err(|fault| self.fault(CALL, fault))?;
        let offered = answer.api_version.unwrap_or_default();
        let version = parse(&offered).filter(|version| *version >= API_OLDEST);
        let (major, minor) = version.ok_or(Error::TooOld { version: offered })?.min(API_NEWEST);
        let api = format!("{major}.{minor}");
        let _ = prefix.set(format!("/v{api}"));
        let release = answer.version.unwrap_or_default();
        Ok((bollard, Version { release, api, architecture: answer.arch.unwrap_or_default() }))
    }

    fn bollard(&self) -> Result<Bollard, Error> {
        let version = ClientVersion { major_version: API_NEWEST.0, minor_version: API_NEWEST.1 };
        let made = match &*self.host {
            Host::Unix(path) => {
                Bollard::connect_with_unix(&path.to_string_lossy(), BOLLARD_TIMEOUT_S, &version)
            }
            Host::Tcp { name, port, tls: None } => {
                Bollard::connect_with_http(&Host::authority(name, *port), BOLLARD_TIMEOUT_S, &version)
            }
            Host::Tcp { name, port, tls: Some(tls) } => Bollard::connect_with_ssl(
                &Host::authority(name, *port),
                &tls.directory.join("key.pem"),
                &tls.directory.join("cert.pem"),
                &tls.directory.join("ca.pem"),
                BOLLARD_TIMEOUT_S,
                &version,
            ),
        };
        made.map_err(|fault| match (&*self.host, &fault) {
            (Host::Tcp { tls: Some(tls), .. }, fault) => {
                Error::Certificates { path: tls.directory.display().to_string(), reason: innermost(fault) }
            }
            _ => self.fault("connect", fault),
        })
    }

    /// One call with its deadline. A failure that concerns Docker as a whole drops what is known of the daemon.
    async fn call<T>(
        &self,
        name: &'static str,
        timeout: Duration,
        ask: impl AsyncFnOnce(Bollard) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let attempt = async {
            let connection = self.connection().await?;
            ask(connection.0.clone()).await.map_err(|fault| self.fault(name, fault))
        };
        let outcome = tokio::time::timeout(timeout, attempt).await;
        let outcome = outcome.unwrap_or(Err(Error::Late { call: name, after: timeout }));
        if outcome.as_ref().is_err_and(Error::is_absence) {
            self.connected.store(None);
        }
        outcome
    }

    fn fault(&self, call: &'static str, fault: Fault) -> Error {
        let at = || self.host.to_string();
        match fault {
            Fault::DockerResponseServerError { status_code, message } => {
                refused(call, &at(), status_code, message)
            }
            Fault::SocketNotFoundError(_) => {
                Error::Unreachable { at: at(), reason: "there is no such socket".to_owned() }
            }
            Fault::RequestTimeoutError => Error::Late { call, after: Duration::from_secs(BOLLARD_TIMEOUT_S) },
            Fault::JsonDataError { .. } | Fault::JsonSerdeError { .. } | Fault::StrParseError { .. } => {
                Error::Answer { call, reason: innermost(&fault) }
            }
            fault => match io_kind(&fault) {
                Some(std::io::ErrorKind::PermissionDenied) => {
                    Error::Forbidden { at: at(), call, reason: "permission denied".to_owned() }
                }
                _ => Error::Unreachable { at: at(), reason: innermost(&fault) },
            },
        }
    }
}

#[async_trait]
impl Docker for Client {
    async fn version(&self) -> Result<Version, Error> {
        // Really asked: this is also how an absence is noticed and its end.
        self.call("version", QUESTION_TIMEOUT, async |docker| docker.version().await).await?;
        Ok(self.connection().await?.1.clone())
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = self
            .call("list", LIST_TIMEOUT, async |docker| docker.list_containers(Some(options)).await)
            .await?;
        Ok(list.into_iter().filter_map(convert::container).collect())
    }

    async fn inspect(&self, container: &str) -> Result<Details, Error> {
        const CALL: &str = "inspect";
        let ask = async |docker: Bollard| docker.inspect_container(container, None).await;
        let inspected =
            self.call(CALL, QUESTION_TIMEOUT, ask).await.map_err(|error| absent(error, container))?;
        convert::details(inspected)
            .ok_or_else(|| Error::Answer { call: CALL, reason: "it has no id".to_owned() })
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let body = convert::creation(spec);
        let ask = async |docker: Bollard| docker.create_container(Some(options), body).await;
        let created = self.call("create", CHANGE_TIMEOUT, ask).await.map_err(|error| match error {
            Error::Refused { status: 404, .. } => Error::NoImage { image: spec.image.clone() },
            Error::NameTaken { .. } => Error::NameTaken { name: spec.name.clone() },
            error => error,
        })?;
        Ok(ContainerId(created.id.into()))
    }

    async fn start(&self, id: &ContainerId) -> Result<(), Error> {
        let ask = async |docker: Bollard| docker.start_container(&id.0, None).await;
        self.call("start", CHANGE_TIMEOUT, ask).await.map_err(|error| absent(error, &id.0))
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), Error> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let ask = async |docker: Bollard| docker.stop_container(&id.0, Some(options)).await;
        gone_is_well(self.call("stop", CHANGE_TIMEOUT + grace, ask).await)
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let ask = async |docker: Bollard| docker.remove_container(&id.0, Some(options)).await;
        gone_is_well(self.call("remove", CHANGE_TIMEOUT, ask).await)
    }

    async fn has_image(&self, image: &str) -> Result<bool, Error> {
        let ask = async |docker: Bollard| docker.inspect_image(image).await;
        match self.call("image", QUESTION_TIMEOUT, ask).await {
            Ok(_) => Ok(true),
            Err(Error::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn pull(&self, image: &str) -> Result<BoxStream<'static, Result<Pull, Error>>, Error> {
        let connection = self.connection().await?;
        // Without a tag Docker would pull every one there is.
        let is_pinned =
            image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let options = CreateImageOptionsBuilder::new().from_image(image);
        let options = if is_pinned { options } else { options.tag("latest") };
        let lines = connection.0.create_image(Some(options.build()), None, None).boxed();
        let image = image.to_owned();
        let state = (lines, Some((self.clone(), image)));
        Ok(futures_util::stream::unfold(state, |(mut lines, client)| async move {
            let (client, image) = client?;
            let late = Error::Late { call: "pull", after: PULL_SILENCE };
            let next = tokio::time::timeout(PULL_SILENCE, lines.next()).await;
            let line = match next {
                Ok(None) => return None,
                Ok(Some(Ok(info))) => Ok(convert::pull(info)),
                Ok(Some(Err(fault))) => Err(client.pull_fault(&image, fault)),
                Err(_) => Err(late),
            };
            // Nothing follows an error.
            let rest = line.is_ok().then_some((client, image));
            Some((line, (lines, rest)))
        })
        .boxed())
    }

    async fn usage(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<Usage, Error>>, Error> {
        let connection = self.connection().await?;
        let client = self.clone();
        let figures = connection.0.stats(&id.0, Some(StatsOptionsBuilder::new().stream(true).build()));
        Ok(figures
            .map(move |stats| stats.map(convert::usage).map_err(|fault| client.fault("stats", fault)))
            .boxed())
    }

    async fn exec(&self, id: &ContainerId, command: &[&str], timeout: Duration) -> Result<Executed, Error> {
        let config = ExecConfig {
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let ask = async |docker: Bollard| {
            let exec = docker.create_exec(&id.0, config).await?.id;
            let mut output = String::new();
            if let StartExecResults::Attached { output: mut lines, .. } =
                docker.start_exec(&exec, None).await?
            {
                // Read to its end, which is when the command has ended; only the beginning is kept.
                while let Some(line) = lines.next().await {
                    let line = line?.to_string();
                    if output.len() + line.len() <= EXEC_OUTPUT_BYTES_MAX {
                        output.push_str(&line);
                    }
                }
            }
            let exit_code = docker.inspect_exec(&exec).await?.exit_code.unwrap_or_default();
            Ok(Executed { exit_code, output })
        };
        self.call("exec", timeout, ask).await.map_err(|error| absent(error, &id.0))
    }

    async fn logs(&self, id: &ContainerId, lines: u32) -> Result<Vec<String>, Error> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let ask = async |docker: Bollard| {
            let mut pieces = docker.logs(&id.0, Some(options));
            let mut text = String::new();
            while let Some(piece) = pieces.next().await {
                text.push_str(&piece?.to_string());
                // The newest lines are at the end, and those are wanted.
                if text.len() > 2 * LOG_BYTES_MAX {
                    let from = text.ceil_char_boundary(text.len() - LOG_BYTES_MAX);
                    text.drain(..from);
                }
            }
            Ok(text.lines().map(str::to_owned).collect())
        };
        self.call("logs", LOG_TIMEOUT, ask).await.map_err(|error| absent(error, &id.0))
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let connection = self.connection().await?;
        let filters = HashMap::from([("type", vec!["container"])]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let client = self.clone();
        let messages = connection.0.events(Some(options));
        Ok(messages
            .filter_map(move |message| {
                let event = match message {
                    Ok(message) => convert::event(message).map(Ok),
                    Err(fault) => Some(Err(client.fault("events", fault))),
                };
                std::future::ready(event)
            })
            .boxed())
    }
}

impl Client {
    fn pull_fault(&self, image: &str, fault: Fault) -> Error {
        match self.fault("pull", fault) {
            Error::Refused { reason, .. } => Error::Pull { image: image.to_owned(), reason },
            Error::Unreachable { reason, .. } if reason.starts_with("Docker stream error") => {
                Error::Pull { image: image.to_owned(), reason }
            }
            error => error,
        }
    }
}

/// The agreed version goes in front of every path.
fn versioned(request: bollard::BollardRequest, prefix: Option<&String>) -> bollard::BollardRequest {
    let Some(prefix) = prefix else { return request };
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.clone().into_parts();
    let path = uri.path_and_query.as_ref().map_or("/", |path| path.as_str());
    if let Ok(path) = format!("{prefix}{path}").parse() {
        uri.path_and_query = Some(path);
        if let Ok(uri) = http::Uri::from_parts(uri) {
            parts.uri = uri;
        }
    }
    bollard::BollardRequest::from_parts(parts, body)
}

fn parse(version: &str) -> Option<(usize, usize)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn absent(error: Error, container: &str) -> Error {
    match error {
        Error::Refused { status: 404, .. } => Error::NoContainer { id: container.to_owned() },
        error => error,
    }
}

/// A container that is gone, or is being removed already, is what a stop and a removal want.
fn gone_is_well(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Refused { status: 404, .. }) => Ok(()),
        Err(Error::Refused { status: 409, reason, .. }) if reason.contains("already in progress") => Ok(()),
        outcome => outcome,
    }
}

/// The text at the bottom of a chain of causes: what the system said.
fn innermost(fault: &Fault) -> String {
    let mut cause: &dyn std::error::Error = fault;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn io_kind(fault: &Fault) -> Option<std::io::ErrorKind> {
    let mut cause = fault.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    match fault {
        Fault::IOError { err } => Some(err.kind()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
