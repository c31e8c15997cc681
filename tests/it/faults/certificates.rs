//! Certificates that end, and others that take their place: the gateway's own, and those of
//! servers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderMap;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::program::Program;
use crate::world::{
    ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, configuration, entries, eventually, records_in, tls,
};

/// Whoever vouches for servers here.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut wanted = CertificateParams::new(Vec::new()).expect("no names");
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = wanted.self_signed(&key).expect("signed");
        Self { issuer: Issuer::new(wanted, key), certificate }
    }

    /// A certificate for `name` that ends in a year, and its key.
    fn issue(&self, name: &str, last_year: i32) -> (Certificate, KeyPair) {
        let mut wanted = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = wanted.signed_by(&key, &self.issuer).expect("signed");
        (certificate, key)
    }
}

fn shown((certificate, key): &(Certificate, KeyPair)) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    Arc::new(config.expect("they go together"))
}

/// Ends TLS before a server, with a certificate that can be changed: what is open is cut off then.
struct Curtain {
    address: SocketAddr,
    config: watch::Sender<Arc<ServerConfig>>,
    /// How connections that came to nothing began: a record of TLS, or something else.
    first_bytes: Arc<Mutex<Vec<u8>>>,
}

impl Curtain {
    async fn before(server: SocketAddr, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (config, changes) = watch::channel(config);
        let first_bytes = Arc::<Mutex<Vec<u8>>>::default();
        let seen = Arc::clone(&first_bytes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut changes, seen) = (changes.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let config = Arc::clone(&changes.borrow_and_update());
                    let mut first = [0];
                    if stream.peek(&mut first).await.is_ok_and(|count| count == 1) {
                        seen.lock().expect("whole").push(first[0]);
                    }
                    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                    let mut server = TcpStream::connect(server).await.expect("the server is there");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut stream, &mut server) => {}
                        _ = changes.changed() => {}
                    }
                });
            }
        });
        Self { address, config, first_bytes }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_wrong_certificate_gets_nothing_until_it_has_a_right_one() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger's"));
    let good = authority.issue("localhost", 2999);
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let server = recorder.url().trim_start_matches("http://").trim_end_matches("/mcp").parse();
    let curtain = Curtain::before(server.expect("an address"), shown(&good)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    let servers = format!(
        "servers:\n  - {{id: github, url: \"https://localhost:{}/mcp\", enabled: true}}\n",
        curtain.address.port()
    );
    let text = configuration(folder.path(), &[], &format!("{servers}{STAFF_MAY_ALL}"));
    std::fs::write(&config, text).expect("written");
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, authority.certificate.pem()).expect("written");
    let variables = [("SSL_CERT_FILE", roots.to_str().expect("a text"))];
    let log = folder.path().join("log");
    let gateway = Program::start(&config, &log, &variables).await;
    let client = Client::modern(gateway.address, "/mcp", ALICE);
    assert_eq!(client.call("github__echo", json!({"a": 0})).await.text(), r#"{"a":0}"#);

    let cases = [
        // certificate                            what the log says
        (authority.issue("localhost", 2021), "expired"),
        (authority.issue("elsewhere.example", 2999), "not valid for name"),
        (stranger.issue("localhost", 2999), "UnknownIssuer"),
    ];
    for (number, (certificate, said)) in (1..).zip(&cases) {
        let (received, logged) = (recorder.received().len(), lines(&log));
        curtain.config.send(shown(certificate)).expect("it serves");
        // The first call may still meet the connection that the last certificate was shown on.
        eventually(said, async || {
            let answer = client.call("github__echo", json!({"a": "refused"})).await;
            assert_eq!(answer.json()["result"]["isError"], true, "{said}: {}", answer.text());
            let error = &answer.json()["result"]["_meta"]["dev.doorward/error"]["code"];
            assert_eq!(error, "upstream-unreachable", "{said}");
            let log = std::fs::read_to_string(&log).expect("readable");
            log.lines().skip(logged).any(|line| line.contains(said))
        })
        .await;
        assert_eq!(recorder.received().len(), received, "{said}: the server heard nothing");
        println!("{said}: refused, and back with the next certificate");
        curtain.config.send(shown(&good)).expect("it serves");
        let answer = client.call("github__echo", json!({"a": number})).await;
        assert_eq!(answer.text(), format!(r#"{{"a":{number}}}"#), "{said}: with the right one it is back");
    }
    gateway.stop().await;
    let first_bytes = curtain.first_bytes.lock().expect("whole").clone();
    assert!(first_bytes.iter().all(|byte| *byte == 22), "nothing came in the clear: {first_bytes:?}");
    let mut ends: Vec<_> = records_in(folder.path()).iter().map(|it| it["outcome"].to_string()).collect();
    ends.dedup();
    let (fine, failed) = (r#""success""#, r#""upstream_error""#);
    assert_eq!(ends, [fine, failed, fine, failed, fine, failed, fine]);
}

fn lines(log: &Path) -> usize {
    std::fs::read_to_string(log).expect("readable").lines().count()
}

/// Opens a connection to a gateway; with it the certificate that was shown.
async fn connect(address: SocketAddr, root: &Certificate) -> (TlsStream<TcpStream>, CertificateDer<'static>) {
    let stream = tls::connect(address, Some(root.der())).await.expect("trusted");
    let shown = stream.get_ref().1.peer_certificates().expect("shown")[0].clone().into_owned();
    (stream, shown)
}

/// Sends one request on a connection that stays open, and reads the body of its answer.
async fn post(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    headers: &HeaderMap,
    body: &Bytes,
) -> String {
    let mut request = format!("POST /mcp HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request += &format!("{name}: {}\r\n", value.to_str().expect("ASCII"));
    }
    request += "\r\n";
    stream.write_all(&[request.as_bytes(), body].concat()).await.expect("sent");
    let mut read = Vec::new();
    loop {
        stream.read_buf(&mut read).await.expect("it is open");
        let text = String::from_utf8_lossy(&read);
        let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if rest.len() == length.parse::<usize>().expect("a number") {
            return rest.to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_the_next_and_cuts_nobody_off() {
    let authority = Authority::new("ours");
    let (one, two) = (authority.issue("localhost", 2998), authority.issue("localhost", 2999));
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |certificate: &Certificate, key: &KeyPair| {
        std::fs::write(folder.path().join("tls.crt"), certificate.pem()).expect("written");
        std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).expect("written");
    };
    write(&one.0, &one.1);
    let rest = format!("tls: {{cert: tls.crt, key: tls.key}}\n{STAFF_MAY_ALL}");
    let config = folder.path().join("gateway.yaml");
    let text = configuration(folder.path(), std::slice::from_ref(&recorder), &rest);
    std::fs::write(&config, text).expect("written");
    let log = folder.path().join("log");
    let gateway = Program::start(&config, &log, &[]).await;
    let (mut kept, shown) = connect(gateway.address, &authority.certificate).await;
    assert_eq!(shown, *one.0.der());
    let client = Client::modern(gateway.address, "/mcp", ALICE);
    let (headers, body) = client.modern_call("github__echo", json!({"a": 1}));
    assert!(post(&mut kept, &headers, &body).await.contains(r#"{\"a\":1}"#));

    // A key that does not fit changes nothing.
    write(&one.0, &two.1);
    eventually("it is noticed", async || {
        std::fs::read_to_string(&log).expect("readable").contains("do not go together")
    })
    .await;
    assert_eq!(connect(gateway.address, &authority.certificate).await.1, *one.0.der());

    write(&two.0, &two.1);
    eventually("the next is shown the other one", async || {
        connect(gateway.address, &authority.certificate).await.1 == *two.0.der()
    })
    .await;
    let answer = post(&mut kept, &headers, &body).await;
    assert!(answer.contains(r#"{\"a\":1}"#), "who is connected goes on: {answer}");
    gateway.stop().await;
    let reasons: Vec<_> = entries(folder.path())
        .iter()
        .map(|entry| entry["reason"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        reasons.iter().filter(|it| *it == "another certificate is in force").count(),
        1,
        "{reasons:?}"
    );
}
