//! The port: free, or taken by the gateway of this very log. And that gateway: ready or not.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::{Client, Outgoing, Reach, Replay, Rules, Settings, Target};
use http::{HeaderMap, Method, StatusCode};

use super::Finding;
use super::ledger::Holder;
use crate::config::Config;
use crate::runtime::Surroundings;

/// How long whoever listens may take to say who it is.
const WITHIN: Duration = Duration::from_secs(3);
const LARGEST: usize = 8 << 20;

pub(super) async fn check(
    config: &Config,
    holder: Option<&Holder>,
    surroundings: &Surroundings,
) -> Vec<Finding> {
    let listen = &config.listen;
    let listening = holder.filter(|holder| holder.listens());
    if listen.port == 0 {
        return vec![Finding::ok("port", "the system chooses one at each start")];
    }
    let place = (listen.host.as_str(), listen.port);
    let Some(address) = place.to_socket_addrs().ok().and_then(|mut found| found.next()) else {
        let message = format!("`{}` is no address of this machine", listen.host);
        return vec![Finding::fail("port", message, "correct `host`")];
    };
    if !is_answered(address).await {
        return vec![free(address, listening)];
    }
    let scheme = if listen.tls.is_some() { "https" } else { "http" };
    let host = dialled(address);
    let metrics = get(&format!("{scheme}://{host}/metrics"), surroundings).await;
    let Some(holder) = listening else {
        let who = match &metrics {
            Ok((_, text)) if text.contains("doorward_") => "a gateway of another configuration",
            _ => "another program",
        };
        let message = format!("{who} listens on {address}");
        return vec![Finding::fail("port", message, "stop it, or choose another `port`")];
    };
    match metrics {
        Ok((_, text)) if text.contains("doorward_") => {
            let ours = Finding::ok("port", format!("{address} is ours: {} listens there", holder.name));
            vec![ours, ready(&format!("{scheme}://{host}/readyz"), holder, surroundings).await]
        }
        // Its certificate may be for other names, or of an authority that is not known here.
        Err(_) if listen.tls.is_some() => {
            let message = format!(
                "{address} is taken, and {} has the log; its TLS is not trusted here, so it was not asked",
                holder.name
            );
            vec![Finding::ok("port", message)]
        }
        Ok((status, _)) if status == StatusCode::FORBIDDEN => {
            let message = format!(
                "{address} is taken, and {} has the log; it does not let this machine in",
                holder.name
            );
            vec![Finding::ok("port", message)]
        }
        _ => {
            let message =
                format!("what listens on {address} is no gateway, though {} has the log", holder.name);
            vec![Finding::fail("port", message, "look which program it is: `ss -ltnp`")]
        }
    }
}

fn free(address: SocketAddr, listening: Option<&Holder>) -> Finding {
    match (TcpListener::bind(address), listening) {
        (Ok(_), None) => Finding::ok("port", format!("{address} is free")),
        (Ok(_), Some(holder)) => Finding::warn(
            "port",
            format!("{address} is free, though {} has the log", holder.name),
            "it was started with another `--port`, or is just starting",
        ),
        (Err(error), _) => {
            let remedy = match error.kind() {
                ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another `port`",
                ErrorKind::AddrNotAvailable => "the machine has no such address: correct `host`",
                _ => "choose another `port`",
            };
            Finding::fail("port", format!("{address} cannot be listened on: {error}"), remedy)
        }
    }
}

async fn ready(url: &str, holder: &Holder, surroundings: &Surroundings) -> Finding {
    match get(url, surroundings).await {
        Ok((StatusCode::OK, text)) => match text.trim().strip_prefix("ready, but ") {
            None => Finding::ok("gateway", format!("{} is ready", holder.name)),
            Some(but) => {
                Finding::warn("gateway", format!("{} is ready, but {but}", holder.name), "see `shared`")
            }
        },
        Ok((status, text)) => {
            let message = format!("{} says {status}: {}", holder.name, text.trim());
            Finding::fail("gateway", message, "calls are refused until the log can be written")
        }
        Err(error) => {
            Finding::fail("gateway", format!("{} does not answer: {error}", holder.name), "look into its log")
        }
    }
}

async fn is_answered(address: SocketAddr) -> bool {
    let address: SocketAddr = dialled(address).parse().unwrap_or(address);
    matches!(tokio::time::timeout(WITHIN, tokio::net::TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// What a program on this machine connects to.
fn dialled(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address.to_string()
}

async fn get(url: &str, surroundings: &Surroundings) -> anyhow::Result<(StatusCode, String)> {
    let target = Target::parse(url)?;
    let path = target.path().clone();
    let client = Client::new(Settings::default(), surroundings.clock.clone());
    let door = client.door(target, Rules { reach: Reach::Anywhere, allow_insecure_http: true })?;
    let outgoing = Outgoing {
        method: Method::GET,
        path,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        replay: Replay::Harmless,
        answer_within: Some(WITHIN),
    };
    let asked = async {
        let response = door.send(outgoing).await?;
        let status = response.status;
        let body = response.body.collect(LARGEST).await?;
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(WITHIN, asked).await?
}
