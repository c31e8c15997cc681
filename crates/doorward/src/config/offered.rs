//! Rules and limits held against what servers offer: a name that nothing has is a typing error, and
//! a deny rule with one denies nothing. Silent wherever a name may still turn up: on a server whose
//! list is unknown or not whole, and on one that is switched off.

use doorward_gateway::door::{Offered, Offers};
use doorward_model::glob;

use super::Config;
use super::lint::{Findings, nearest};
use crate::printable::printable;

/// Every name in the rules and limits of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    servers: Vec<String>,
    patterns: Vec<Pattern>,
}

/// A glob over names of tools or prompts.
#[derive(Debug)]
struct Pattern {
    /// Where it stands: `policies[0].rules[1].tool`.
    path: String,
    of: Of,
    server: Option<String>,
    glob: String,
}

/// Whose names a glob is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Tools, as in a rule.
    Tools,
    /// Prompts, as in a rule.
    Prompts,
    /// Tools, prompts and URIs of resources, as in a limit.
    Targets,
}

impl Of {
    fn noun(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Targets => "tool or prompt",
        }
    }

    /// The names that a server has for such a glob; `None` while there may be more.
    fn names<'a>(self, glob: &str, offered: &'a Offered) -> Option<Vec<&'a str>> {
        let lists = match self {
            Self::Tools => vec![offered.tools.as_ref()?],
            Self::Prompts => vec![offered.prompts.as_ref()?],
            Self::Targets if may_be_uri(glob) && !offered.is_without_resources => return None,
            Self::Targets => vec![offered.tools.as_ref()?, offered.prompts.as_ref()?],
        };
        Some(lists.into_iter().flatten().map(String::as_str).collect())
    }
}

/// Whether a glob can match the URI of a resource: without a wildcard it needs a colon for that.
fn may_be_uri(glob: &str) -> bool {
    glob.contains([':', '*', '?'])
}

