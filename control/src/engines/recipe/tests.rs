use super::*;

fn site() -> Site {
    Site {
        label: "orchestrator.managed=acestream".parse().unwrap(),
        instance: "one".to_owned(),
        network: Network::Bridge,
        publish: [127, 0, 0, 1].into(),
        has_https_mapped: false,
        memory_bytes: None,
        folders: Vec::new(),
    }
}

fn order() -> Order {
    Order {
        name: "acestream-1".to_owned(),
        ports: Ports { http: 19000, second: 45000, host_https: None, p2p: None },
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

fn made(variant: Variant, order: &Order) -> ContainerSpec {
    container(&Recipe::of(variant, &Tags::default()), &site(), order)
}

fn env<'a>(spec: &'a ContainerSpec, name: &str) -> Option<&'a str> {
    spec.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Guards the environment of the default recipe: both forms are sent, because one generation of the image ignores
/// `CONF` and another one reads nothing else.
#[test]
fn krinkuto_gets_both_forms() {
    let spec = made(Variant::KrinkutoAmd64, &order());
    assert_eq!(spec.image, "ghcr.io/krinkuto11/acestream-http-proxy:latest");
    assert_eq!(spec.command, None);
    let expected = [
        ("BIND_ALL", "true"),
        ("CACHE_LIMIT", "1"),
        ("CONF", "--http-port=19000\n--https-port=45000\n--bind-all"),
        ("HTTPS_PORT", "45000"),
        ("HTTP_PORT", "19000"),
        ("INTERNAL_BUFFERING", "60"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(spec.env, expected);
}

/// Guards the order of precedence: a caller's `CONF` stays as it is, even empty, and the recipe's own variables win.
#[test]
fn a_callers_environment_comes_first_and_loses() {
    let mut order = order();
    let given = [("CONF", ""), ("HTTP_PORT", "1"), ("TZ", "Europe/Madrid")];
    order.env.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
    order.ports.p2p = Some(51_820);
    let spec = made(Variant::KrinkutoAmd64, &order);
    assert_eq!(env(&spec, "CONF"), Some(""));
    assert_eq!(env(&spec, "HTTP_PORT"), Some("19000"));
    assert_eq!(env(&spec, "TZ"), Some("Europe/Madrid"));
    assert_eq!(env(&spec, "P2P_PORT"), Some("51820"));
}

/// Guards the one string of `jopsis-amd64`, with the P2P port last so that it beats an earlier `--port`.
#[test]
fn jopsis_amd64_gets_one_string() {
    let mut order = order();
    order.ports.p2p = Some(6000);
    let spec = made(Variant::JopsisAmd64, &order);
    let arguments = env(&spec, "ACESTREAM_ARGS").unwrap();
    assert_eq!(spec.image, "jopsis/acestream:x64");
    assert!(arguments.starts_with(
        "--client-console --bind-all --service-remote-access --access-token acestream --service"
    ));
    assert!(
        arguments.ends_with("--log-backup-count 1 --http-port 19000 --https-port 45000 --port 6000"),
        "{arguments}"
    );
    assert_eq!(arguments.matches("--stats-report-peers").count(), 2);
    assert!(!arguments.contains("  "), "{arguments}");
}

/// Guards the commands of the other images, flag by flag.
#[test]
fn the_android_builds_get_a_command() {
    for (variant, image, command) in [
        (
            Variant::JopsisArm32,
            "jopsis/acestream:arm32-v3.2.13",
            "python main.py --bind-all --client-console --live-cache-type memory --live-mem-cache-size 104857600 \
             --disable-sentry --log-stdout --http-port 19000 --https-port 45000",
        ),
        (
            Variant::JopsisArm64,
            "jopsis/acestream:arm64-v3.2.13",
            "python main.py --bind-all --client-console --live-cache-type memory --live-mem-cache-size 104857600 \
             --disable-sentry --log-stdout --http-port 19000 --https-port 45000",
        ),
        (
            Variant::AceServeAmd64,
            "ghcr.io/krinkuto11/acestream:latest-amd64",
            "python main.py --bind-all --client-console --live-cache-type memory --live-mem-cache-size 52428800 \
             --disable-sentry --log-stdout --live-buffer 25 --disable-upnp --http-port 19000 --api-port 45000",
        ),
        (
            Variant::AceServeArm32,
            "ghcr.io/krinkuto11/acestream:latest-arm32",
            "python main.py --bind-all --client-console --live-cache-type memory --live-mem-cache-size 104857600 \
             --disable-sentry --log-stdout --http-port 19000 --api-port 45000",
        ),
        (
            Variant::AceServeArm64,
            "ghcr.io/krinkuto11/acestream:latest-arm64",
            "python main.py --bind-all --client-console --live-cache-type memory --live-mem-cache-size 104857600 \
             --disable-sentry --log-stdout --http-port 19000 --api-port 45000",
        ),
    ] {
        let spec = made(variant, &order());
        assert_eq!(spec.image, image);
        assert_eq!(spec.command.unwrap().join(" "), command, "{variant}");
        assert!(spec.env.is_empty());
    }
}

/// Guards the labels other programs and later starts read, and that nobody can overwrite them.
#[test]
fn labels_are_the_published_ones() {
    let mut order = order();
    order.labels.insert(LABEL_HOST_HTTP.to_owned(), "1".to_owned());
    order.labels.insert("mine".to_owned(), "yes".to_owned());
    let labels = made(Variant::KrinkutoAmd64, &order).labels;
    for (key, value) in [
        ("orchestrator.managed", "acestream"),
        ("acestream.http_port", "19000"),
        ("acestream.https_port", "45000"),
        ("host.http_port", "19000"),
        ("acestream.engine_variant", "krinkuto11-amd64"),
        ("sluice.instance", "one"),
        ("mine", "yes"),
    ] {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(!labels.contains_key("host.https_port") && !labels.contains_key("acestream.forwarded"));
    let labels = made(Variant::AceServeAmd64, &order).labels;
    assert_eq!(labels["acestream.api_port"], "45000");
    assert!(!labels.contains_key("acestream.https_port"));
}

/// Guards what is published, where, and that nothing is on the host's own network.
#[test]
fn ports_are_published_on_the_operators_address() {
    let shown = |site: &Site, variant, order: &Order| {
        let spec = container(&Recipe::of(variant, &Tags::default()), site, order);
        let one = |port: &Published| {
            format!("{}:{}->{}/{}", port.address, port.host_port, port.container_port, port.protocol.as_str())
        };
        spec.ports.iter().map(one).collect::<Vec<_>>()
    };
    let (mut site, mut order) = (site(), order());
    assert_eq!(shown(&site, Variant::JopsisAmd64, &order), ["127.0.0.1:19000->19000/tcp"]);
    assert_eq!(
        shown(&site, Variant::AceServeAmd64, &order),
        ["127.0.0.1:19000->19000/tcp", "127.0.0.1:45000->45000/tcp"]
    );
    site.has_https_mapped = true;
    order.ports.host_https = Some(19001);
    order.ports.p2p = Some(6000);
    assert_eq!(
        shown(&site, Variant::JopsisAmd64, &order),
        [
            "127.0.0.1:19000->19000/tcp",
            "127.0.0.1:19001->45000/tcp",
            "0.0.0.0:6000->6000/tcp",
            "0.0.0.0:6000->6000/udp"
        ]
    );
    site.network = Network::Host;
    assert!(shown(&site, Variant::JopsisAmd64, &order).is_empty());
}

/// Guards names, and the choice for a host nobody chose for.
#[test]
fn variants_have_names_and_hosts() {
    for variant in Variant::ALL {
        assert_eq!(Variant::named(variant.as_str()), Some(variant));
    }
    assert_eq!(Variant::named("aceserve-AMD64"), Some(Variant::AceServeAmd64));
    assert_eq!(Variant::named("krinkuto11"), None);
    for (architecture, variant) in [
        ("amd64", Variant::KrinkutoAmd64),
        ("x86_64", Variant::KrinkutoAmd64),
        ("arm64", Variant::JopsisArm64),
        ("aarch64", Variant::JopsisArm64),
        ("arm", Variant::JopsisArm32),
        ("armv7l", Variant::JopsisArm32),
        ("riscv64", Variant::KrinkutoAmd64),
    ] {
        assert_eq!(Variant::of_architecture(architecture), variant, "{architecture}");
    }
}

/// Guards that a change of what engines are made from is noticed, and that names and ports are no such change.
#[test]
fn the_fingerprint_follows_recipe_and_site() {
    let recipe = Recipe::of(Variant::JopsisAmd64, &Tags::default());
    let print = fingerprint(&recipe, &site());
    assert_eq!(print.len(), 16);
    let mut other = site();
    other.instance = "two".to_owned();
    assert_eq!(fingerprint(&recipe, &other), print);
    other.memory_bytes = Some(1 << 30);
    assert_ne!(fingerprint(&recipe, &other), print);
    assert_ne!(fingerprint(&Recipe::of(Variant::JopsisArm64, &Tags::default()), &site()), print);
}
