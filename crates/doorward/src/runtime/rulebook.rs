//! From the configuration to what the gateway decides by.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use doorward_gateway::Rulebook;
use doorward_gateway::door::{Front, Guard, Peers};
use doorward_identity::Authenticator;
use doorward_ledger::KnownSecrets;
use doorward_limit::{Limiter, Per, Quota, Quotas, RateLimit, RequestRate, Requests, Window};
use doorward_model::json::push_hex;
use doorward_policy::{Compiled, PolicyError, PolicySet, RegoSource, Warning, claims_named};
use doorward_upstream::{Credential, Protocol, ServerSpec, Transport};

use tokio::sync::watch;

use super::Surroundings;
use super::fetch::Fetcher;
use super::fixed::Fixed;
use super::trial;
use crate::config::limits::{Calendar, Limits, Period};
use crate::config::listen::Listen;
use crate::config::offered::Patterns;
use crate::config::policies::{Action, Operator, RolePolicy};
use crate::config::rego::{Mode, RegoPolicy};
use crate::config::requests::RequestLimit;
use crate::config::{Config, Loaded, servers};

/// Builds rulebooks, one after another, and remembers what need not be done again.
pub(super) struct Builder {
    surroundings: Surroundings,
    /// What no rulebook changes.
    pub(super) fixed: Fixed,
    in_force: watch::Sender<String>,
    /// The names in its rules and limits.
    patterns: watch::Sender<Arc<Patterns>>,
    /// Rego sources that survived their trial, by digest.
    tried: HashSet<[u8; 32]>,
    compiled: Compiled,
    limiter: Option<(String, Arc<Limiter>)>,
    requests: Option<Arc<Requests>>,
    authenticator: Option<Arc<Authenticator>>,
    /// What is doubtful about the policies compiled last.
    doubts: Vec<Warning>,
}

impl Builder {
    pub(super) fn new(surroundings: Surroundings, fixed: Fixed) -> Self {
        Self {
            surroundings,
            fixed,
            in_force: watch::Sender::default(),
            patterns: watch::Sender::default(),
            tried: HashSet::new(),
            compiled: Compiled::default(),
            limiter: None,
            requests: None,
            authenticator: None,
            doubts: Vec::new(),
        }
    }

    pub(super) fn is_in_force(&self, digest: &str) -> bool {
        *self.in_force.borrow() == digest
    }

    pub(super) fn put_in_force(&mut self, loaded: &Loaded) {
        self.in_force.send_replace(loaded.digest.clone());
        self.patterns.send_replace(Arc::new(Patterns::of(&loaded.config)));
    }

    /// The names in the rules and limits in force, now and later.
    pub(super) fn patterns(&self) -> watch::Receiver<Arc<Patterns>> {
        self.patterns.subscribe()
    }

    /// The digest of what is in force, now and later.
    pub(super) fn in_force(&self) -> watch::Receiver<String> {
        self.in_force.subscribe()
    }

    /// Compiles everything that a configuration says.
    pub(super) fn build(&mut self, config: &Config) -> anyhow::Result<Rulebook> {
        Ok(Rulebook {
            front: Arc::new(front(&config.listen)),
            authenticator: self.authenticator(config)?,
            servers: config.servers.iter().map(registered).collect(),
            policy: Arc::new(self.policy(config)?),
            limiter: self.limiter(&config.limits)?,
            requests: self.requests(config.request_limit),
            quotas: Arc::new(Quotas::new(quotas(&config.limits)?)),
            metering: config.metering.enabled.then(|| config.metering.dimensions()),
            known: Arc::new(known(config)),
        })
    }

    /// Goes on with what the one before it has fetched: a reload must not make everybody's
    /// token depend on an issuer that is down.
    fn authenticator(&mut self, config: &Config) -> anyhow::Result<Arc<Authenticator>> {
        let fetcher = Arc::new(Fetcher::new(Arc::clone(&self.surroundings.clock)));
        let clock = Arc::clone(&self.surroundings.clock);
        let mut settings = config.auth.settings();
        if let Some(jwt) = &mut settings.jwt {
            let policies: Vec<_> = config.policies.iter().map(role_policy).collect();
            jwt.claims = claims_named(&policies);
        }
        let fresh = Authenticator::new(settings, clock, Some(fetcher))?;
        let authenticator = Arc::new(match &self.authenticator {
            Some(earlier) => fresh.after(earlier),
            None => fresh,
        });
        self.authenticator = Some(Arc::clone(&authenticator));
        Ok(authenticator)
    }

