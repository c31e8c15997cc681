//! What clients and servers say of themselves narrows verdicts and never widens them.

mod world;

use doorward_model::ClientLabel;
use doorward_policy::{DefinitionFacts, Mode, Options, PolicySet, RegoSource, simulate};
use proptest::prelude::*;
use serde_json::json;
use world::{World, compile, json as parse, rego, roles, set, set_of_rego};

fn called_by(name: &str) -> World {
    let mut world = World::new("t");
    world.client = ClientLabel { name: name.into(), version: String::new() };
    world
}

fn annotated(annotations: &str, reviewer: &str) -> World {
    let mut world = called_by("");
    world.definition = Some(DefinitionFacts::reviewed("sha256:00", annotations.as_bytes(), "read", reviewer));
    world
}

#[test]
fn what_a_client_says_of_itself_denies_and_never_allows() {
    let cases = [
        // policy, what nobody, `good` and `bad` get
        ("allow if input.context.client.name == \"good\"", "deny deny deny"),
        ("allow if input.context.client.name != \"bad\"", "deny deny deny"),
        ("allow if not input.context.client.name == \"bad\"", "allow allow deny"),
        ("allow := true\ndeny contains \"no\" if input.context.client.name == \"bad\"", "allow allow deny"),
        ("allow := true\ndeny contains \"no\" if input.context.client.name == \"\"", "deny deny deny"),
        ("allow := true\nhide contains \"no\" if input.context.client.name == \"bad\"", "allow allow hide"),
        (
            "allow := true\napprove contains \"ask\" if input.context.client.name == \"bad\"",
            "allow allow approve",
        ),
        ("approve contains \"ask\" if input.context.client.name == \"good\"", "deny deny deny"),
        ("allow if friend\nfriend if input.context.client.name == \"good\"", "deny deny deny"),
        ("allow if { some k; input[k].client.name == \"good\" }", "deny deny deny"),
        ("import input.context as c\nallow if c.client.name == \"good\"", "deny deny deny"),
        ("allow if input.context.ip == \"127.0.0.1\"", "allow allow allow"),
    ];
    for (policy, expected) in cases {
        let set = set_of_rego(&format!("package p\n{policy}"));
        let verdict = |name| called_by(name).decide(&set).decision.verdict.to_string();
        assert_eq!([verdict(""), verdict("good"), verdict("bad")].join(" "), expected, "{policy}");
        // A policy that sees all of the input may allow something for some arguments.
        for name in ["", "good", "bad"].into_iter().filter(|_| !policy.contains("input[k]")) {
            let listing = called_by(name).lists(&set);
            assert_eq!(
                listing.shown,
                !expected.starts_with("deny") && verdict(name) != "hide" && verdict(name) != "deny",
                "{policy} {name}"
            );
        }
    }
}

