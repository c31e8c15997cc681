//! Doors against real sockets: what is reused, repeated, refused and closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::{Client, Door, EgressError, Outgoing, Reach, Replay, Rules, Settings, Target};
use doorward_model::clock::Fixed;
use http::{HeaderMap, Method};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(10);

/// Reads one request, head and body; `None` when the client has hung up.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text.to_lowercase().split("content-length: ").nth(1).map_or(0, |rest| {
                rest.split("\r\n").next().and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0)
            });
            if seen.len() >= head + 4 + length {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => seen.extend_from_slice(&buffer[..read]),
        }
    }
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.expect("written");
    stream.flush().await.expect("flushed");
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

struct World {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    clock: Arc<Fixed>,
    client: Client,
}

impl World {
    /// A server that treats each connection with `serve`; the number counts them.
    async fn new<F, R>(serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                tokio::spawn(serve(counter.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        let clock = Arc::new(Fixed::new(1));
        let client = Client::new(Settings::default(), clock.clone());
        Self { address, accepted, clock, client }
    }

    fn door(&self) -> Door {
        let target = Target::parse(&format!("http://{}/mcp", self.address)).expect("valid");
        self.client.door(target, Rules::CONFIGURED).expect("loopback")
    }

    fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn post(door: &Door, body: &'static str, replay: Replay) -> Outgoing {
    Outgoing {
        method: Method::POST,
        path: door.target().path().clone(),
        headers: HeaderMap::new(),
        body: Bytes::from(body),
        replay,
        answer_within: None,
    }
}

async fn exchange(door: &Door, replay: Replay) -> Result<Bytes, EgressError> {
    let response = tokio::time::timeout(SOON, door.send(post(door, "{}", replay))).await.expect("no hang")?;
    response.body.collect(1024).await
}

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_was_read() {
    let world = World::new(|_, mut stream| async move {
        while let Some(text) = request(&mut stream).await {
            assert!(text.starts_with("POST /mcp HTTP/1.1\r\n") && text.ends_with("\r\n\r\n{}"), "{text}");
            assert!(text.contains("host: 127.0.0.1:"), "{text}");
            answer(&mut stream, OK).await;
        }
    })
    .await;
    let door = world.door();
    for _ in 0..20 {
        assert_eq!(exchange(&door, Replay::Harmful).await.expect("answered"), "hi");
    }
    assert_eq!(world.connections(), 1);
    world.clock.advance(Duration::from_secs(61));
    exchange(&door, Replay::Harmful).await.expect("answered");
    assert_eq!(world.connections(), 2, "the first one was too old");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let world = World::new(|_, mut stream| async move {
        while request(&mut stream).await.is_some() {
            answer(
                &mut stream,
                "HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            )
            .await;
        }
    })
    .await;
    let door = world.door();
    let response = door.send(post(&door, "{}", Replay::Harmful)).await.expect("answered");
    assert_eq!(response.status, 307);
    assert_eq!(world.connections(), 1);
}

/// Answers once on the first connection, then reads a request and hangs up.
async fn dies_on_the_second_request(
    number: usize,
    mut stream: TcpStream,
    seen: mpsc::UnboundedSender<usize>,
) {
    let mut requests = 0;
    while request(&mut stream).await.is_some() {
        requests += 1;
        let _ = seen.send(number);
        if number == 0 && requests == 2 {
            return;
        }
        answer(&mut stream, OK).await;
    }
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_twice_unless_harmless() {
    for (replay, repeated) in [(Replay::Harmful, false), (Replay::Harmless, true)] {
        let (seen, mut log) = mpsc::unbounded_channel();
        let world =
            World::new(move |number, stream| dies_on_the_second_request(number, stream, seen.clone())).await;
        let door = world.door();
        exchange(&door, replay).await.expect("answered");
        let second = exchange(&door, replay).await;
        if repeated {
            assert_eq!(second.expect("repeated on a new connection"), "hi");
        } else {
            let error = second.expect_err("not repeated");
            assert!(
                matches!(error, EgressError::Broken { .. }) && error.may_have_been_processed(),
                "{error}"
            );
        }
        let mut requests = Vec::new();
        while let Ok(number) = log.try_recv() {
            requests.push(number);
        }
        assert_eq!(requests, if repeated { vec![0, 0, 1] } else { vec![0, 0] });
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_nothing() {
    let world = World::new(|_, mut stream| async move {
        request(&mut stream).await;
        answer(&mut stream, OK).await;
    })
    .await;
    let door = world.door();
    for _ in 0..20 {
        assert_eq!(exchange(&door, Replay::Harmless).await.expect("answered"), "hi");
    }
    assert_eq!(world.connections(), 20);
}

#[tokio::test]
async fn a_body_is_bounded_whether_announced_or_not() {
    let world = World::new(|number, mut stream| async move {
        request(&mut stream).await;
        let text = match number {
            0 => "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_owned(),
            1 => format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n800\r\n{}\r\n",
                "x".repeat(2048)
            ),
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned(),
        };
        answer(&mut stream, &text).await;
        if number < 2 {
            request(&mut stream).await;
        }
    })
    .await;
    let door = world.door();
    for _ in 0..2 {
        let error = exchange(&door, Replay::Harmful).await.expect_err("too long");
        assert!(matches!(error, EgressError::TooLarge { limit: 1024, .. }), "{error}");
    }
    let error = exchange(&door, Replay::Harmful).await.expect_err("cut");
    assert!(matches!(error, EgressError::Cut { .. }), "{error}");
}

#[tokio::test]
async fn dropping_a_request_or_a_body_closes_the_connection() {
    let (closed, mut was_closed) = mpsc::unbounded_channel();
    let world = World::new(move |number, mut stream| {
        let closed = closed.clone();
        async move {
            request(&mut stream).await;
            if number == 1 {
                answer(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
            }
            assert!(request(&mut stream).await.is_none());
            let _ = closed.send(number);
        }
    })
    .await;
    let door = world.door();
    let pending = door.send(post(&door, "{}", Replay::Harmful));
    assert!(tokio::time::timeout(Duration::from_millis(50), pending).await.is_err());
    assert_eq!(tokio::time::timeout(SOON, was_closed.recv()).await, Ok(Some(0)));
    let mut response = door.send(post(&door, "{}", Replay::Harmful)).await.expect("answered");
    assert_eq!(response.body.chunk().await.expect("a piece"), Some(Bytes::from("hi")));
    drop(response);
    assert_eq!(tokio::time::timeout(SOON, was_closed.recv()).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_released_body_that_ends_soon_gives_its_connection_back() {
    let world = World::new(|_, mut stream| async move {
        while request(&mut stream).await.is_some() {
            answer(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
            tokio::task::yield_now().await;
            answer(&mut stream, "2\r\nho\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let door = world.door();
    for requests in 1.. {
        let mut response = door.send(post(&door, "{}", Replay::Harmful)).await.expect("answered");
        response.body.chunk().await.expect("a piece");
        response.body.release().await;
        if world.connections() < requests {
            return;
        }
        assert!(requests < 1000, "no connection was ever used again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_head_of_an_answer_may_be_given_a_time() {
    let world = World::new(|_, mut stream| async move {
        request(&mut stream).await;
        request(&mut stream).await;
    })
    .await;
    let door = world.door();
    let limit = Duration::from_millis(30);
    let outgoing = Outgoing { answer_within: Some(limit), ..post(&door, "{}", Replay::Harmless) };
    let error = tokio::time::timeout(SOON, door.send(outgoing)).await.expect("no hang").expect_err("late");
    assert!(matches!(error, EgressError::HeaderTimeout { .. }), "{error}");
}

#[tokio::test]
async fn rules_hold_at_the_door_and_at_the_dial() {
    let world = World::new(|_, _| async {}).await;
    let plain = |url: &str, rules| world.client.door(Target::parse(url).expect("valid"), rules).map(|_| ());
    assert!(matches!(plain("http://api.example/", Rules::CONFIGURED), Err(EgressError::PlainHttp { .. })));
    let insecure = Rules { allow_insecure_http: true, ..Rules::CONFIGURED };
    assert!(plain("http://api.example/", insecure).is_ok());

    let rules = Rules { reach: Reach::PublicOnly, allow_insecure_http: true };
    for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"] {
        let url = format!("http://{host}:{}/", world.address.port());
        let door = world.client.door(Target::parse(&url).expect("valid"), rules).expect("a door");
        let error = exchange(&door, Replay::Harmful).await.expect_err("refused");
        assert!(
            matches!(error, EgressError::Forbidden { .. }) && !error.may_have_been_processed(),
            "{error}"
        );
    }
    assert_eq!(world.connections(), 0);
}

#[tokio::test]
async fn certificates_are_verified_against_the_trusted_roots() {
    let file = |name: &str| {
        std::fs::read(format!("{}/tests/certificates/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a fixture")
    };
    let key = PrivateKeyDer::Pkcs8(file("server.key.der").into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("supported")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(file("server.der"))], key)
        .expect("a key and its certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let world = World::new(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while request(&mut stream).await.is_some() {
                answer(&mut stream, OK).await;
            }
        }
    })
    .await;
    let trusting =
        Settings { added_roots: vec![CertificateDer::from(file("authority.der"))], ..Settings::default() };
    let port = world.address.port();
    let ask = async |settings: Settings, host: &str| {
        let client = Client::new(settings, world.clock.clone());
        let target = Target::parse(&format!("https://{host}:{port}/")).expect("valid");
        exchange(&client.door(target, Rules::CONFIGURED).expect("a door"), Replay::Harmful).await
    };
    assert_eq!(ask(trusting.clone(), "localhost").await.expect("trusted"), "hi");
    let unknown = ask(Settings::default(), "localhost").await.expect_err("an unknown authority");
    let misnamed = ask(trusting, "127.0.0.1").await.expect_err("a certificate for another name");
    for error in [unknown, misnamed] {
        assert!(matches!(error, EgressError::Tls { .. }), "{error}");
    }
}
