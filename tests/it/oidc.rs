//! Tokens of an OpenID Connect issuer, found by what it publishes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use doorward::runtime;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{Client, Recorder, STAFF_MAY_ALL, Speaks, records_in, system};

/// An issuer, and what it was asked for.
pub struct Issuer {
    pub address: SocketAddr,
    key: EcdsaKeyPair,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = key.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "x": x, "y": y}]});
        let issuer = format!("http://{address}");
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")});
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (metadata, keys, heard) = (metadata.to_string(), keys.to_string(), Arc::clone(&heard));
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut request).await {
                        let request = String::from_utf8_lossy(&request[..read]).into_owned();
                        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                        let body = if path == "/keys" { &keys } else { &metadata };
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        heard.lock().expect("not poisoned").push(path);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, key, asked }
    }

    /// A token with these claims beside the usual ones.
    pub fn token(&self, claims: &Value) -> String {
        self.signed(&self.key, claims)
    }

    fn signed(&self, key: &EcdsaKeyPair, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let mut all = json!({
            "iss": format!("http://{}", self.address), "aud": "desk", "sub": "ann", "azp": "desk", "roles": ["staff"],
            "email": "ann@a.example", "email_verified": true, "exp": (now + Duration::from_secs(300)).as_secs(),
        });
        for (key, value) in claims.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let part = |value: Value| BASE64.encode(value.to_string());
        let message = format!("{}.{}", part(json!({"alg": "ES256", "kid": "one", "typ": "JWT"})), part(all));
        let signature = key.sign(&SystemRandom::new(), message.as_bytes()).expect("signed");
        format!("{message}.{}", BASE64.encode(signature))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_issuer_opens_what_its_roles_allow() {
    let issuer = Issuer::start().await;
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    let text = format!(
        "dataDir: {}\nauth: {{type: oidc, oidc: {{issuerUrl: \"http://{}\", clientId: desk, consumerIdField: azp, allowedDomains: [a.example]}}}}\nservers:\n  - {{id: github, url: \"{}\", enabled: true}}\n{STAFF_MAY_ALL}",
        folder.path().join("data").display(),
        issuer.address,
        recorder.url(),
    );
    std::fs::write(&config, text).expect("written");
    let running = runtime::start(&config, system()).await.expect("the gateway starts");
    let call = async |token: &str| {
        let client = Client::modern(running.address(), "/mcp", token);
        client.call("github__echo", json!({"message": "hi"})).await
    };

    assert_eq!(call(&issuer.token(&json!({}))).await.summary(), "200 ok");
    let refused = [
        json!({"aud": "another"}),
        json!({"iss": "http://127.0.0.1:1"}),
        json!({"exp": 1}),
        json!({"email": "ann@b.example"}),
        json!({"email_verified": false}),
    ];
    for claims in refused {
        assert_eq!(call(&issuer.token(&claims)).await.status, 401, "{claims}");
    }
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    assert_eq!(call(&issuer.signed(&other, &json!({}))).await.status, 401, "signed by somebody else");
    let denied = call(&issuer.token(&json!({"roles": ["guest"]}))).await;
    let why = "[POLICY DENIED] no rule allows `echo` on `github` for the role `guest`";
    assert_eq!(denied.text(), why);
    assert_eq!(recorder.calls(), ["echo"]);
    assert_eq!(
        *issuer.asked.lock().expect("not poisoned"),
        ["/.well-known/openid-configuration", "/keys"],
        "once"
    );
    running.stop().await;
    let records = records_in(folder.path());
    let told = |record: &Value| json!([record["person"], record["agent"], record["verdict"]]);
    let told: Vec<_> = records.iter().map(told).collect();
    assert_eq!(told, [json!(["ann", "desk", "allow"]), json!(["ann", "desk", "deny"])]);
}
