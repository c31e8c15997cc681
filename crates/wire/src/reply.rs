//! Writing messages to clients, without building trees.

use bytes::Bytes;
use doorward_model::json::push_string;

use crate::error::RpcError;

/// `{"jsonrpc":"2.0","id":<id>,"result":<result>}`; both given as JSON text.
pub fn result(id: &str, result: &str) -> Bytes {
    let mut out = String::with_capacity(id.len() + result.len() + 40);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id);
    out.push_str(r#","result":"#);
    out.push_str(result);
    out.push('}');
    Bytes::from(out)
}

/// An error answer. Without an id the member is left out, which is how JSON-RPC
/// in MCP says that it could not be read.
pub fn error(id: Option<&str>, error: &RpcError) -> Bytes {
    let mut out = String::with_capacity(error.message.len() + 96);
    out.push_str(r#"{"jsonrpc":"2.0","#);
    if let Some(id) = id {
        out.push_str(r#""id":"#);
        out.push_str(id);
        out.push(',');
    }
    out.push_str(r#""error":{"code":"#);
    out.push_str(&error.code.to_string());
    out.push_str(r#","message":"#);
    push_string(&mut out, &error.message);
    if let Some(data) = &error.data {
        out.push_str(r#","data":"#);
        out.push_str(data);
    }
    out.push_str("}}");
    Bytes::from(out)
}

/// A request; `id` and `params` given as JSON text.
pub fn request(id: &str, method: &str, params: Option<&str>) -> Bytes {
    let mut out = String::with_capacity(id.len() + method.len() + params.map_or(0, str::len) + 48);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id);
    out.push_str(r#","method":"#);
    push_string(&mut out, method);
    if let Some(params) = params {
        out.push_str(r#","params":"#);
        out.push_str(params);
    }
    out.push('}');
    Bytes::from(out)
}

/// A notification; `params` given as JSON text.
pub fn notification(method: &str, params: Option<&str>) -> Bytes {
    let mut out = String::with_capacity(method.len() + params.map_or(0, str::len) + 40);
    out.push_str(r#"{"jsonrpc":"2.0","method":"#);
    push_string(&mut out, method);
    if let Some(params) = params {
        out.push_str(r#","params":"#);
        out.push_str(params);
    }
    out.push('}');
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_one_line_of_json() {
        assert_eq!(result("1.0", "{}"), r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#);
        let refused = RpcError::unknown_tool("a\"b");
        assert_eq!(
            error(Some("\"x\""), &refused),
            r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32602,"message":"Unknown tool: a\"b"}}"#
        );
        let without = RpcError::bad_request(-32700, "x").with_data("{}");
        assert_eq!(
            error(None, &without),
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"x","data":{}}}"#
        );
        assert_eq!(request("7", "m", None), r#"{"jsonrpc":"2.0","id":7,"method":"m"}"#);
        assert_eq!(notification("n", Some("{}")), r#"{"jsonrpc":"2.0","method":"n","params":{}}"#);
    }
}
