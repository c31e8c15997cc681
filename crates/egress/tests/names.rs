//! Names that lead where nobody may go: whatever an address looks like, and however often a
//! name changes its mind, nothing is dialled that was not judged.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::{
    Client, EgressError, Names, Outgoing, Reach, Replay, Resolving, Rules, Settings, Target,
};
use doorward_model::clock::Fixed;
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Gives one answer after the other, the last one for ever, and counts who asks.
#[derive(Debug)]
struct Fickle {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Fickle {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().expect("an address")).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(read).collect()), asked: AtomicUsize::new(0) })
    }
}

impl Names for Fickle {
    fn resolve<'a>(&'a self, _host: &'a str, port: u16) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("not poisoned");
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let found: Vec<_> =
            answer.unwrap_or_default().into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        Box::pin(async move { Ok::<_, io::Error>(found) })
    }
}

/// A server on this machine, and how many connections it was offered.
async fn listening() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
                    .await;
            });
        }
    });
    (address, accepted)
}

async fn ask(names: Option<Arc<dyn Names>>, url: &str, rules: Rules) -> Result<Bytes, EgressError> {
    let usual = Settings::default();
    let settings = Settings {
        names: names.unwrap_or(usual.names),
        connect_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    let client = Client::new(settings, Arc::new(Fixed::new(1)));
    let door = client.door(Target::parse(url).expect("a URL"), rules)?;
    let outgoing = Outgoing {
        method: Method::GET,
        path: door.target().path().clone(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        replay: Replay::Harmful,
        answer_within: None,
    };
    door.send(outgoing).await?.body.collect(1024).await
}

const PUBLIC: Rules = Rules { reach: Reach::PublicOnly, allow_insecure_http: true };

/// Addresses that are not of the public Internet, in every family and in each other's clothes.
const SPECIAL: &str = "0.0.0.0 0.0.0.1 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.1.2.3 169.254.169.254 172.16.0.1 \
    172.31.255.254 192.0.0.192 192.168.0.1 192.88.99.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 \
    :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 ::10.0.0.1 64:ff9b::7f00:1 \
    64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1 2002:7f00:1:: 2002:a00:1:: 2002:a9fe:a9fe::1 2001:0:4136:e378:8000:63bf:80ff:fffe \
    2001::1 fe80::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 100::1 2001:db8::1 5f00::1";

#[tokio::test]
async fn a_name_that_leads_to_one_special_address_leads_nowhere() {
    let (address, accepted) = listening().await;
    let url = format!("http://innocent.example:{}/", address.port());
    for special in SPECIAL.split_whitespace() {
        // Alone, and among addresses that nobody would mind, before and behind them.
        for answer in [&[special][..], &["192.0.32.8", special], &[special, "2606:2800:220:1::1"]] {
            let error = ask(Some(Fickle::new(&[answer])), &url, PUBLIC).await.expect_err(special);
            assert!(matches!(error, EgressError::Forbidden { .. }), "{special}: {error}");
            assert!(!error.may_have_been_processed());
        }
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn spellings_of_this_machine_lead_nowhere_either() {
    let (address, accepted) = listening().await;
    for host in [
        "127.0.0.1",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "2130706433",
        "0x7f000001",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::127.0.0.1]",
    ] {
        let url = format!("http://{host}:{}/", address.port());
        let error = ask(None, &url, PUBLIC).await.expect_err(host);
        // What the machine does not take for an address, it does not find.
        assert!(
            matches!(error, EgressError::Forbidden { .. } | EgressError::Resolve { .. }),
            "{host}: {error}"
        );
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_is_asked_about_once_and_what_it_says_later_changes_nothing() {
    let (address, accepted) = listening().await;
    let url = format!("http://fickle.example:{}/", address.port());
    // Public when it is judged, this machine from then on.
    let names = Fickle::new(&[&["192.0.2.1"], &["127.0.0.1"]]);
    let error = ask(Some(names.clone()), &url, PUBLIC).await.expect_err("documentation is not public");
    assert!(matches!(error, EgressError::Forbidden { .. }), "{error}");
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    // Plain HTTP stays on this machine: a name of it may say so, and is believed once.
    let here = Fickle::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let local = format!("http://box.localhost:{}/", address.port());
    assert_eq!(ask(Some(here.clone()), &local, Rules::CONFIGURED).await.expect("answered"), "hi");
    assert_eq!(here.asked.load(Ordering::SeqCst), 1);
    let error = ask(Some(here.clone()), &local, Rules::CONFIGURED).await.expect_err("it has moved");
    assert!(matches!(error, EgressError::Forbidden { .. }), "{error}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}
