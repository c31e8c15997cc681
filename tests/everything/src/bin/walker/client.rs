//! A client of either era, that answers what it is asked and comes back for what it is owed.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::gateway::PATH;
use crate::{Result, form, headers};

const MODERN: &str = "2026-07-28";

pub struct Client {
    address: SocketAddr,
    revision: String,
    session: Option<String>,
    next: u64,
}

impl Client {
    /// With a session, unless the revision has none.
    pub async fn connect(address: SocketAddr, revision: &str) -> Result<Self> {
        let mut client = Self { address, revision: revision.to_owned(), session: None, next: 0 };
        if revision != MODERN {
            let params = json!({
                "protocolVersion": revision, "capabilities": capabilities(),
                "clientInfo": {"name": "walker", "version": "1"},
            });
            let message = client.message("initialize", params);
            let response = client.post(&message, None).await?;
            let session = response.headers().get("mcp-session-id").ok_or("no session")?;
            client.session = Some(session.to_str()?.to_owned());
            response.into_body().collect().await?;
            client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), None).await?;
        }
        Ok(client)
    }

    /// The answer to a request, once all questions on the way are answered.
    pub async fn request(&mut self, method: &str, mut params: Value, tool: Option<&Value>) -> Result<Value> {
        if self.session.is_none() {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": capabilities(),
                "io.modelcontextprotocol/clientInfo": {"name": "walker", "version": "1"},
            });
        }
        loop {
            let message = self.message(method, params.clone());
            let answer = self.exchange(&message, tool).await?;
            if answer["result"]["resultType"] != "input_required" {
                return Ok(answer);
            }
            let questions = answer["result"]["inputRequests"].as_object().into_iter().flatten();
            params["inputResponses"] =
                questions.map(|(key, question)| (key.clone(), form::answer(question))).collect();
            match answer["result"].get("requestState") {
                Some(state) => params["requestState"] = state.clone(),
                None => drop(params.as_object_mut().and_then(|params| params.remove("requestState"))),
            }
        }
    }

    fn message(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params})
    }

    /// Sends a request, and answers the questions on its stream.
    async fn exchange(&self, message: &Value, tool: Option<&Value>) -> Result<Value> {
        let response = self.post(message, tool).await?;
        let streams = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let mut body = response.into_body();
        if !streams {
            return Ok(serde_json::from_slice(&body.collect().await?.to_bytes())?);
        }
        let (mut text, mut last, mut retry) = (String::new(), None::<String>, Duration::ZERO);
        loop {
            let Some(frame) = body.frame().await else {
                // The server has hung up, and has the rest for whoever asks.
                let last = last.as_deref().ok_or("the stream ended without an answer")?;
                tokio::time::sleep(retry).await;
                let request = self.opening(Request::get(PATH), true).header("last-event-id", last);
                body = self.send(request.body(Full::default())?).await?.into_body();
                text.clear();
                continue;
            };
            text += &String::from_utf8_lossy(frame?.data_ref().map_or(&[], |data| data));
            while let Some((line, rest)) = text.split_once('\n') {
                if let Some(id) = line.strip_prefix("id: ") {
                    last = Some(id.to_owned());
                }
                if let Some(millis) = line.strip_prefix("retry: ").and_then(|millis| millis.parse().ok()) {
                    retry = Duration::from_millis(millis);
                }
                let said =
                    line.strip_prefix("data:").and_then(|data| serde_json::from_str::<Value>(data).ok());
                text = rest.to_owned();
                let Some(said) = said else { continue };
                if said["id"] == message["id"] && said["method"].is_null() {
                    return Ok(said);
                }
                if !said["id"].is_null() {
                    let answer = json!({"jsonrpc": "2.0", "id": said["id"], "result": form::answer(&said)});
                    self.post(&answer, None).await?;
                }
            }
        }
    }

    async fn post(&self, message: &Value, tool: Option<&Value>) -> Result<Response<Incoming>> {
        let request = self.opening(Request::post(PATH), message["method"] != "initialize");
        let mut request = request.header("content-type", "application/json");
        if self.session.is_none() && self.revision == MODERN {
            for (name, value) in headers::of(message, tool) {
                request = request.header(name, value);
            }
        }
        self.send(request.body(Full::new(Bytes::from(message.to_string())))?).await
    }

    /// The headers of every request.
    fn opening(&self, request: Builder, has_revision: bool) -> Builder {
        let mut request = request
            .header("host", self.address.to_string())
            .header("accept", "application/json, text/event-stream");
        if has_revision {
            request = request.header("mcp-protocol-version", &self.revision);
        }
        match &self.session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let (mut sender, connection) =
            handshake(TokioIo::new(TcpStream::connect(self.address).await?)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

fn capabilities() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}
