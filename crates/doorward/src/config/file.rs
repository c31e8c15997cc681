//! The file as it may be written: every key that is understood, by section.
//!
//! The JSON schema for editors is generated from here.

use std::fmt;

use doorward_model::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::audit::AuditFile;
use super::auth::AuthFile;
use super::limits::{LimitFile, RateLimitFile};
use super::listen::{CorsFile, IpFilterFile, TlsFile};
use super::metering::MeteringFile;
use super::policies::PolicyFile;
use super::rego::RegoFile;
use super::requests::RequestLimitFile;
use super::servers::ServerFile;

/// Configuration of the Doorward MCP gateway.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields, title = "gateway.yaml")]
pub(crate) struct GatewayFile {
    /// The schema of this file, for editors.
    #[serde(rename = "$schema")]
    #[allow(dead_code, reason = "only editors read it")]
    schema: Option<String>,
    /// Address to bind; 127.0.0.1 unless set.
    pub(crate) host: Option<String>,
    /// Port to bind; 3100 unless set. The environment variable MCP_GATEWAY_PORT wins.
    pub(crate) port: Option<u16>,
    /// Certificate and key, when TLS ends here.
    pub(crate) tls: Option<TlsFile>,
    /// Proxies that end TLS and whose `X-Forwarded-For` is believed: addresses or networks.
    pub(crate) trusted_proxies: Vec<String>,
    /// Names this gateway answers to, beside loopback and the bound address.
    pub(crate) allowed_hosts: Vec<String>,
    /// Web pages that may call the gateway.
    pub(crate) cors: Option<CorsFile>,
    /// Addresses that may call the gateway.
    pub(crate) ip_filter: Option<IpFilterFile>,
    /// Directory of the records, keys and database; `./doorward-data` unless set.
    pub(crate) data_dir: Option<String>,
    /// Where several replicas keep what they share: `redis://…`, or `rediss://…` for TLS. They
    /// need one `audit.keyDir` as well.
    #[schemars(with = "Option<String>")]
    pub(crate) shared: Option<Secret>,
    /// Servers that can be called.
    pub(crate) servers: Vec<ServerFile>,
    /// Who may call.
    pub(crate) auth: Option<AuthFile>,
    /// Role rules: who may call what.
    pub(crate) policies: Vec<PolicyFile>,
    /// Policies in Rego, beside the role rules.
    pub(crate) rego_policies: Vec<RegoFile>,
    /// Rate limits.
    pub(crate) limits: Vec<LimitFile>,
    /// The rate limit that every consumer has on every server.
    pub(crate) rate_limit: Option<RateLimitFile>,
    /// How many requests that are no calls every caller may make.
    pub(crate) request_limit: Option<RequestLimitFile>,
    /// What is recorded, and how safely.
    pub(crate) audit: Option<AuditFile>,
    /// What is counted.
    pub(crate) metering: Option<MeteringFile>,
}

/// One text, or a list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneOrMany(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany(texts))
            }
        }

        deserializer.deserialize_any(Texts)
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}
