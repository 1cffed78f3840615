use super::*;
use crate::docker::Change;
use axum::extract::{Request, State as Held};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use std::sync::Mutex;

/// A daemon that answers from a table and remembers what it was asked.
#[derive(Clone)]
struct Daemon {
    api: &'static str,
    answers: Vec<(&'static str, u16, String)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn new(api: &'static str) -> Self {
        Self { api, answers: Vec::new(), asked: Arc::default() }
    }

    /// Answers every path that ends so.
    fn answering(mut self, path: &'static str, status: u16, body: impl Into<String>) -> Self {
        self.answers.push((path, status, body.into()));
        self
    }

    async fn start(self) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = axum::Router::new().fallback(answer).with_state(self);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Client::new(Host::new(Some(&format!("tcp://127.0.0.1:{port}")), None).unwrap())
    }
}

async fn answer(Held(daemon): Held<Daemon>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    daemon.asked.lock().unwrap().push(request.uri().to_string());
    if path.ends_with("/version") {
        let body = format!(r#"{{"ApiVersion":"{}","Version":"20.10.24","Arch":"amd64"}}"#, daemon.api);
        return (StatusCode::OK, body).into_response();
    }
    match daemon.answers.iter().find(|(end, ..)| path.ends_with(end)) {
        Some((_, status, body)) => (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, r#"{"message":"page not found"}"#).into_response(),
    }
}

/// Guards the version every path is asked with: the older of ours and the daemon's.
#[tokio::test]
async fn the_older_version_of_both_sides_is_spoken() {
    for (theirs, spoken) in [("1.41", "1.41"), ("1.50", "1.50"), ("1.99", "1.53")] {
        let daemon = Daemon::new(theirs).answering("/containers/json", 200, "[]");
        let asked = daemon.asked.clone();
        let client = daemon.start().await;
        assert_eq!(client.list().await, Ok(Vec::new()));
        assert_eq!(client.version().await.unwrap().api, spoken);
        let asked = asked.lock().unwrap().clone();
        assert!(asked[0].ends_with("/version") && !asked[0].contains("/v1."), "{asked:?}");
        assert!(asked[1].contains(&format!("/v{spoken}/containers/json?all=true")), "{asked:?}");
    }
}

/// Guards the refusal of a daemon that lacks what is needed, by its version and not by strange errors later.
#[tokio::test]
async fn a_daemon_before_1_41_is_refused() {
    let client = Daemon::new("1.40").start().await;
    assert_eq!(client.list().await, Err(Error::TooOld { version: "1.40".to_owned() }));
}

/// Guards what a container becomes on its way from the daemon's list.
#[tokio::test]
async fn a_list_is_read_whole() {
    let body = r#"[{"Id":"0123456789abcdef","Names":["/acestream-1"],"Image":"jopsis/acestream:x64","State":"running",
        "Labels":{"host.http_port":"19000"},
        "Ports":[{"IP":"0.0.0.0","PrivatePort":19000,"PublicPort":19000,"Type":"tcp"},
                 {"IP":"::","PrivatePort":19000,"PublicPort":19000,"Type":"tcp"},
                 {"PrivatePort":6878,"Type":"tcp"}],
        "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2"},"none":{"IPAddress":""}}}},
        {"Names":["/without-id"],"State":"running"}]"#;
    let client = Daemon::new("1.41").answering("/containers/json", 200, body).start().await;
    let list = client.list().await.unwrap();
    let [container] = list.as_slice() else { panic!("{list:?}") };
    assert_eq!((container.name.as_str(), container.id.short()), ("acestream-1", "0123456789ab"));
    assert_eq!(container.host_ports, [19000]);
    assert_eq!(container.addresses.len(), 1);
    assert_eq!(container.addresses["bridge"], std::net::IpAddr::from([172, 17, 0, 2]));
}

/// Guards the faults the planner tells apart, and that a container which is gone is no fault for a stop and a removal.
#[tokio::test]
async fn faults_are_told_apart() {
    let client = Daemon::new("1.41")
        .answering("/containers/create", 404, r#"{"message":"No such image: a:b"}"#)
        .answering("/images/there/json", 200, "{}")
        .answering("/busy", 409, r#"{"message":"removal of container busy is already in progress"}"#)
        .answering("/events", 403, "not for you")
        .answering(
            "/images/create",
            200,
            "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"denied\"},\"error\":\"denied\"}\r\n",
        )
        .start()
        .await;
    let spec = ContainerSpec {
        name: "n".to_owned(),
        image: "a:b".to_owned(),
        env: Vec::new(),
        command: None,
        labels: Default::default(),
        network: super::super::Network::Bridge,
        ports: Vec::new(),
        memory_bytes: None,
        folders: Vec::new(),
    };
    let gone = ContainerId("gone".into());
    assert_eq!(client.create(&spec).await, Err(Error::NoImage { image: "a:b".to_owned() }));
    assert_eq!(client.start(&gone).await, Err(Error::NoContainer { id: "gone".to_owned() }));
    assert_eq!(client.stop(&gone, Duration::ZERO).await, Ok(()));
    assert_eq!(client.remove(&gone).await, Ok(()));
    assert_eq!(client.remove(&ContainerId("busy".into())).await, Ok(()));
    assert_eq!(client.has_image("there").await, Ok(true));
    assert_eq!(client.has_image("elsewhere").await, Ok(false));
    let event = client.events().await.unwrap().next().await;
    assert_eq!(event.unwrap().unwrap_err().code(), "docker_forbidden");
    let pull: Vec<_> = client.pull("a:b").await.unwrap().collect().await;
    assert_eq!(pull.last().unwrap().as_ref().unwrap_err().code(), "pull_refused", "{pull:?}");
}

/// Guards what is heard of the end of a process: its code, and apart from it that the kernel killed it for its memory.
#[tokio::test]
async fn ends_are_heard_with_their_codes() {
    let event = |action: &str, attributes: &str| {
        format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"one","Attributes":{{{attributes}}}}}}}"#
        )
    };
    let lines =
        [event("oom", ""), event("die", r#""exitCode":"137""#), event("die", ""), event("exec_start", "")];
    let client = Daemon::new("1.41").answering("/events", 200, lines.join("\n")).start().await;
    let heard: Vec<_> = client.events().await.unwrap().map(|event| event.unwrap().change).collect().await;
    assert_eq!(heard, [Change::OomKilled, Change::Died(Some(137)), Change::Died(None)]);
}

/// Guards that a missing daemon, a closed port and a socket nobody may open are named, each with its remedy.
#[tokio::test]
async fn an_absent_daemon_is_named() {
    let missing = Client::new(Host::Unix("/nonexistent/docker.sock".into()));
    assert_eq!(missing.version().await.unwrap_err().code(), "docker_unreachable");
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let closed = Client::new(Host::Tcp { name: "127.0.0.1".to_owned(), port, tls: None });
    let error = closed.list().await.unwrap_err();
    assert_eq!(error.code(), "docker_unreachable", "{error}");
    assert!(error.is_absence() && error.remedy().contains("DOCKER_HOST"));
}

/// Guards the deadline of a daemon that takes connections and never answers.
#[tokio::test]
async fn a_silent_daemon_is_late() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::new(Host::Tcp { name: "127.0.0.1".to_owned(), port, tls: None });
    let after = Duration::from_millis(20);
    let outcome = client.call("version", after, async |docker| docker.version().await).await;
    assert_eq!(outcome.unwrap_err(), Error::Late { call: "version", after });
    drop(listener);
}
