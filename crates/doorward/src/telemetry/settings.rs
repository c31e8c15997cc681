//! The variables of OpenTelemetry, read once.
//!
//! The headers are secrets: no error and no log line repeats them.

use std::collections::BTreeMap;
use std::time::Duration;

use doorward_egress::Target;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::sampler::{self, Sampler};
use crate::config::Variables;

/// Where spans go, which, and how.
#[derive(Debug)]
pub struct Settings {
    /// The collector; the path is part of it.
    pub target: Target,
    /// Headers of each request, marked as sensitive.
    pub headers: HeaderMap,
    /// How long one attempt may take.
    pub attempt: Duration,
    /// When spans are sent.
    pub batch: Batch,
    /// What describes the gateway, sorted by name.
    pub resource: BTreeMap<String, String>,
    pub(super) sampler: Sampler,
}

/// When spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How long a span waits for others.
    pub delay: Duration,
    /// Calls that may wait.
    pub queue: usize,
    /// Spans in one request.
    pub spans: usize,
    /// How long a batch may take with all its attempts.
    pub within: Duration,
}

/// A variable that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct InvalidVariable {
    /// Its name.
    pub variable: &'static str,
    /// What it should have been. Never a header.
    pub problem: String,
}

type Read<T> = Result<T, InvalidVariable>;

const OURS: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const COMMON: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// What a collector at the common endpoint listens to.
const PATH: &str = "/v1/traces";
const PROTOCOL: &str = "http/protobuf";
/// TLS that is set up in ways that are not supported. To ignore these would end in
/// handshakes that fail for no visible reason.
const UNSUPPORTED: [&str; 6] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
];

impl Settings {
    /// Reads the environment; `None` if it names no collector, or says not to export.
    /// An empty variable is an unset one.
    ///
    /// # Errors
    /// The first variable that cannot be understood.
    pub fn read(variables: &Variables<'_>) -> Read<Option<Self>> {
        let set = |name: &str| variables(name).filter(|value| !value.trim().is_empty());
        if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let Some(target) = target(&set)? else { return Ok(None) };
        match set("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return invalid(
                    "OTEL_TRACES_EXPORTER",
                    format!("`{other}` is not supported: use otlp or none"),
                );
            }
        }
        let either =
            |ours, common| set(ours).map(|text| (ours, text)).or(set(common).map(|text| (common, text)));
        let protocol = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        if let Some((variable, other)) = protocol
            && other != PROTOCOL
        {
            return invalid(variable, format!("`{other}` is not supported: use {PROTOCOL}"));
        }
        if let Some(variable) = UNSUPPORTED.into_iter().find(|name| set(name).is_some()) {
            return invalid(
                variable,
                "not supported: the machine's own root certificates are trusted".to_owned(),
            );
        }
        let headers = either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        let attempt = match set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") {
            Some(_) => millis(&set, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", 10_000)?,
            None => millis(&set, "OTEL_EXPORTER_OTLP_TIMEOUT", 10_000)?,
        };
        Ok(Some(Self {
            target,
            headers: headers
                .map_or_else(|| Ok(HeaderMap::new()), |(name, text)| self::headers(name, &text))?,
            attempt,
            batch: batch(&set)?,
            resource: resource(&set)?,
            sampler: sampler(&set)?,
        }))
    }
}

fn invalid<T>(variable: &'static str, problem: String) -> Read<T> {
    Err(InvalidVariable { variable, problem })
}

/// The endpoint for traces as it stands, or the common one with the path added.
fn target(set: &impl Fn(&str) -> Option<String>) -> Read<Option<Target>> {
    let (variable, url) = match (set(OURS), set(COMMON)) {
        (Some(url), _) => (OURS, url),
        (None, Some(url)) => (COMMON, format!("{}{PATH}", url.trim_end_matches('/'))),
        (None, None) => return Ok(None),
    };
    match Target::parse(&url) {
        Ok(target) => Ok(Some(target)),
        Err(error) => invalid(variable, error.to_string()),
    }
}

