//! Looks at everything engines in Docker need, one thing after the other, and says of each what to do.
//!
//! Changes nothing: no container is made, no image pulled. What it needs of settings it is given; printing is the
//! program's.

use crate::docker::{Client, Docker, Error};
use crate::engines::check::check;
use crate::engines::recipe::Variant;
use crate::engines::{Authority, YardOptions, survey};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Well,
    /// It works, and somebody should know this.
    Noted,
    /// It does not work.
    Failed,
}

impl State {
    /// Its name on the screen.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Noted => "note",
            Self::Failed => "FAILED",
        }
    }
}

/// What was looked at. The number of one that failed is the program's exit code, so that scripts can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Docker answers where it should.
    Docker = 10,
    /// It lets this user do what is needed.
    Rights = 11,
    /// It speaks an API version that has all that is needed.
    Api = 12,
    /// There are enough ports for engines.
    Ports = 13,
    /// The variant runs on this machine, and its image is there.
    Image = 14,
    /// Engines there are answer.
    Engine = 15,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Rights => "rights",
            Self::Api => "api",
            Self::Ports => "ports",
            Self::Image => "image",
            Self::Engine => "engine",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub subject: Subject,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub text: String,
    /// What to do, unless all is well.
    pub remedy: Option<String>,
}

impl Finding {
    fn well(subject: Subject, text: String) -> Self {
        Self { subject, state: State::Well, text, remedy: None }
    }

    fn noted(subject: Subject, text: String, remedy: &str) -> Self {
        Self { subject, state: State::Noted, text, remedy: Some(remedy.to_owned()) }
    }

    fn failed(subject: Subject, text: String, remedy: &str) -> Self {
        Self { subject, state: State::Failed, text, remedy: Some(remedy.to_owned()) }
    }
}

/// What the program exits with: 0, or the number of the first thing that failed.
pub fn exit_code(findings: &[Finding]) -> u8 {
    findings.iter().find(|finding| finding.state == State::Failed).map_or(0, |finding| finding.subject as u8)
}

/// Looks at everything. `engines` are those that exist without Docker.
///
/// # Errors
/// No thread can be started.
pub fn examine(
    docker: Option<&YardOptions>,
    engines: &[crate::StaticEngine],
) -> std::io::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut findings = Vec::new();
        if let Some(options) = docker {
            let client = Client::new(options.setup.host.clone());
            let at = options.setup.host.to_string();
            // Published on another machine, nothing can be said of its ports from here.
            let is_here = options.setup.host.remote().is_none();
            daemon(&client, options, &at, is_here, &mut findings).await;
        }
        let named = engines.iter().filter_map(|engine| engine.authority.parse::<Authority>().ok());
        for authority in named {
            findings.push(handshake(&authority, authority.as_str()).await);
        }
        findings
    }))
}

/// Looks at a daemon and what engines in it need.
async fn daemon(
    docker: &dyn Docker,
    options: &YardOptions,
    at: &str,
    is_here: bool,
    findings: &mut Vec<Finding>,
) {
    let version = match docker.version().await {
        Ok(version) => version,
        Err(error) => return findings.push(fault(&error)),
    };
    let text = format!("Docker {} at {at}, on {}", version.release, version.architecture);
    findings.push(Finding::well(Subject::Docker, text));
    findings.push(Finding::well(Subject::Api, format!("version {} is spoken", version.api)));
    let containers = match docker.list().await {
        Ok(containers) => containers,
        Err(error) => return findings.push(fault(&error)),
    };
    let text = format!("{} containers can be listed", containers.len());
    findings.push(Finding::well(Subject::Rights, text));
    findings.push(ports(options, is_here.then_some(options.setup.publish)));
    let ground = match survey::survey(docker, &options.setup).await {
        Ok(ground) => ground,
        Err(error) => return findings.push(fault(&error)),
    };
    findings.push(image(docker, options, &ground.recipe.image, &version.architecture).await);
    let ours = containers
        .iter()
        .filter(|container| ground.ownership(container) != crate::engines::Ownership::Strange);
    let mut count = 0;
    for (container, authority) in ours.filter_map(|container| Some((container, ground.authority(container)?)))
    {
        count += 1;
        findings.push(handshake(&authority, &container.name).await);
    }
    if count == 0 {
        let text = "no engine of this appliance runs yet".to_owned();
        findings.push(Finding::noted(
            Subject::Engine,
            text,
            "start sluice, which starts engines, and look again",
        ));
    }
}

