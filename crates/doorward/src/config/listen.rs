//! Where the gateway listens, and to whom: `host`, `port`, `tls`, `trustedProxies`,
//! `allowedHosts`, `cors`, `ipFilter`.
//!
//! Anything but loopback needs TLS, here or in a proxy that is named: keys and
//! results would otherwise cross the network in the clear.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::file::{GatewayFile, OneOrMany};
use super::network::Network;

/// Port without configuration.
pub const DEFAULT_PORT: u16 = 3100;

/// Where the gateway listens, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address or name to bind.
    pub host: String,
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
    /// Certificate and key, when TLS ends here.
    pub tls: Option<Tls>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Names the gateway answers to, beside loopback and the bound address.
    pub allowed_hosts: Vec<String>,
    /// Web origins that may call it, beside loopback; `*` for any.
    pub origins: Vec<String>,
    /// Addresses that may call it at all.
    pub ip_filter: Option<IpFilter>,
}

/// Files for TLS, in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Which addresses may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpFilter {
    /// Whether `networks` are the only ones let in, or the ones kept out.
    pub mode: IpFilterMode,
    /// The networks.
    pub networks: Vec<Network>,
}

impl IpFilter {
    /// Whether calls from this address are let in.
    pub fn admits(&self, address: IpAddr) -> bool {
        let named = self.networks.iter().any(|network| network.contains(address));
        named == (self.mode == IpFilterMode::Allowlist)
    }
}

/// How an [`IpFilter`] reads its networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IpFilterMode {
    /// Only these come in.
    #[default]
    Allowlist,
    /// All but these come in.
    Denylist,
}

/// `tls` in the file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(crate) struct TlsFile {
    /// Certificate chain, PEM; relative to this file.
    cert: String,
    /// Private key, PEM; relative to this file.
    key: String,
}

/// `cors` in the file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct CorsFile {
    /// Web origins that may call the gateway, `https://app.example`, or `*`.
    origin: Option<OneOrMany>,
}

/// `ipFilter` in the file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct IpFilterFile {
    /// Whether addresses are filtered at all.
    enabled: bool,
    /// Whether `ips` are the only ones let in, or the ones kept out.
    mode: IpFilterMode,
    /// Addresses, networks such as `10.0.0.0/8`, or `*`.
    ips: Vec<String>,
}

pub(crate) fn build(file: &GatewayFile, context: &mut Context<'_>) -> Listen {
    let host = file.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| "127.0.0.1".to_owned());
    let tls = file.tls.as_ref().map(|tls| Tls {
        cert: context.existing("tls.cert", &tls.cert),
        key: context.existing("tls.key", &tls.key),
    });
    let trusted_proxies = networks(&file.trusted_proxies, "trustedProxies", context);
    let origins = file.cors.as_ref().and_then(|cors| cors.origin.clone()).unwrap_or_default().0;
    names(&file.allowed_hosts, &origins, context);
    let listen = Listen {
        port: port(file, context),
        tls,
        trusted_proxies,
        allowed_hosts: file.allowed_hosts.clone(),
        origins,
        ip_filter: file.ip_filter.as_ref().filter(|filter| filter.enabled).map(|filter| IpFilter {
            mode: filter.mode,
            networks: networks(&filter.ips, "ipFilter.ips", context),
        }),
        host,
    };
    if !listen.is_loopback() && listen.tls.is_none() && listen.trusted_proxies.is_empty() {
        context
            .findings
            .error("open-bind", "host", format!("`{}` can be reached by others, and there is no TLS", listen.host))
            .remedy("set `tls: {cert: …, key: …}`, name the proxy that ends TLS in `trustedProxies`, or bind 127.0.0.1");
    }
    if file.trusted_proxies.iter().any(|network| network == "*") {
        context
            .findings
            .warn("any-proxy", "trustedProxies", "whoever calls may say which address it calls from")
            .remedy("name the addresses of the proxies");
    }
    if listen.origins.iter().any(|origin| origin == "*") {
        context
            .findings
            .warn("any-origin", "cors.origin", "every web page may call this gateway")
            .remedy("name the origins that need it");
    }
    listen
}

/// Looks for names and origins that no request can have.
fn names(hosts: &[String], origins: &[String], context: &mut Context<'_>) {
    for (index, host) in hosts.iter().enumerate().filter(|(_, host)| !is_host(host)) {
        context
            .findings
            .warn("host-name", format!("allowedHosts[{index}]"), format!("`{host}` is no name of a host"))
            .remedy("write gate.example, 192.0.2.1 or 2001:db8::1, without scheme, port, path or `*`");
    }
    for (index, origin) in origins.iter().enumerate().filter(|(_, origin)| !is_origin(origin)) {
        let place =
            if origins.len() == 1 { "cors.origin".to_owned() } else { format!("cors.origin[{index}]") };
        context
            .findings
            .warn("origin", place, format!("`{origin}` is no origin of a web page"))
            .remedy("write https://app.example or http://app.example:8080, without path, or `*` alone");
    }
}

/// A name or an address, as `Host` has it without its port and brackets.
fn is_host(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.bytes().all(fits))
}

/// What a browser says in `Origin`: scheme, host, and the port unless it is the scheme's own.
fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some((scheme, rest)) = text.trim_end_matches('/').split_once("://") else { return false };
    let is_scheme =
        !scheme.is_empty() && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':').or(rest.is_empty().then_some("1"))),
        None => rest.split_once(':').map_or((rest, Some("1")), |(host, port)| (host, Some(port))),
    };
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "https" => 443,
        "http" => 80,
        _ => 0,
    };
    is_scheme
        && is_host(host)
        && port.and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port != usual)
}

impl Listen {
    /// Whether only this machine can reach the gateway.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// Whether only this machine can reach whoever binds this host.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn port(file: &GatewayFile, context: &mut Context<'_>) -> u16 {
    let configured = file.port.unwrap_or(DEFAULT_PORT);
    let Some(text) = (context.variables)("MCP_GATEWAY_PORT").filter(|text| !text.is_empty()) else {
        return configured;
    };
    text.parse().unwrap_or_else(|_| {
        context.findings.error("port", "port", "the environment variable MCP_GATEWAY_PORT is no port number");
        configured
    })
}

fn networks(texts: &[String], path: &str, context: &mut Context<'_>) -> Vec<Network> {
    let mut networks = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(_) => {
                context
                    .findings
                    .error(
                        "network",
                        format!("{path}[{index}]"),
                        format!("`{text}` is no address and no network"),
                    )
                    .remedy("write 10.1.2.3, 10.0.0.0/8, 2001:db8::/32 or `*`");
            }
        }
    }
    networks
}
