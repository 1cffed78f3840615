//! Settings of engines kept in Docker.

use super::assemble::contradiction;
use super::names::{self, Kind, Variable};
use super::parse;
use super::reader::Reader;
use super::{Docker, EngineNetwork};
use std::path::PathBuf;

/// Bounds of an engine's memory: below, none starts; above, it is a mistake.
const MEMORY_BYTES: std::ops::RangeInclusive<u64> = 32 << 20..=128 << 30;

/// Whether engines are to be kept in Docker.
pub(super) fn is_wanted(reader: &mut Reader) -> bool {
    let mut is_given =
        |variables: &[&'static Variable]| variables.iter().any(|variable| reader.given(variable).is_some());
    let are_named = is_given(&[&names::STATIC_ENGINES, &names::ACEXY_HOST, &names::ACEXY_PORT]);
    let is_spoken_of =
        is_given(&[&names::DOCKER_HOST, &names::ENGINE_VARIANT, &names::MIN_REPLICAS, &names::MAX_REPLICAS]);
    match reader.choice(&names::ENGINE_PROVISIONING) {
        Some(1) => true,
        Some(2) => false,
        _ => !are_named || is_spoken_of,
    }
}

/// Whether they are to be kept there only because nobody said anything of engines: where there is no Docker then, none is missed.
pub(super) fn is_tried(reader: &mut Reader) -> bool {
    let said: [&'static Variable; 7] = [
        &names::STATIC_ENGINES,
        &names::ACEXY_HOST,
        &names::ACEXY_PORT,
        &names::DOCKER_HOST,
        &names::ENGINE_VARIANT,
        &names::MIN_REPLICAS,
        &names::MAX_REPLICAS,
    ];
    is_wanted(reader)
        && reader.choice(&names::ENGINE_PROVISIONING) != Some(1)
        && said.into_iter().all(|variable| reader.given(variable).is_none())
}

/// Whether engines were asked for behind a VPN.
pub(super) fn is_vpn_asked(reader: &mut Reader) -> bool {
    let is_redundant = reader.choice(&names::VPN_MODE) == Some(1);
    let is_named = reader.given(&names::GLUETUN_CONTAINER_NAME).is_some();
    if is_redundant || is_named {
        reader.warn(
            "vpn_not_supported: a VPN is asked for (GLUETUN_CONTAINER_NAME, VPN_MODE), which this version does not have; \
             no engine is started or used"
                .to_owned(),
        );
    }
    is_redundant || is_named
}

/// Reads all of them, also when engines are not wanted: a typo is a typo.
pub(super) fn docker(reader: &mut Reader) -> Option<Docker> {
    let is_wanted = is_wanted(reader);
    let host = text(reader, &names::DOCKER_HOST);
    let has_tls = reader.given(&names::DOCKER_TLS_VERIFY).is_some();
    let certificates = text(reader, &names::DOCKER_CERT_PATH).map(PathBuf::from);
    if has_tls && certificates.is_none() {
        let other = "DOCKER_CERT_PATH, which is not set".to_owned();
        contradiction(
            reader,
            &names::DOCKER_TLS_VERIFY,
            other,
            "name the directory of ca.pem, cert.pem and key.pem",
        );
    }
    let is_encrypted = has_tls || host.as_deref().is_some_and(|host| host.starts_with("https://"));
    let publish = reader.value(&names::ENGINE_PUBLISH_ADDR, parse::ip);
    let replicas_min = number(reader, &names::MIN_REPLICAS);
    let replicas_max = number(reader, &names::MAX_REPLICAS);
    if replicas_max < replicas_min {
        let other = format!("MIN_REPLICAS ({replicas_min})");
        contradiction(reader, &names::MAX_REPLICAS, other, "it is the upper bound and cannot be lower");
    }
    let replicas_free_min = number(reader, &names::MIN_FREE_REPLICAS);
    if replicas_free_min > replicas_max {
        let other = format!("MAX_REPLICAS ({replicas_max})");
        contradiction(
            reader,
            &names::MIN_FREE_REPLICAS,
            other,
            "no more engines can be free than there may be",
        );
    }
    let breaker = |reader: &mut Reader, threshold, recovery| {
        (number(reader, threshold), reader.span(recovery).unwrap_or_default())
    };
    let settings = Docker {
        host,
        certificates: certificates.filter(|_| is_encrypted),
        network: reader.value(&names::ENGINE_NETWORK, network),
        publish,
        label: reader.value(&names::CONTAINER_LABEL, label).unwrap_or_default(),
        instance: reader.value(&names::INSTANCE_ID, instance),
        variant: variant(reader),
        arm_tags: (
            reader.value(&names::ENGINE_ARM32_VERSION, tag).unwrap_or_default(),
            reader.value(&names::ENGINE_ARM64_VERSION, tag).unwrap_or_default(),
        ),
        memory_bytes: reader.value(&names::ENGINE_MEMORY_LIMIT, memory).flatten(),
        pull_timeout: reader.span(&names::IMAGE_PULL_TIMEOUT_S).unwrap_or_default(),
        cache_bytes_max: reader
            .count(&names::ENGINE_CACHE_MAX_MIB)
            .filter(|mib| *mib > 0)
            .map(|mib| mib << 20),
        host_ports: reader.value(&names::PORT_RANGE_HOST, parse::port_range).unwrap_or((19_000, 19_999)),
        https_ports: reader.value(&names::ACE_HTTPS_RANGE, parse::port_range).unwrap_or((45_000, 49_999)),
        has_https_mapped: reader.switch(&names::ACE_MAP_HTTPS),
        p2p_ports: reader.value(&names::P2P_PORT_RANGE, parse::port_range),
        startup_timeout: reader.span(&names::STARTUP_TIMEOUT_S).unwrap_or_default(),
        monitor_interval: reader.span(&names::MONITOR_INTERVAL_S).unwrap_or_default(),
        unhealthy_grace: reader.span(&names::HEALTH_UNHEALTHY_GRACE_PERIOD_S).unwrap_or_default(),
        replacement_cooldown: reader.span(&names::HEALTH_REPLACEMENT_COOLDOWN_S).unwrap_or_default(),
        breaker: breaker(
            reader,
            &names::CIRCUIT_BREAKER_FAILURE_THRESHOLD,
            &names::CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S,
        ),
        replacement_breaker: breaker(
            reader,
            &names::CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD,
            &names::CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S,
        ),
        replicas_min,
        replicas_max,
        surge_max: number(reader, &names::MAX_SURGE),
        replicas_free_min,
        is_auto_delete: reader.switch(&names::AUTO_DELETE),
        grace: reader.span(&names::ENGINE_GRACE_PERIOD_S).unwrap_or_default(),
        provisions_max: number(reader, &names::MAX_CONCURRENT_PROVISIONS),
        provision_interval: reader.span(&names::MIN_PROVISION_INTERVAL_S).unwrap_or_default(),
    };
    let (first, last) = settings.host_ports;
    let each = if settings.has_https_mapped { 2 } else { 1 };
    let fitting = (u32::from(last - first) + 1) / each;
    if is_wanted && fitting < settings.replicas_max {
        reader.warn(format!(
            "PORT_RANGE_HOST {first}-{last} has ports for {fitting} engines and MAX_REPLICAS is {}",
            settings.replicas_max
        ));
    }
    is_wanted.then_some(settings)
}

fn text(reader: &mut Reader, variable: &Variable) -> Option<String> {
    reader.value(variable, |text| Ok::<_, String>(text.to_owned()))
}

/// A count whose bounds fit.
fn number(reader: &mut Reader, variable: &Variable) -> u32 {
    reader.count(variable).and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

fn variant(reader: &mut Reader) -> Option<&'static str> {
    let Kind::Choice(words) = names::ENGINE_VARIANT.kind else { return None };
    reader.choice(&names::ENGINE_VARIANT).and_then(|at| words.get(at).copied())
}

fn network(text: &str) -> Result<EngineNetwork, String> {
    let is_name =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    match text {
        "host" => Ok(EngineNetwork::Host),
        "bridge" | "default" => Ok(EngineNetwork::Bridge),
        "none" => Err("engines without a network cannot be reached".to_owned()),
        text if text.starts_with("container:") => {
            Err("joining another container's network is not supported".to_owned())
        }
        text if is_name(text) => Ok(EngineNetwork::Named(text.to_owned())),
        _ => Err("it is no name of a network".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    // Only the first equals sign divides: a value may hold more.
    let (key, value) = text.split_once('=').ok_or("it is not key=value")?;
    if key.trim().is_empty() {
        return Err("the key before = is empty".to_owned());
    }
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn instance(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text.len() <= 64 && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("it is no mark".to_owned())
    }
}

fn tag(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text.len() <= 128 && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("it is no tag of an image".to_owned())
    }
}

/// Docker's own form: digits and one letter, powers of 1024; `None` is no limit.
fn memory(text: &str) -> Result<Option<u64>, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match lower.strip_suffix(['b', 'k', 'm', 'g']) {
        Some(digits) => (digits, lower.as_bytes()[digits.len()]),
        None => (lower.as_str(), b'b'),
    };
    let shift = match unit {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        _ => 0,
    };
    let number = parse::count(digits)?;
    let bytes = number.checked_mul(1 << shift).ok_or("the number is too large")?;
    match bytes {
        0 => Ok(None),
        bytes if MEMORY_BYTES.contains(&bytes) => Ok(Some(bytes)),
        _ => Err("it is outside of 32m to 128g".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, Settings};
    use super::*;

    fn load(vars: &[(&str, &str)]) -> Result<Settings, String> {
        let host = Host { cores: 2, memory_bytes: None, descriptors: Some(4096) };
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match Settings::from_env_on(&host, vars, None) {
            Ok(loaded) => Ok(loaded.settings),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    /// Guards when engines are kept in Docker, and that a last resort nobody named is not waited for then.
    #[test]
    fn engines_are_kept_in_docker_unless_others_are_named() {
        for (vars, is_wanted) in [
            (&[][..], true),
            (&[("STATIC_ENGINES", "a:1")], false),
            (&[("ACEXY_HOST", "a")], false),
            (&[("STATIC_ENGINES", "a:1"), ("MIN_REPLICAS", "1")], true),
            (&[("STATIC_ENGINES", "a:1"), ("ENGINE_PROVISIONING", "on")], true),
            (&[("ENGINE_PROVISIONING", "off")], false),
        ] {
            let settings = load(vars).unwrap();
            assert_eq!(settings.docker.is_some(), is_wanted, "{vars:?}");
            let is_default = vars.is_empty() || vars[0].0 == "ENGINE_PROVISIONING";
            assert_eq!(
                settings.engines.fallback_engine.is_some() && is_default,
                is_default && !is_wanted,
                "{vars:?}"
            );
        }
    }

    /// Guards that an engine is assumed only where nobody said anything of engines or of Docker.
    #[test]
    fn an_engine_is_assumed_when_nothing_is_said() {
        let assumed = |vars: &[(&str, &str)]| load(vars).unwrap().engines.assumed_engine;
        assert_eq!(assumed(&[]).map(|engine| engine.to_string()).as_deref(), Some("localhost:6878"));
        for vars in [
            ("STATIC_ENGINES", "a:1"),
            ("ACEXY_PORT", "7000"),
            ("DOCKER_HOST", "unix:///run/docker.sock"),
            ("ENGINE_VARIANT", "jopsis-amd64"),
            ("MIN_REPLICAS", "1"),
            ("ENGINE_PROVISIONING", "on"),
            ("ENGINE_PROVISIONING", "off"),
        ] {
            assert_eq!(assumed(&[vars]), None, "{vars:?}");
        }
    }

    /// Guards the defaults of the program this one replaces.
    #[test]
    fn defaults_are_the_published_ones() {
        let docker = load(&[]).unwrap().docker.unwrap();
        assert_eq!((docker.replicas_min, docker.replicas_max, docker.replicas_free_min), (2, 6, 1));
        assert_eq!((docker.host_ports, docker.https_ports), ((19_000, 19_999), (45_000, 49_999)));
        assert_eq!(docker.label, ("ondemand.app".to_owned(), "myservice".to_owned()));
        assert_eq!((docker.breaker.0, docker.replacement_breaker.0), (5, 3));
        assert!(docker.is_auto_delete && docker.variant.is_none() && docker.host.is_none());
    }

    /// Guards that what cannot work is refused at start, naming the variable.
    #[test]
    fn what_cannot_work_is_refused() {
        for (name, value) in [
            ("CONTAINER_LABEL", "managed"),
            ("ENGINE_VARIANT", "acestream"),
            ("ENGINE_MEMORY_LIMIT", "16m"),
            ("ENGINE_MEMORY_LIMIT", "1.5g"),
            ("ENGINE_MEMORY_LIMIT", "200g"),
            ("PORT_RANGE_HOST", "19999-19000"),
            ("P2P_PORT_RANGE", "0-7"),
            ("ENGINE_NETWORK", "container:gluetun"),
            ("MAX_REPLICAS", "1"),
            ("MIN_FREE_REPLICAS", "7"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("INSTANCE_ID", "a b"),
        ] {
            let error = load(&[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{name}={value}: {error}");
        }
    }

    /// Guards Docker's own form of sizes, and labels whose value holds an equals sign.
    #[test]
    fn sizes_and_labels_are_read_as_docker_reads_them() {
        assert_eq!(memory("512m"), Ok(Some(512 << 20)));
        assert_eq!(memory("1G"), Ok(Some(1 << 30)));
        assert_eq!(memory("67108864"), Ok(Some(64 << 20)));
        assert_eq!(memory("0"), Ok(None));
        assert!(memory("99999999999999999999g").is_err() && memory("m").is_err());
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(network("default"), Ok(EngineNetwork::Bridge));
    }

    /// Guards that a VPN that was asked for is known as such.
    #[test]
    fn a_vpn_that_is_asked_for_is_known() {
        assert!(!load(&[]).unwrap().is_vpn_asked);
        assert!(load(&[("GLUETUN_CONTAINER_NAME", "gluetun")]).unwrap().is_vpn_asked);
        assert!(load(&[("VPN_MODE", "redundant")]).unwrap().is_vpn_asked);
    }
}