/// What a fault of Docker means here.
fn fault(error: &Error) -> Finding {
    let subject = match error {
        Error::Forbidden { .. } => Subject::Rights,
        Error::TooOld { .. } => Subject::Api,
        _ => Subject::Docker,
    };
    Finding::failed(subject, error.to_string(), error.remedy())
}

/// Whether there are ports for as many engines as there may be, and none is another program's.
fn ports(options: &YardOptions, publish: Option<Option<IpAddr>>) -> Finding {
    /// Ports that are tried; nobody has more engines on one machine.
    const TRIED_MAX: usize = 1000;
    let (ranges, most) = (&options.ranges, options.limits.max);
    let each = if options.setup.has_https_mapped { 2 } else { 1 };
    let needed = most * each;
    let remedy = "widen the range, or lower MAX_REPLICAS";
    for (name, range, needed) in [
        ("PORT_RANGE_HOST", Some(ranges.host), needed),
        ("ACE_HTTPS_RANGE", Some(ranges.https), most),
        ("P2P_PORT_RANGE", ranges.p2p, most),
    ] {
        if let Some(range) = range.filter(|range| range.count() < needed) {
            let text = format!(
                "{name} {range} has {} ports, and {needed} are needed for {most} engines",
                range.count()
            );
            return Finding::failed(Subject::Ports, text, remedy);
        }
    }
    let Some(publish) = publish else {
        return Finding::well(Subject::Ports, format!("the ranges have ports for {most} engines"));
    };
    let address = publish.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let tried = || (ranges.host.first()..=ranges.host.last()).take(TRIED_MAX);
    let held: Vec<u16> = tried().filter(|port| TcpListener::bind((address, *port)).is_err()).collect();
    let free = ranges.host.count() - held.len();
    let shown: Vec<String> = held.iter().take(5).map(u16::to_string).collect();
    if free < needed {
        let text = format!(
            "of PORT_RANGE_HOST {} only {free} ports are free on {address}, {needed} are needed",
            ranges.host
        );
        return Finding::failed(Subject::Ports, text, remedy);
    }
    if held.is_empty() {
        return Finding::well(
            Subject::Ports,
            format!("PORT_RANGE_HOST {} is free on {address}", ranges.host),
        );
    }
    let text =
        format!("{} ports of PORT_RANGE_HOST are in use on {address}: {}", held.len(), shown.join(", "));
    Finding::noted(Subject::Ports, text, "nothing to do: engines have them, or they are passed over")
}

/// Whether the variant runs on this machine and its image is there.
async fn image(docker: &dyn Docker, options: &YardOptions, image: &str, architecture: &str) -> Finding {
    if let Some(variant) = options.setup.variant {
        let usual = Variant::of_architecture(architecture);
        if !variant.runs_on(architecture) {
            let text = format!("ENGINE_VARIANT {variant} is not made for {architecture}");
            let remedy = format!("leave ENGINE_VARIANT out, or set it to {usual}");
            return Finding::failed(Subject::Image, text, &remedy);
        }
    }
    match docker.has_image(image).await {
        Ok(true) => Finding::well(Subject::Image, format!("{image} is there")),
        Ok(false) => {
            let minutes = Duration::as_secs(&options.pull_timeout) / 60;
            let text = format!(
                "{image} is not there and is pulled when the first engine starts, within {minutes} min"
            );
            Finding::noted(Subject::Image, text, &format!("pull it now: docker pull {image}"))
        }
        Err(error) => fault(&error),
    }
}

