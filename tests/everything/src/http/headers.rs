//! The headers that repeat what a modern request says in its body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::HeaderMap;
use serde_json::Value;

use crate::rpc::Fault;
use crate::server::Everything;
use crate::tools;

/// `MCP-Protocol-Version` has to be what `_meta` says.
pub fn check_version(headers: &HeaderMap, version: &str) -> Result<(), Fault> {
    same("MCP-Protocol-Version", only(headers, "mcp-protocol-version")?, version)
}

/// `Mcp-Method` has to be the method.
pub fn check_method(headers: &HeaderMap, method: &str) -> Result<(), Fault> {
    same("Mcp-Method", only(headers, "mcp-method")?, method)
}

/// `Mcp-Name` and `Mcp-Param-*` have to be what the parameters say.
pub fn check_params(
    server: &Everything,
    headers: &HeaderMap,
    method: &str,
    params: &Value,
) -> Result<(), Fault> {
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return Ok(()),
    };
    if let Some(name) = params[member].as_str() {
        let header = decoded("Mcp-Name", only(headers, "mcp-name")?)?;
        same("Mcp-Name", header.as_deref(), name)?;
    }
    if method != "tools/call" {
        return Ok(());
    }
    let Some(tool) = tools::find(server, params["name"].as_str().unwrap_or_default()) else { return Ok(()) };
    for (argument, schema) in tool.input_schema()["properties"].as_object().into_iter().flatten() {
        if let Some(suffix) = schema["x-mcp-header"].as_str() {
            check_argument(headers, &format!("Mcp-Param-{suffix}"), &params["arguments"][argument])?;
        }
    }
    Ok(())
}

fn check_argument(headers: &HeaderMap, name: &str, argument: &Value) -> Result<(), Fault> {
    let header = decoded(name, only(headers, &name.to_ascii_lowercase())?)?;
    let expected = match argument {
        Value::Null if header.is_none() => return Ok(()),
        Value::String(text) => text.clone(),
        Value::Bool(_) => argument.to_string(),
        Value::Number(number) => {
            let said = header.as_deref().and_then(|header| header.parse::<f64>().ok());
            let equal =
                said.zip(number.as_f64()).is_some_and(|(said, number)| (said - number).abs() < f64::EPSILON);
            return equal.then_some(()).ok_or_else(|| mismatch(name, header.as_deref(), &number.to_string()));
        }
        _ => return Err(mismatch(name, header.as_deref(), "nothing a header can say")),
    };
    same(name, header.as_deref(), &expected)
}

/// The header, trimmed; two of them are a lie either way.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Fault::header_mismatch(format!("{name} is there twice")));
    }
    let text = first.map(|value| value.to_str());
    let text = text.transpose().map_err(|_| Fault::header_mismatch(format!("{name} is no text")))?;
    Ok(text.map(|text| text.trim_matches([' ', '\t'])))
}

/// What a header stands for: Base64 between both markers, otherwise itself.
fn decoded(name: &str, header: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(header) = header else { return Ok(None) };
    let Some(encoded) = header.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Some(header.to_owned()));
    };
    let text = BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(|| Fault::header_mismatch(format!("{name} is not Base64")))
}

fn same(name: &str, header: Option<&str>, body: &str) -> Result<(), Fault> {
    if header == Some(body) { Ok(()) } else { Err(mismatch(name, header, body)) }
}

fn mismatch(name: &str, header: Option<&str>, body: &str) -> Fault {
    match header {
        None => Fault::header_mismatch(format!("{name} is missing; the body says `{body}`")),
        Some(header) => Fault::header_mismatch(format!("{name} is `{header}`; the body says `{body}`")),
    }
}