    fn policy(&mut self, config: &Config) -> anyhow::Result<PolicySet> {
        let rego: Vec<_> = config.rego_policies.iter().map(rego_source).collect();
        let mut survived = Vec::new();
        let program: PathBuf = self.surroundings.program.clone();
        let tried = &self.tried;
        let newly = std::cell::RefCell::new(&mut survived);
        let trial = |source: &RegoSource| {
            let digest = trial::digest(source);
            if tried.contains(&digest) {
                return Ok(());
            }
            trial::in_a_child(&program, source)?;
            newly.borrow_mut().push(digest);
            Ok(())
        };
        let roles = config.policies.iter().map(role_policy).collect();
        let compiled =
            PolicySet::compile_anew(roles, rego, &config.policy_options(), &trial, &mut self.compiled);
        self.tried.extend(survived);
        match compiled {
            Ok((policy, warnings)) => {
                for warning in &warnings {
                    tracing::warn!(target: "doorward::policy", "{warning}");
                }
                self.doubts = warnings;
                usable(policy).map_err(|error| Unusable(vec![error]).into())
            }
            Err(errors) => Err(Unusable(errors).into()),
        }
    }

    /// The limiter of the last rulebook, if nothing about rate limits has changed: a
    /// reload must not refill anybody's bucket.
    fn limiter(&mut self, limits: &Limits) -> anyhow::Result<Arc<Limiter>> {
        let told = format!("{:?} {:?}", limits.default, limits.rates);
        if let Some((before, limiter)) = &self.limiter
            && *before == told
        {
            return Ok(Arc::clone(limiter));
        }
        let limiter = Arc::new(Limiter::new(rates(limits)?, Arc::clone(&self.surroundings.clock)));
        self.limiter = Some((told, Arc::clone(&limiter)));
        Ok(limiter)
    }

    /// The same for requests that are no calls.
    fn requests(&mut self, limit: Option<RequestLimit>) -> Arc<Requests> {
        let rate = limit.map(|RequestLimit { per_second, burst }| RequestRate { per_second, burst });
        if let Some(requests) = self.requests.as_ref().filter(|requests| requests.rate() == rate) {
            return Arc::clone(requests);
        }
        let requests = Arc::new(Requests::new(rate, Arc::clone(&self.surroundings.clock)));
        self.requests = Some(Arc::clone(&requests));
        requests
    }
}

/// Compiled policies, if a gateway can do all that they say.
///
/// # Errors
/// What it cannot do.
pub(crate) fn usable(policy: PolicySet) -> Result<PolicySet, PolicyError> {
    // What a policy wants taken out must not go out because nobody did it.
    let redacting = policy.redacting().next().map(str::to_owned);
    let message = "defines `redact`, which this version cannot do: take it out, or `deny`";
    match redacting {
        Some(place) => Err(PolicyError { place, at: None, message: message.to_owned() }),
        None => Ok(policy),
    }
}

/// Policies that cannot be put in force.
#[derive(Debug)]
pub(super) struct Unusable(pub(super) Vec<PolicyError>);

impl std::error::Error for Unusable {}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&errors.join("\n"))
    }
}

/// Compiles what a configuration says, and lets go of it: what a start would find wrong, or
/// doubtful.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn compile(config: &Config, surroundings: &Surroundings) -> anyhow::Result<Vec<Warning>> {
    let mut builder = Builder::new(surroundings.clone(), Fixed::of(config));
    builder.build(config)?;
    Ok(builder.doubts)
}

fn front(listen: &Listen) -> Front {
    let (proxies, filter) = (listen.trusted_proxies.clone(), listen.ip_filter.clone());
    Front {
        guard: Guard::new(&listen.allowed_hosts, &listen.origins),
        peers: Peers::new(
            move |address| proxies.iter().any(|network| network.contains(address)),
            move |address| filter.as_ref().is_none_or(|filter| filter.admits(address)),
        )
        .only_proxied(listen.tls.is_none() && !listen.is_loopback()),
    }
}

fn rates(limits: &Limits) -> anyhow::Result<Vec<RateLimit>> {
    let mut rates = Vec::new();
    if let Some(default) = &limits.default {
        rates.push(RateLimit {
            name: "default".to_owned(),
            key: "consumer:server".parse()?,
            server: None,
            tool: None,
            max: default.per_minute,
            per: Per::Minute,
            burst: default.burst(default.per_minute),
            override_by_grant: Some(default.burst_multiplier),
        });
    }
    for rate in &limits.rates {
        rates.push(RateLimit {
            name: rate.name.clone(),
            key: rate.key.parse()?,
            server: rate.server.clone(),
            tool: rate.tool.clone(),
            max: rate.max,
            per: match rate.per {
                Period::Second => Per::Second,
                Period::Minute => Per::Minute,
            },
            burst: rate.burst,
            override_by_grant: None,
        });
    }
    Ok(rates)
}

fn quotas(limits: &Limits) -> anyhow::Result<Vec<Quota>> {
    let quota = |quota: &crate::config::limits::Quota| {
        Ok(Quota {
            name: quota.name.clone(),
            key: quota.key.parse()?,
            server: quota.server.clone(),
            tool: quota.tool.clone(),
            max: quota.max,
            per: match quota.per {
                Calendar::Minute => Window::Minute,
                Calendar::Hour => Window::Hour,
                Calendar::Day => Window::Day,
                Calendar::Month => Window::Month,
            },
        })
    };
    limits.quotas.iter().map(quota).collect()
}

