//! What a request says about itself in `_meta`.

use serde_json::Value;

use crate::log_level::LogLevel;
use crate::revision::Revision;
use crate::rpc::Fault;
use crate::server::Everything;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// Whether the parameters are those of a modern request, however incomplete.
pub fn is_modern(params: &Value) -> bool {
    [VERSION, CAPABILITIES].iter().any(|key| !params["_meta"][*key].is_null())
}

/// The metadata of one request.
pub struct Meta {
    pub version: String,
    pub capabilities: Value,
    pub progress_token: Option<Value>,
    pub log_level: Option<LogLevel>,
}

impl Meta {
    /// Reads what a request has to say about itself.
    pub fn read(params: &Value) -> Result<Self, Fault> {
        let meta = &params["_meta"];
        let Some(version) = meta[VERSION].as_str() else {
            return Err(Fault::malformed("_meta has no protocolVersion"));
        };
        if !meta[CAPABILITIES].is_object() {
            return Err(Fault::malformed("_meta has no clientCapabilities"));
        }
        let client = &meta[CLIENT];
        let introduced = client["name"].is_string() && client["version"].is_string();
        if !introduced && !client.is_null() {
            return Err(Fault::malformed("clientInfo has no name or no version"));
        }
        let token = meta.get("progressToken").cloned();
        if token.as_ref().is_some_and(|token| !token.is_string() && !token.is_i64() && !token.is_u64()) {
            return Err(Fault::malformed("progressToken is neither text nor integer"));
        }
        let log_level = match &meta[LOG_LEVEL] {
            Value::Null => None,
            level => {
                let level = level.as_str().and_then(LogLevel::parse);
                Some(level.ok_or_else(|| Fault::invalid("Unknown log level"))?)
            }
        };
        let capabilities = meta[CAPABILITIES].clone();
        Ok(Self { version: version.to_owned(), capabilities, progress_token: token, log_level })
    }

    /// Refuses versions this era does not have.
    pub fn check_version(&self, server: &Everything) -> Result<(), Fault> {
        match Revision::modern(&self.version) {
            Some(_) => Ok(()),
            None => Err(Fault::unsupported_version(&self.version, &super::supported(server))),
        }
    }
}