fn headers(variable: &'static str, text: &str) -> Read<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(variable, text)? {
        let name = HeaderName::try_from(name.as_str());
        let value = HeaderValue::try_from(value);
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return invalid(variable, "holds what is no header; its text is not shown".to_owned());
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// `name=value,name=value`, percent-encoded.
fn pairs(variable: &'static str, text: &str) -> Read<Vec<(String, String)>> {
    let decoded =
        |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(|text| text.into_owned());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((decoded(name).filter(|name| !name.is_empty())?, decoded(value)?))
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    match parts.map(pair).collect() {
        Some(pairs) => Ok(pairs),
        None => {
            invalid(variable, "wants name=value pairs, separated by commas; its text is not shown".to_owned())
        }
    }
}

fn batch(set: &impl Fn(&str) -> Option<String>) -> Read<Batch> {
    let most = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    let queue = count(set, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)?;
    let spans = count(set, most, 512.min(queue))?;
    if spans > queue {
        return invalid(most, format!("{spans} is more than OTEL_BSP_MAX_QUEUE_SIZE, {queue}"));
    }
    Ok(Batch {
        delay: millis(set, "OTEL_BSP_SCHEDULE_DELAY", 5_000)?,
        queue,
        spans,
        within: millis(set, "OTEL_BSP_EXPORT_TIMEOUT", 30_000)?,
    })
}

/// At most a million: the queue is to be bounded.
fn count(set: &impl Fn(&str) -> Option<String>, variable: &'static str, default: usize) -> Read<usize> {
    let Some(text) = set(variable) else { return Ok(default) };
    match text.trim().parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => invalid(variable, format!("`{text}` is no number from 1 to 1000000")),
    }
}

fn millis(set: &impl Fn(&str) -> Option<String>, variable: &'static str, default: u64) -> Read<Duration> {
    let Some(text) = set(variable) else { return Ok(Duration::from_millis(default)) };
    match text.trim().parse() {
        Ok(millis @ 1..=3_600_000) => Ok(Duration::from_millis(millis)),
        _ => invalid(variable, format!("`{text}` is no number of milliseconds, of at most an hour")),
    }
}