impl Patterns {
    /// Those of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let mut patterns = Vec::new();
        let mut add = |path: String, of: Of, server: &Option<String>, glob: &Option<String>| {
            let server = server.clone();
            patterns.extend(glob.clone().map(|glob| Pattern { path, of, server, glob }));
        };
        for (index, policy) in config.policies.iter().enumerate() {
            for (number, rule) in policy.rules.iter().enumerate() {
                let path = format!("policies[{index}].rules[{number}]");
                add(format!("{path}.tool"), Of::Tools, &rule.server, &rule.tool);
                add(format!("{path}.prompt"), Of::Prompts, &rule.server, &rule.prompt);
            }
        }
        let limits = &config.limits;
        let path = |name: &String| {
            let index = limits.in_file.iter().position(|other| other == name).unwrap_or_default();
            format!("limits[{index}].tool")
        };
        for rate in &limits.rates {
            add(path(&rate.name), Of::Targets, &rate.server, &rate.tool);
        }
        for quota in &limits.quotas {
            add(path(&quota.name), Of::Targets, &quota.server, &quota.tool);
        }
        Self { servers: config.servers.iter().map(|server| server.id.to_string()).collect(), patterns }
    }

    /// A warning for each that matches nothing of all that it can be about.
    pub(crate) fn unmatched(&self, offers: &Offers) -> Findings {
        let mut findings = Findings::default();
        for pattern in &self.patterns {
            let is_meant =
                |id: &&String| pattern.server.as_deref().is_none_or(|server| glob::matches(server, id));
            let servers: Vec<_> = self.servers.iter().filter(is_meant).collect();
            let names = servers.iter().map(|id| pattern.of.names(&pattern.glob, offers.get(*id)?));
            let Some(names) = names.collect::<Option<Vec<_>>>().map(|names| names.concat()) else { continue };
            // A rule about no server at all is told otherwise.
            if servers.is_empty() || names.iter().any(|name| glob::matches(&pattern.glob, name)) {
                continue;
            }
            let (glob, noun) = (printable(&pattern.glob), pattern.of.noun());
            let whose = match &*servers {
                [server] => format!("`{server}` offers"),
                several => format!("any of the {} servers offers", several.len()),
            };
            let message = format!("`{glob}` matches no {noun} that {whose}, so it has no effect");
            let word = pattern.glob.trim_matches('*');
            let remedy = match nearest(word, names.iter().copied()) {
                Some(name) => format!("did you mean `{}`?", printable(name)),
                None => format!(
                    "`doorward servers {}s ID` lists them",
                    if pattern.of == Of::Prompts { "prompt" } else { "tool" }
                ),
            };
            findings.warn("unmatched-name", pattern.path.as_str(), message).remedy(remedy);
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::Positions;

    fn offered(tools: &[&str], prompts: &[&str]) -> Offered {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        Offered { tools: names(tools), prompts: names(prompts), is_without_resources: true }
    }

    fn said(of: Of, server: Option<&str>, glob: &str, offers: &Offers) -> Option<String> {
        let server = server.map(str::to_owned);
        let patterns = vec![Pattern { path: "at".to_owned(), of, server, glob: glob.to_owned() }];
        let servers = ["git", "wiki"].map(str::to_owned).into();
        let found = Patterns { servers, patterns }.unmatched(offers).located(&Positions::default());
        assert!(
            found.len() <= 1 && found.iter().all(|lint| lint.code == "unmatched-name" && !lint.is_error())
        );
        found.first().map(ToString::to_string)
    }

    #[test]
    fn a_name_that_no_server_can_have_is_found_with_the_nearest() {
        let both: Offers = [
            ("git".to_owned(), offered(&["git_log", "git_status"], &["review"])),
            ("wiki".to_owned(), offered(&["read_page"], &[])),
        ]
        .into();
        let git = Some("git");
        let log = "warning: at: `git_lgo` matches no tool that `git` offers, so it has no effect; did you mean `git_log`?";
        let all = "warning: at: `red_page` matches no tool that any of the 2 servers offers, so it has no effect; did you mean `read_page`?";
        let star = "warning: at: `git_lgo*` matches no tool that `git` offers, so it has no effect; did you mean `git_log`?";
        let prompt = "warning: at: `reviw` matches no prompt that `git` offers, so it has no effect; did you mean `review`?";
        let limit = "warning: at: `reviw` matches no tool or prompt that `git` offers, so it has no effect; did you mean `review`?";
        let far = "warning: at: `git_log` matches no tool that `wiki` offers, so it has no effect; `doorward servers tools ID` lists them";
        for (of, server, glob, expected) in [
            (Of::Tools, git, "git_lgo", Some(log)),
            (Of::Tools, git, "git_log", None),
            (Of::Tools, git, "git_l*", None),
            (Of::Tools, git, "git_lgo*", Some(star)),
            (Of::Tools, git, "*", None),
            (Of::Tools, None, "read_page", None),
            (Of::Tools, None, "red_page", Some(all)),
            (Of::Tools, Some("g*"), "git_lgo", Some(log)),
            (Of::Tools, Some("wiki"), "git_log", Some(far)),
            (Of::Tools, Some("absent"), "git_log", None),
            (Of::Prompts, git, "review", None),
            (Of::Prompts, git, "reviw", Some(prompt)),
            (Of::Targets, git, "review", None),
            (Of::Targets, git, "git_log", None),
            (Of::Targets, git, "reviw", Some(limit)),
        ] {
            assert_eq!(said(of, server, glob, &both).as_deref(), expected, "{of:?} {server:?} {glob}");
        }
    }

    #[test]
    fn what_may_still_turn_up_is_not_complained_about() {
        let unknown: Offers = [("git".to_owned(), offered(&["git_log"], &[]))].into();
        let mut partial = unknown.clone();
        partial.insert("wiki".to_owned(), Offered::default());
        let resources = Offered { is_without_resources: false, ..offered(&["read_page"], &[]) };
        let resources: Offers =
            [("git".to_owned(), offered(&["git_log"], &[])), ("wiki".to_owned(), resources)].into();
        for (of, server, glob, offers, is_said) in [
            (Of::Tools, None, "git_lgo", &unknown, false),
            (Of::Tools, None, "git_lgo", &partial, false),
            (Of::Tools, Some("wiki"), "git_lgo", &partial, false),
            (Of::Prompts, Some("wiki"), "x", &partial, false),
            (Of::Tools, Some("git"), "git_lgo", &partial, true),
            (Of::Targets, Some("wiki"), "wiki://*", &resources, false),
            (Of::Targets, Some("wiki"), "wiki*", &resources, false),
            (Of::Targets, Some("wiki"), "red_page", &resources, true),
            (Of::Tools, Some("wiki"), "red*", &resources, true),
        ] {
            assert_eq!(said(of, server, glob, offers).is_some(), is_said, "{of:?} {server:?} {glob}");
        }
    }
}
