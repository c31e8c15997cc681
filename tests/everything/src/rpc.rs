//! JSON-RPC: the three kinds of message, and errors with their HTTP status.

use serde_json::{Value, json};

/// A message as it came in.
pub enum Incoming {
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notification {
        method: String,
        params: Value,
    },
    /// What the other side says to a request of ours.
    Answer {
        id: Value,
        result: Result<Value, Fault>,
    },
}

impl Incoming {
    /// Sorts a message, or says what is wrong with it.
    pub fn read(mut message: Value) -> Result<Self, Fault> {
        if message["jsonrpc"] != "2.0" {
            return Err(Fault::invalid_request("not JSON-RPC 2.0"));
        }
        let params = message["params"].take();
        if !params.is_null() && !params.is_object() {
            return Err(Fault::invalid_request("params is no object"));
        }
        let method = message["method"].as_str().map(str::to_owned);
        let id = message.get("id").cloned();
        match (method, id) {
            (Some(method), None) => Ok(Self::Notification { method, params }),
            (Some(method), Some(id)) if is_id(&id) => Ok(Self::Request { id, method, params }),
            (None, Some(id)) if is_id(&id) => {
                let result = match (message.get("result"), message.get("error")) {
                    (Some(result), None) => Ok(result.clone()),
                    (None, Some(error)) => Err(Fault::from_other_side(error)),
                    _ => return Err(Fault::invalid_request("neither result nor error")),
                };
                Ok(Self::Answer { id, result })
            }
            _ => Err(Fault::invalid_request("neither request, notification nor answer")),
        }
    }
}

fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

pub fn request(id: &str, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub fn notification(method: &str, params: Value) -> Value {
    if params.is_null() {
        return json!({"jsonrpc": "2.0", "method": method});
    }
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

pub fn answer(id: &Value, result: Result<Value, Fault>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(fault) if id.is_null() => json!({"jsonrpc": "2.0", "error": fault.to_json()}),
        Err(fault) => json!({"jsonrpc": "2.0", "id": id, "error": fault.to_json()}),
    }
}

/// A JSON-RPC error.
#[derive(Clone, Debug)]
pub struct Fault {
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
    /// The HTTP status that goes with it outside a session.
    pub status: u16,
}

impl Fault {
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        let status = match code {
            -32700 | -32600 | -32022..=-32020 => 400,
            -32601 => 404,
            _ => 200,
        };
        Self { code, message: message.into(), data: None, status }
    }

    pub fn parse() -> Self {
        Self::new(-32700, "Parse error")
    }

    pub fn invalid_request(message: &str) -> Self {
        Self::new(-32600, message)
    }

    pub fn unknown_method(method: &str) -> Self {
        Self::new(-32601, format!("Method not found: {method}"))
    }

    /// Something about the parameters that any request may get wrong.
    pub fn malformed(message: &str) -> Self {
        Self { status: 400, ..Self::new(-32602, message) }
    }

    /// Something about the parameters that only this method can tell.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    pub fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(-32020, message)
    }

    pub fn missing_capability(required: Value) -> Self {
        let message = "A capability is needed that the client did not declare";
        Self::new(-32021, message).with(json!({ "requiredCapabilities": required }))
    }

    pub fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let message = "Unsupported protocol version";
        Self::new(-32022, message).with(json!({"supported": supported, "requested": requested}))
    }

    pub fn with(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }

    pub fn at(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn from_other_side(error: &Value) -> Self {
        let code = error["code"].as_i64().unwrap_or(-32603);
        Self::new(code, error["message"].as_str().unwrap_or_default())
    }

    pub fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }
}
