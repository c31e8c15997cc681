//! Which values of a server's entry are secrets, and credentials that cannot be meant.

use doorward::config::{Config, Lint, Loaded};

const VARIABLES: [(&str, &str); 6] = [
    ("TOKEN", "t0k3n-t0k3n"),
    ("REGION", "europe-north"),
    ("HOME", "/home/somebody"),
    ("PASSWORD", "hunter2-hunter2"),
    ("ENDED", "t0k3n-t0k3n\n"),
    ("EMPTY", ""),
];

/// Loads a file with one server.
fn load(server: &str) -> Result<Loaded, Vec<Lint>> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gateway.yaml");
    std::fs::write(&path, format!("servers: [{{id: a, enabled: true, {server}}}]\n")).expect("written");
    Config::load(&path, &|name| {
        VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

/// Code and path of what is found about the server.
fn found(server: &str) -> Vec<String> {
    let lints = load(server).map_or_else(|lints| lints, |loaded| loaded.lints);
    let about = lints.iter().filter(|lint| lint.path.starts_with("servers"));
    let severity = |lint: &Lint| if lint.is_error() { 'E' } else { 'W' };
    about.map(|lint| format!("{} {} {}", severity(lint), lint.code, lint.path)).collect()
}

#[test]
fn a_value_is_secret_by_where_it_comes_from_or_by_its_name() {
    let cases: &[(&str, &[&str])] = &[
        // a server, and its secrets
        ("command: x, env: {NODE_ENV: production, LOG_LEVEL: 'very-verbose'}", &[]),
        ("command: x, env: {GITHUB_TOKEN: written-here}", &["written-here"]),
        ("command: x, env: {GITHUB: '${TOKEN}', WHERE: '${REGION}'}", &["t0k3n-t0k3n", "europe-north"]),
        ("command: x, env: {DB: 'postgres://app:${PASSWORD}@db/x'}", &["hunter2-hunter2", "hunter2-hunter2"]),
        ("command: x, env: {DB: 'postgres://app:written-here@db/x'}", &["written-here"]),
        ("command: x, env: {MODE: '${NONE:-production}', TOKEN_URL: 'https://id.example'}", &[]),
        ("command: x, env: {API_KEY: '${NONE:-in-the-file}'}", &["in-the-file"]),
        ("command: x, env: {HOME: '${HOME}'}, args: ['${HOME}/data']", &[]),
        (
            "command: x, args: ['--token=${TOKEN}', --api-key, written-here, --verbose, words]",
            &["t0k3n-t0k3n", "t0k3n-t0k3n", "written-here"],
        ),
        ("command: x, args: [--token, --verbose, words]", &[]),
        (
            "url: 'https://a.example/${TOKEN}/mcp?api_key=written-here&page=words'",
            &["written-here", "t0k3n-t0k3n"],
        ),
        ("command: x, credential: {kind: env, env: {MODE: words}}", &["words"]),
        // said otherwise
        ("command: x, env: {LICENCE: written-here}, secrets: [LICENCE]", &["written-here"]),
        ("command: x, env: {WHERE: '${REGION}'}, plain: [WHERE]", &[]),
        ("command: x, env: {WHERE: '${REGION}'}, plain: [REGION]", &[]),
        ("command: x, args: ['${REGION}'], plain: [REGION]", &[]),
        ("command: x, args: ['${HOME}'], secrets: [HOME]", &["/home/somebody"]),
        ("command: x, env: {SORT_KEY: written-here}, plain: [SORT_KEY]", &[]),
    ];
    for (server, expected) in cases {
        let loaded = load(server).map_err(|lints| lints[0].to_string()).expect(server);
        let secrets: Vec<_> = loaded.config.servers[0].secrets.iter().map(|secret| secret.expose()).collect();
        assert_eq!(secrets, *expected, "{server}");
    }
}

#[test]
fn a_name_in_secrets_or_plain_that_stands_for_nothing_is_an_error() {
    let cases: &[(&str, &[&str])] = &[
        ("command: x, env: {LICENCE: abc}, secrets: [LICENSE]", &["E secrecy servers[0].secrets"]),
        ("command: x, env: {LICENCE: abc}, plain: [OTHER]", &["E secrecy servers[0].plain"]),
        ("command: x, env: {A: abc}, plain: [A], secrets: [A]", &["E secrecy servers[0].plain"]),
        ("command: x, credential: {kind: env, env: {A: abc}}, plain: [A]", &["E secrecy servers[0].plain"]),
        ("command: x, args: [--licence=abc], secrets: [licence]", &[]),
    ];
    for (server, expected) in cases {
        assert_eq!(found(server), *expected, "{server}");
    }
    let lints = load("command: x, env: {LICENCE: abc}, secrets: [LICENSE]").expect_err("misspelt");
    assert!(lints.iter().any(|lint| lint.to_string().ends_with("; did you mean `LICENCE`?")), "{lints:?}");
}

#[test]
fn a_credential_that_cannot_be_meant_is_found_before_it_is_sent() {
    let token = |token: &str| format!("url: 'https://a', credential: {{kind: bearer, token: {token}}}");
    let header = |name: &str, value: &str| {
        format!("url: 'https://a', credential: {{kind: headers, headers: {{{name}: {value}}}}}")
    };
    let of_token: &[&str] = &["W secret-text servers[0].credential.token"];
    let cases: &[(String, &[&str])] = &[
        (token("'${TOKEN}'"), &[]),
        (token("'${EMPTY}'"), &["W unset-variable servers[0]"]),
        (token("'${NONE:-}'"), &["E credential servers[0].credential"]),
        (token("''"), &["E credential servers[0].credential"]),
        (token("$TOKEN"), of_token),
        (token("Bearer abc"), of_token),
        (token("' abc '"), of_token),
        (token("<token>"), of_token),
        (token("'${ENDED}'"), &["E credential servers[0].credential.token"]),
        (header("X-Key", "'${TOKEN}'"), &[]),
        (header("Authorization", "Basic dXNlcg"), &[]),
        (header("X-Key", "$TOKEN"), &["W secret-text servers[0].credential.headers.X-Key"]),
        (header("X-Key", "''"), &["W secret-text servers[0].credential.headers.X-Key"]),
        (header("Host", "a.example"), &["E credential servers[0].credential.headers.Host"]),
        (header("Mcp-Session-Id", "abc"), &["E credential servers[0].credential.headers.Mcp-Session-Id"]),
        (
            header("transfer-encoding", "chunked"),
            &["E credential servers[0].credential.headers.transfer-encoding"],
        ),
        (header("X-Key: a, x-key", "b"), &["E credential servers[0].credential.headers.x-key"]),
        ("command: x, env: {GITHUB: $TOKEN}".to_owned(), &["W secret-text servers[0].env.GITHUB"]),
        (
            "command: x, env: {GITHUB_TOKEN: '${EMPTY}'}".to_owned(),
            &["W secret-text servers[0].env.GITHUB_TOKEN"],
        ),
        ("command: x, env: {WORDS: '${EMPTY}'}".to_owned(), &[]),
        (
            "command: x, credential: {kind: env, env: {A: ' abc'}}".to_owned(),
            &["W secret-text servers[0].credential.env.A"],
        ),
        ("command: x, credential: {kind: env, env: {A: \"-----BEGIN-----\\nabc\\n\"}}".to_owned(), &[]),
    ];
    for (server, expected) in cases {
        assert_eq!(found(server), *expected, "{server}");
    }
    let loaded = load(&token("'${EMPTY}'")).expect("the others start");
    assert_eq!(loaded.config.servers[0].missing, ["EMPTY"], "nothing is sent to it");
}