fn registered(server: &servers::Server) -> Arc<doorward_registry::Server> {
    if !server.missing.is_empty() {
        tracing::error!(
            target: "doorward::config",
            server = %server.id,
            "the server cannot be used: missing secret {}; set it where the gateway is started",
            server.missing.join(", ")
        );
    }
    Arc::new(doorward_registry::Server {
        id: server.id.clone(),
        name: server.name.clone(),
        tags: server.tags.clone(),
        transport: server.transport.as_str(),
        address: address(&server.transport),
        enabled: server.enabled,
        lacking: server.missing.clone(),
        disable: server.disable.clone(),
        exact_numbers: server.exact_numbers,
    })
}

/// A digest of where a server is. It holds nothing that changes while the server stays the same,
/// such as a credential or a bound.
fn address(transport: &servers::Transport) -> String {
    let place = match transport {
        servers::Transport::Stdio { command, args, cwd, .. } => format!("stdio {command:?} {args:?} {cwd:?}"),
        servers::Transport::Http { url } | servers::Transport::Sse { url } => format!("url {url}"),
    };
    let mut out = String::new();
    push_hex(&mut out, digest(&SHA256, place.as_bytes()).as_ref());
    out
}

/// The secrets of a configuration, which no preview of arguments shows.
fn known(config: &Config) -> KnownSecrets {
    let specs = specs(config);
    KnownSecrets::new(specs.iter().flat_map(ServerSpec::secrets).chain(&config.shared))
}

/// How each server in use is reached.
pub(crate) fn specs(config: &Config) -> Vec<ServerSpec> {
    config.servers.iter().filter(|server| server.enabled).map(spec).collect()
}

fn spec(server: &servers::Server) -> ServerSpec {
    let transport = match &server.transport {
        servers::Transport::Stdio { command, args, env, cwd, max_memory } => Transport::Stdio {
            command: command.clone(),
            args: args.clone(),
            env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: cwd.clone(),
            max_memory: *max_memory,
        },
        servers::Transport::Http { url } => Transport::Http { url: url.clone() },
        servers::Transport::Sse { url } => Transport::Sse { url: url.clone() },
    };
    let credential = match &server.credential {
        // A child finds its own in its environment.
        servers::Credential::None | servers::Credential::Env => Credential::None,
        servers::Credential::Bearer(token) => Credential::Bearer(token.clone()),
        servers::Credential::Headers(headers) => {
            Credential::Headers(headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
    };
    ServerSpec {
        protocol: match server.protocol {
            servers::Protocol::Auto => Protocol::Auto,
            servers::Protocol::Legacy => Protocol::Legacy,
            servers::Protocol::Modern => Protocol::Modern,
        },
        credential,
        secrets: server.secrets.clone(),
        timeout: server.timeout,
        max_timeout: server.max_timeout,
        start_timeout: server.start_timeout,
        idle_timeout: server.idle_timeout,
        allow_insecure_http: server.allow_insecure_http,
        lacking: server.missing.clone(),
        ..ServerSpec::new(server.id.clone(), transport)
    }
}

/// Role rules as the policy crate reads them.
pub fn role_policy(policy: &RolePolicy) -> doorward_policy::RolePolicy {
    let rules = policy.rules.iter().map(|rule| doorward_policy::Rule {
        server: rule.server.clone(),
        tool: rule.tool.clone(),
        resource: rule.resource.clone(),
        prompt: rule.prompt.clone(),
        action: action(&rule.action).to_owned(),
        conditions: rule
            .conditions
            .iter()
            .map(|condition| doorward_policy::Condition {
                param: condition.param.clone(),
                operator: operator(&condition.operator).to_owned(),
                value: condition.value.clone(),
            })
            .collect(),
    });
    doorward_policy::RolePolicy {
        id: policy.id.clone(),
        name: policy.name.clone(),
        roles: policy.roles.clone(),
        rules: rules.collect(),
    }
}

fn action(action: &Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Hide => "hide",
        Action::Approve => "approve",
        Action::Ignored => "ignored",
    }
}

fn operator(operator: &Operator) -> &'static str {
    match operator {
        Operator::Eq => "eq",
        Operator::Neq => "neq",
        Operator::In => "in",
        Operator::NotIn => "not_in",
        Operator::Regex => "regex",
        Operator::Lt => "lt",
        Operator::Lte => "lte",
        Operator::Gt => "gt",
        Operator::Gte => "gte",
        Operator::Contains => "contains",
        Operator::Exists => "exists",
        Operator::Ignored => "ignored",
    }
}

/// A Rego policy as the policy crate reads it.
pub fn rego_source(policy: &RegoPolicy) -> RegoSource {
    RegoSource {
        name: policy.name.clone(),
        source: policy.source.clone(),
        file: policy.file.as_ref().map(|file| file.display().to_string()),
        data: policy.data.clone(),
        mode: match policy.mode {
            Mode::Enforce => doorward_policy::Mode::Enforce,
            Mode::Shadow => doorward_policy::Mode::Shadow,
            Mode::Off => doorward_policy::Mode::Off,
        },
    }
}