/// Whether an engine answers as one.
async fn handshake(authority: &Authority, name: &str) -> Finding {
    match check(authority).await {
        Ok(found) => {
            let version = found.build.version.unwrap_or_else(|| "an engine of unknown version".to_owned());
            Finding::well(Subject::Engine, format!("{name} answers at {}: {version}", found.address))
        }
        Err(fault) => {
            let remedy = "start it, or correct its address; for one in Docker look at docker logs";
            Finding::failed(Subject::Engine, format!("{name}: {fault}"), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::ports::PortRange;
    use crate::engines::simulated::{Simulated, yard};

    async fn examined(docker: &Simulated, change: impl FnOnce(&mut YardOptions)) -> Vec<Finding> {
        let mut options = yard();
        change(&mut options);
        let mut findings = Vec::new();
        daemon(docker, &options, "here", true, &mut findings).await;
        findings
    }

    fn states(findings: &[Finding]) -> Vec<(Subject, State)> {
        findings.iter().map(|finding| (finding.subject, finding.state)).collect()
    }

    /// Guards a machine on which all is well before the first start, and that what is noted fails nothing.
    #[tokio::test]
    async fn a_machine_that_is_well_is_said_to_be() {
        let findings = examined(&Simulated::default(), |_| {}).await;
        let subjects: Vec<Subject> = findings.iter().map(|finding| finding.subject).collect();
        use Subject::{Api, Docker, Engine, Image, Ports, Rights};
        assert_eq!(subjects, [Docker, Api, Rights, Ports, Image, Engine]);
        assert_eq!(exit_code(&findings), 0, "{findings:?}");
        let pulled = Simulated { pull: Some(Vec::new()), ..Simulated::default() };
        let findings = examined(&pulled, |_| {}).await;
        assert_eq!(states(&findings)[4], (Image, State::Noted));
        assert!(findings[4].remedy.as_ref().is_some_and(|remedy| remedy.contains("docker pull")));
        assert_eq!(exit_code(&findings), 0);
    }

    /// Guards what fails: each with its own exit code and a remedy.
    #[tokio::test]
    async fn what_fails_has_its_code_and_remedy() {
        let docker = Simulated::default();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let range = |first, last| PortRange::new(first, last).unwrap();
        let few = examined(&docker, |yard| yard.ranges.host = range(19000, 19000)).await;
        let held = examined(&docker, |yard| {
            (yard.ranges.host, yard.limits.max) = (range(port, port), 1);
        })
        .await;
        let foreign = examined(&docker, |yard| yard.setup.variant = Some(Variant::JopsisArm64)).await;
        for (findings, code, says) in
            [(few, 13, "PORT_RANGE_HOST"), (held, 13, "only 0 ports"), (foreign, 14, "jopsis-arm64")]
        {
            assert_eq!(exit_code(&findings), code, "{findings:?}");
            let failed = findings.iter().find(|finding| finding.state == State::Failed).unwrap();
            assert!(failed.text.contains(says) && failed.remedy.is_some(), "{failed:?}");
        }
        let at = || "here".to_owned();
        for (error, code) in [
            (Error::Unreachable { at: at(), reason: "no".to_owned() }, 10),
            (Error::Forbidden { at: at(), call: "list", reason: "no".to_owned() }, 11),
            (Error::TooOld { version: "1.40".to_owned() }, 12),
        ] {
            assert_eq!(exit_code(&[fault(&error)]), code);
        }
    }

    /// Guards the handshake of engines that are named: one that answers, one that does not.
    #[test]
    fn engines_are_spoken_to() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let engine = crate::StaticEngine { authority: closed.to_string(), group: None };
        let findings = examine(None, &[engine]).unwrap();
        assert_eq!((states(&findings), exit_code(&findings)), (vec![(Subject::Engine, State::Failed)], 15));
    }
}