fn resource(set: &impl Fn(&str) -> Option<String>) -> Read<BTreeMap<String, String>> {
    let own = [
        ("service.name", "doorward"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "doorward"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let mut resource: BTreeMap<_, _> =
        own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let variable = "OTEL_RESOURCE_ATTRIBUTES";
    if let Some(text) = set(variable) {
        resource.extend(pairs(variable, &text)?);
    }
    if let Some(name) = set("OTEL_SERVICE_NAME") {
        resource.insert("service.name".to_owned(), name);
    }
    Ok(resource)
}

fn sampler(set: &impl Fn(&str) -> Option<String>) -> Read<Sampler> {
    let (variable, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
    let Some(name) = set(variable) else { return Ok(Sampler::default()) };
    let ratio = match set(argument).filter(|_| name.ends_with("traceidratio")) {
        None => 1.0,
        Some(text) => match text.trim().parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => return invalid(argument, format!("`{text}` is no number from 0 to 1")),
        },
    };
    match Sampler::named(name.trim(), ratio) {
        Some(sampler) => Ok(sampler),
        None => invalid(variable, format!("`{name}` is not supported: use {}", sampler::NAMES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables = &'static [(&'static str, &'static str)];

    const AT: (&str, &str) = (COMMON, "http://127.0.0.1:4318");

    fn read(variables: &[(&str, &str)]) -> Read<Option<Settings>> {
        Settings::read(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn only_an_endpoint_starts_it_and_it_can_be_switched_off() {
        let cases: [(Variables, bool, &str); 7] = [
            (&[], false, "no endpoint"),
            (&[(COMMON, " ")], false, "an empty variable is an unset one"),
            (
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                false,
                "no endpoint, so nobody is asked to speak gRPC",
            ),
            (&[AT], true, "the common endpoint"),
            (&[(OURS, "http://127.0.0.1:4318/v1/traces")], true, "the endpoint for traces"),
            (
                &[AT, ("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_SAMPLER", "?")],
                false,
                "disabled altogether",
            ),
            (&[AT, ("OTEL_TRACES_EXPORTER", "none")], false, "no traces"),
        ];
        for (variables, starts, because) in cases {
            assert_eq!(read(variables).expect("understood").is_some(), starts, "{because}");
        }
    }

    #[test]
    fn the_path_is_added_to_the_common_endpoint_only() {
        let cases = [
            (COMMON, "http://c:4318", "http://c:4318 /v1/traces"),
            (COMMON, "http://c:4318/", "http://c:4318 /v1/traces"),
            (COMMON, "https://c/otlp", "https://c /otlp/v1/traces"),
            (OURS, "http://c:4318", "http://c:4318 /"),
            (OURS, "http://c:4318/in", "http://c:4318 /in"),
        ];
        for (variable, url, expected) in cases {
            let settings = read(&[(variable, url)]).expect("understood").expect("an endpoint");
            assert_eq!(format!("{} {}", settings.target, settings.target.path()), expected);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_and_names_what_can() {
        let cases = [
            (COMMON, "c:4318", "OTEL_EXPORTER_OTLP_ENDPOINT: not an absolute URL"),
            (
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "grpc",
                "OTEL_EXPORTER_OTLP_PROTOCOL: `grpc` is not supported: use http/protobuf",
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "http/json",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: `http/json` is not supported: use http/protobuf",
            ),
            (
                "OTEL_TRACES_EXPORTER",
                "zipkin",
                "OTEL_TRACES_EXPORTER: `zipkin` is not supported: use otlp or none",
            ),
            (
                "OTEL_TRACES_SAMPLER",
                "xray",
                "OTEL_TRACES_SAMPLER: `xray` is not supported: use always_on, always_off, traceidratio, \
                 parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
            ),
            (
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                "k.pem",
                "OTEL_EXPORTER_OTLP_CLIENT_KEY: not supported: the machine's own root certificates are trusted",
            ),
            (
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                "4096",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: 4096 is more than OTEL_BSP_MAX_QUEUE_SIZE, 2048",
            ),
            (
                "OTEL_BSP_SCHEDULE_DELAY",
                "5s",
                "OTEL_BSP_SCHEDULE_DELAY: `5s` is no number of milliseconds, of at most an hour",
            ),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "OTEL_BSP_MAX_QUEUE_SIZE: `0` is no number from 1 to 1000000"),
        ];
        for (variable, value, expected) in cases {
            let refused = read(&[(variable, value), AT]).expect_err(variable);
            assert_eq!(refused.to_string(), expected);
        }
        let ratio = [AT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        let refused = read(&ratio).expect_err("a ratio").to_string();
        assert_eq!(refused, "OTEL_TRACES_SAMPLER_ARG: `2` is no number from 0 to 1");
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let settings = read(&[AT, ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key = planted%20key ,x=1")]);
        let settings = settings.expect("understood").expect("an endpoint");
        assert_eq!(settings.headers["api-key"], "planted key");
        assert_eq!(settings.headers["x"], "1");
        assert!(!format!("{settings:?}").contains("planted"));
        for bad in ["planted", "planted key=1", "a=planted%0A"] {
            let refused = read(&[AT, ("OTEL_EXPORTER_OTLP_HEADERS", bad)]).expect_err(bad);
            assert!(!refused.to_string().contains("planted"), "{refused}");
        }
    }

    #[test]
    fn the_resource_is_named_by_the_more_specific_variable() {
        const ATTRIBUTES: (&str, &str) =
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=a%2Cb");
        let cases: [(Variables, &str); 3] = [
            (&[AT], "doorward"),
            (&[AT, ATTRIBUTES], "other"),
            (&[AT, ATTRIBUTES, ("OTEL_SERVICE_NAME", "gate")], "gate"),
        ];
        for (variables, name) in cases {
            let settings = read(variables).expect("understood").expect("an endpoint");
            assert_eq!(settings.resource["service.name"], name);
        }
        let settings = read(&[AT, ATTRIBUTES]).expect("understood").expect("an endpoint");
        assert_eq!(settings.resource["deployment.environment.name"], "a,b");
    }
}