#[test]
fn an_annotation_allows_once_somebody_has_reviewed_it() {
    let allow = set_of_rego("package p\nallow if input.definition.annotations.readOnlyHint == true");
    let deny = set_of_rego(
        "package p\nallow := true\ndeny contains \"destroys\" if input.definition.annotations.destructiveHint",
    );
    let whole = set_of_rego("package p\nallow if count(input.definition.annotations) == 0");
    let cases = [
        (&allow, r#"{"readOnlyHint":true}"#, "", "deny"),
        (&allow, r#"{"readOnlyHint":true}"#, "ana", "allow"),
        (&allow, r#"{"readOnlyHint":false}"#, "ana", "deny"),
        (&deny, "{}", "", "allow"),
        (&deny, r#"{"destructiveHint":true}"#, "", "deny"),
        (&deny, r#"{"destructiveHint":true}"#, "ana", "deny"),
        (&whole, "{}", "ana", "allow"),
        (&whole, "{}", "", "deny"),
    ];
    for (set, annotations, reviewer, expected) in cases {
        let verdict = annotated(annotations, reviewer).decide(set).decision.verdict;
        assert_eq!(verdict.to_string(), expected, "{annotations} reviewed by {reviewer:?}");
    }
}

#[test]
fn the_reasons_say_what_did_not_count_and_a_recorded_input_decides_alike() {
    let set = set_of_rego("package p\nallow if input.context.client.name == \"good\"");
    let ruling = called_by("good").decide(&set);
    let reason = "what the client or the server says in input.context.client.name cannot widen a verdict";
    assert_eq!(ruling.decision.reasons.last().map(String::as_str), Some(reason));
    let document = called_by("good").document(&set);
    let again = PolicySet::from_bundle(set.bundle(), &|_| Ok(())).expect("a bundle");
    for set in [&set, &again] {
        assert_eq!(simulate(set, parse(&document).root()), Ok(ruling.clone()));
    }
}

#[test]
fn a_shadow_policy_is_judged_as_if_it_were_enforced_and_redactions_add_up() {
    let shadow = RegoSource {
        mode: Mode::Shadow,
        ..rego("s", "package s\ndeny contains \"no\" if input.context.client.name != \"good\"")
    };
    let enforced = rego(
        "p",
        "package p\nallow := true\nredact contains \"/a\" if input.context.client.name != \"good\"",
    );
    let ruling = called_by("good").decide(&set(vec![], vec![enforced, shadow]));
    assert_eq!((ruling.decision.is_allowed(), ruling.redactions), (true, vec!["/a".to_owned()]));
    assert_eq!(ruling.shadow[0].1.verdict.to_string(), "deny");
}

#[test]
fn a_policy_that_reads_it_is_accepted_with_a_warning() {
    for (rule, place, remedy) in [
        (
            "allow if input.context.client.name == \"x\"",
            "`allow` reads `input.context.client.name`",
            "use `input.agent`",
        ),
        (
            "deny contains \"no\" if input.context.client.version == \"1\"",
            "`deny` reads `input.context.client.version`",
            "use `input.agent`",
        ),
        (
            "allow if input.definition.annotations.a",
            "`allow` reads `input.definition.annotations.a`",
            "have the definition reviewed",
        ),
    ] {
        let source = format!("package p\n\n{rule}");
        let (_, warnings) = compile(vec![], vec![rego("p", &source)], &Options::default()).expect(rule);
        let [warning] = &warnings[..] else { panic!("{rule}: {warnings:?}") };
        let text = warning.to_string();
        assert!(text.starts_with("p.rego:3") && text.contains(place) && text.contains(remedy), "{text}");
        assert!(text.contains("the stricter verdict counts"), "{text}");
    }
}

/// Conditions on what is said, and on what is not.
const CONDITIONS: [&str; 8] = [
    "input.context.client.name == \"x\"",
    "input.context.client.name != \"x\"",
    "not input.context.client.version == \"1\"",
    "input.definition.annotations.a",
    "not input.definition.annotations.a",
    "not input.definition.annotations.b",
    "input.tool == \"t\"",
    "input.arguments.n > 1",
];

const HEADS: [&str; 4] = ["allow", "deny contains \"d\"", "hide contains \"h\"", "approve contains \"a\""];

fn any_module() -> impl Strategy<Value = String> {
    // `hide` may not look at arguments.
    let rule =
        (0..HEADS.len(), 0..CONDITIONS.len(), 0..CONDITIONS.len() - 1).prop_map(|(head, one, other)| {
            let one = if head == 2 { one.min(CONDITIONS.len() - 2) } else { one };
            format!("{} if {{\n {}\n {}\n}}\n", HEADS[head], CONDITIONS[one], CONDITIONS[other])
        });
    prop::collection::vec(rule, 1..5).prop_map(|rules| format!("package p\n{}", rules.concat()))
}

/// Everything that may be said, by how much of it is.
fn all_worlds() -> Vec<(Vec<u8>, World)> {
    let mut worlds = Vec::new();
    for (name, version, a, b) in mixtures(&[3, 2, 2, 2]) {
        let mut world = World::new("t").with(r#"{"n":2}"#);
        world.client = ClientLabel {
            name: ["", "x", "y"][usize::from(name)].into(),
            version: ["", "1"][usize::from(version)].into(),
        };
        let mut annotations = serde_json::Map::new();
        for (member, is_said) in [("a", a), ("b", b)] {
            if is_said == 1 {
                annotations.insert(member.into(), json!(true));
            }
        }
        let annotations = serde_json::Value::from(annotations).to_string();
        world.definition = Some(DefinitionFacts::new("sha256:00", annotations.as_bytes()));
        worlds.push((vec![name, version, a, b], world));
    }
    worlds
}

fn mixtures(sizes: &[u8; 4]) -> Vec<(u8, u8, u8, u8)> {
    let mut all = Vec::new();
    for one in 0..sizes[0] {
        for two in 0..sizes[1] {
            for three in 0..sizes[2] {
                all.extend((0..sizes[3]).map(|four| (one, two, three, four)));
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_says_more_of_itself_is_never_allowed_more(one in any_module(), other in any_module(), allows in any::<bool>()) {
        let rules = json!([{"id": "r", "roles": ["reader"], "rules": [{"tool": "t", "action": "allow"}]}]);
        let policies = if allows { roles(rules) } else { vec![] };
        let set = set(policies, vec![rego("a", &one), rego("b", &other)]);
        let worlds = all_worlds();
        let decided: Vec<_> = worlds.iter().map(|(said, world)| (said, world.decide(&set).decision.verdict, world.lists(&set).shown)).collect();
        for (less, verdict, shown) in &decided {
            for (more, stricter, still) in &decided {
                let adds = less.iter().zip(*more).all(|(less, more)| *less == 0 || less == more);
                if adds {
                    prop_assert!(stricter >= verdict, "{less:?} gets {verdict}, {more:?} gets {stricter}\n{one}\n{other}");
                    prop_assert!(*shown || !still, "{more:?} is shown what {less:?} is not\n{one}\n{other}");
                }
            }
        }
    }
}
