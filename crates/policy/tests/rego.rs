//! Rego policies: what they may say, what they may not contain, and who wins.

mod world;

use doorward_model::Verdict;
use doorward_policy::{Mode, Options, RegoSource, trial_compile};
use serde_json::json;
use world::{World, compile, rego, roles, set, set_of_rego};

#[test]
fn each_entry_speaks_and_the_strongest_wins() {
    let set = set_of_rego(
        r#"package p
        allow if input.tool != "none"
        approve contains "costs money" if input.arguments.amount > 10
        deny contains msg if { input.arguments.amount > 100; msg := sprintf("%v is too much", [input.arguments.amount]) }
        deny contains {"reason": "frozen", "code": 7} if input.arguments.amount > 100
        hide contains "secret" if input.tool == "hidden"
        redact contains "/card" if input.arguments.card
        "#,
    );
    let cases = [
        ("refund", r#"{"amount":10}"#, "allow"),
        ("refund", r#"{"amount":11}"#, "approve | costs money"),
        ("refund", r#"{"amount":101}"#, "deny | 101 is too much | frozen"),
        ("hidden", r#"{"amount":101}"#, "hide | secret"),
        ("none", "{}", "deny | default_deny"),
        ("none", r#"{"amount":11}"#, "approve | costs money"),
        ("refund", r#"{"amount":"500"}"#, "deny | 500 is too much | frozen"),
    ];
    for (tool, arguments, expected) in cases {
        assert_eq!(World::new(tool).with(arguments).line(&set), expected, "{tool} {arguments}");
    }
    let ruling = World::new("refund").with(r#"{"card":"4111"}"#).decide(&set);
    assert_eq!(ruling.redactions, ["/card"]);
    let rule = ruling.decision.rule.expect("a pointer");
    assert!(rule.starts_with("policy/p@sha256:") && rule.ends_with("#allow"), "{rule}");
}

#[test]
fn layers_are_heard_together_and_a_deny_in_either_denies() {
    let policies = json!([{"id": "r", "name": "R", "roles": ["*"], "rules": [
        {"tool": "open", "action": "allow"}, {"tool": "shut", "action": "deny"}]}]);
    let set = set(
        roles(policies),
        vec![
            rego(
                "b",
                "package b\nallow if input.tool == \"other\"\ndeny contains \"late\" if input.arguments.late",
            ),
            rego("a", "package a\ndeny contains \"early\" if input.arguments.late"),
            rego("c", "package c\nallow if input.tool == \"shut\""),
        ],
    );
    let cases = [
        ("open", "{}", "allow"),
        ("open", r#"{"late":true}"#, "deny | early | late"),
        ("shut", r#"{"late":true}"#, "deny | Denied by policy \"R\": shut on * | early | late"),
        ("shut", "{}", "deny | Denied by policy \"R\": shut on *"),
        ("other", "{}", "allow"),
        ("else", "{}", "deny | default_deny | No matching policy rules (default deny)"),
    ];
    for (tool, arguments, expected) in cases {
        assert_eq!(World::new(tool).with(arguments).line(&set), expected, "{tool} {arguments}");
    }
}

#[test]
fn a_shadow_policy_is_recorded_and_changes_nothing() {
    let shadow = |mode| RegoSource {
        mode,
        ..rego("s", "package s\ndeny contains \"new rule\"\nredact contains \"/x\"")
    };
    let allow = rego("a", "package a\nallow := true");
    let watched = set(vec![], vec![shadow(Mode::Shadow), allow.clone()]);
    let ruling = World::new("t").decide(&watched);
    assert_eq!(ruling.decision.verdict, Verdict::Allow);
    assert_eq!(ruling.shadow.len(), 1);
    assert_eq!((ruling.shadow[0].0.as_str(), ruling.shadow[0].1.verdict), ("s", Verdict::Deny));
    assert!(ruling.redactions.is_empty());
    let off = set(vec![], vec![shadow(Mode::Off), allow]);
    assert!(World::new("t").decide(&off).shadow.is_empty());
    assert_ne!(off.digest(), watched.digest());
}

#[test]
fn what_could_not_be_repeated_or_not_end_is_refused_by_name_and_place() {
    let deep = format!("package p\nallow if {{ x := {}1{} }}", "[".repeat(24), "]".repeat(24));
    let cases = [
        ("package p\nallow if {\n time.now_ns() > 0 }", "p.rego:3: `time.now_ns` reads the clock"),
        ("package p\nallow if rand.intn(\"x\", 2) == 1", "p.rego:2: `rand.intn` is different every time"),
        ("package p\nallow if uuid.rfc4122(\"x\")", "p.rego:2: `uuid.rfc4122`"),
        ("package p\nallow if opa.runtime().env", "p.rego:2: `opa.runtime` reads the environment"),
        ("package p\nallow if http.send({\"url\": \"x\"}).body", "p.rego:2: `http.send` reaches outside"),
        ("package p\nallow if net.lookup_ip_addr(\"x\")", "p.rego:2: `net.lookup_ip_addr` reaches outside"),
        ("package p\nallow if print(input)", "p.rego:2: `print`"),
        ("package p\nallow if trace(\"x\")", "p.rego:2: `trace`"),
        (
            "package p\nallow if glob.match(\"a:*\", [\":\"], input.tool)",
            "p.rego:2: `:` cannot be a delimiter",
        ),
        (
            "package p\nallow if glob.match(\"a\", input.scopes, input.tool)",
            "p.rego:2: `glob.match` needs its delimiters written out",
        ),
        (
            "package p\nallow if count(numbers.range(1, input.arguments.n)) > 2",
            "p.rego:2: `numbers.range` needs its bounds",
        ),
        (
            "package p\nallow if time.clock([1, \"Local\"])[0] > 2",
            "p.rego:2: `time.clock` needs its time zone",
        ),
        (
            "package p\nallow if startwith(input.tool, \"x\")",
            "there is no function `startwith`; did you mean `startswith`?",
        ),
        ("package p\nallow if y\ny if x\nx if y", "depends on itself"),
        ("package p\nallow if f(1) == 2\nf(a) := f(a + 1)", "p.rego:3: `f` depends on itself: f → f"),
        ("package p\nallow if data.p.allow", "p.rego:2: `allow` depends on itself"),
        ("package p\nallow if data[input.tool].x", "p.rego:2: `allow` depends on itself"),
        ("package p\nimport data.p.x as y\nallow if x\nx if y", "p.rego:4: `x` depends on itself"),
        (deep.as_str(), "p.rego:2: nests brackets deeper than 10"),
        (
            "package p\nhide contains \"x\" if input.arguments.y",
            "p.rego:2: `hide` depends on `input.arguments`",
        ),
        (
            "package p\nhide contains \"x\" if z\nz if input[\"arguments\"].y",
            "`hide` depends on `input.arguments`",
        ),
        (
            "package p\nimport input.arguments as a\nhide contains \"x\" if a.y",
            "`hide` depends on `input.arguments`",
        ),
        ("package p\nhide contains \"x\" if walk(input, [_, 1])", "`hide` depends on `input.arguments`"),
        ("package p\nx := 1", "p.rego:1:1: error: defines none of allow, deny, hide, approve and redact"),
        ("package p\nallow contains \"x\"", "p.rego:2: `allow` is true or false"),
        ("package p\nallow(x) := true", "p.rego:2: `allow` is a function"),
        ("package p\nallow if {", "error: "),
        (
            "package p\nallow if input.args.x",
            "p.rego:2:10: error: there is no `input.args`; did you mean `arguments`?",
        ),
        ("package p\nimport input.usr as u\nallow if u", "p.rego:2:"),
        (
            "package p\nallow if f(1)\nf(x) if input.tol == x",
            "p.rego:3:9: error: there is no `input.tol`; did you mean `tool`?",
        ),
        (
            "package p\nallow if { some c in input.session.calls; c.tool; input.session.calls[_].tol }",
            "there is no `input.session.calls[_].tol`",
        ),
        (
            "package p\nallow if object.get(input, [\"context\", \"orign\"], \"\") == \"\"",
            "there is no `input.context.orign`; did you mean `origin`?",
        ),
        ("package p\nallow if input.scopes.admin", "is a list"),
        ("package p[\"a b\"]\nallow := true", "package name"),
    ];
    for (source, expected) in cases {
        let errors = compile(vec![], vec![rego("p", source)], &Options::default()).expect_err(source);
        let texts = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        // `p.rego:2: text` stands for that line and any column.
        let (place, what) = match expected.split_once(": ") {
            Some((place, what)) if place.starts_with("p.rego:") && !expected.contains("error: ") => {
                (format!("{place}:"), what)
            }
            _ => (String::new(), expected),
        };
        let is_meant = |line: &str| line.starts_with(&place) && line.contains(what);
        assert!(texts.lines().any(is_meant), "{source}\n-- gave --\n{texts}");
        assert!(texts.lines().all(|line| line.matches("p.rego:").count() == 1), "said once: {texts}");
        assert!(texts.lines().all(|line| line.contains(": error: ")), "{texts}");
    }
}

#[test]
fn a_parameter_that_shares_a_rules_name_is_no_recursion() {
    let set = set_of_rego(
        "package p\nallow if is_ana(user)\nuser := input.user\nis_ana(user) if startswith(user, \"ana@\")",
    );
    assert_eq!(World::new("t").line(&set), "allow");
}

#[test]
fn a_built_in_that_gets_a_wrong_type_denies_and_a_guarded_one_is_fast() {
    let careless =
        "package p\nallow := true\ndeny contains \"system\" if startswith(input.arguments.path, \"/etc\")";
    let careful = "package p\nallow := true\ndeny contains \"system\" if { is_string(input.arguments.path); startswith(input.arguments.path, \"/etc\") }\ndeny contains \"no path\" if not is_string(input.arguments.path)";
    let (careless, careful) = (set_of_rego(careless), set_of_rego(careful));
    let cases = [
        (r#"{"path":"/etc/passwd"}"#, "deny | system", "deny | system"),
        (r#"{"path":"/home"}"#, "allow", "allow"),
        (r#"{"path":["/etc"]}"#, "deny | policy_error", "deny | no path"),
    ];
    for (arguments, when_careless, when_careful) in cases {
        assert_eq!(World::new("t").with(arguments).line(&careless), when_careless, "{arguments}");
        assert_eq!(World::new("t").with(arguments).line(&careful), when_careful, "{arguments}");
    }
    assert_eq!(World::new("t").decide(&careless).evaluator, "regorus/0.14.1 interpreter");
    assert_eq!(World::new("t").decide(&careful).evaluator, "regorus/0.14.1 rvm");
}

#[test]
fn conflicting_rules_are_an_error_and_move_to_the_interpreter() {
    let source =
        "package p\nlevel := 1 if input.tool != \"\"\nlevel := 2 if input.arguments.two\nallow if level > 0";
    let (set, warnings) = compile(vec![], vec![rego("p", source)], &Options::default()).expect("valid");
    assert!(warnings.iter().any(|warning| warning.message.contains("slower interpreter")), "{warnings:?}");
    assert_eq!(World::new("t").with("{}").line(&set), "allow");
    let conflict = World::new("t").with(r#"{"two":true}"#).decide(&set);
    assert_eq!(conflict.decision.reasons, ["policy_error"]);
    assert_eq!(conflict.evaluator, "regorus/0.14.1 interpreter");
}

#[test]
fn ordinary_policies_run_on_the_register_machine() {
    let sources = [
        "package p\ndefault allow := false\nallow if { input.identity.user.domain == \"corp.example\"; startswith(input.tool, \"get_\") }",
        "package p\nallow if { some role in input.identity.grant.roles; data.grants[role][input.tool] }\ndeny contains \"cap\" if input.arguments.amount > data.cap",
        "package p\ndeny contains msg if { is_array(input.arguments.items); some item in input.arguments.items; is_object(item); item.price > 10; msg := sprintf(\"%s costs %v\", [item.name, item.price]) }",
        "package p\nallow if regex.match(`^a+$`, input.tool)\nhide contains \"x\" if input.tool in {\"a\", \"b\"}",
        "package p\nallow if every label in input.session.labels { label != \"pii\" }",
        "package p\ndeny contains \"weekend\" if time.weekday(time.parse_rfc3339_ns(input.context.time)) in {\"Saturday\", \"Sunday\"}",
        "package p\nallow if count([c | some c in input.session.calls; c.verdict == \"deny\"]) < 3",
        "package p\nallow if is_ok(input)\nis_ok(i) if i.tool == \"x\"\nelse := false",
    ];
    for source in sources {
        let policy = RegoSource {
            data: Some(r#"{"grants":{"reader":{"get_x":true}},"cap":100}"#.into()),
            ..rego("p", source)
        };
        let (set, warnings) = compile(vec![], vec![policy], &Options::default()).expect(source);
        assert_eq!(World::new("t").decide(&set).evaluator, "regorus/0.14.1 rvm", "{source}\n{warnings:?}");
    }
}

#[test]
fn doubtful_policies_are_accepted_with_a_warning() {
    let cases = [(
        "package p\nallow if not input.arguments.role in {\"root\"}",
        "p.rego:2:10: warning: `not` over a call is true when the argument is missing",
    )];
    for (source, expected) in cases {
        let (_, warnings) = compile(vec![], vec![rego("p", source)], &Options::default()).expect(source);
        let texts = warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(texts.contains(expected), "{source}\n-- gave --\n{texts}");
    }
}

#[test]
fn a_list_shows_what_rego_could_allow_for_some_arguments_and_nothing_else() {
    let cases = [
        ("package p\nallow if input.tool == \"t\"", true, "allowed"),
        ("package p\nallow if input.tool == \"u\"", false, "nobody allows it"),
        ("package p\nallow if input.arguments.x == 1", true, "some arguments may"),
        ("package p\nallow if ok\nok if input.arguments.x == 1", true, "through another rule"),
        ("package p\nallow := true\ndeny contains \"no\"", false, "denied whatever the arguments"),
        ("package p\nallow := true\ndeny if input.tool == \"t\"", false, "the same, as a truth"),
        (
            "package p\nallow := true\ndeny contains \"no\" if bad\nbad if input.tool == \"t\"",
            false,
            "through another rule",
        ),
        (
            "package p\nallow := true\ndeny contains \"no\" if input.arguments.x > 1",
            true,
            "denied for some arguments",
        ),
        (
            "package p\nallow := true\ndeny contains \"no\" if not input.arguments.x",
            true,
            "denied without arguments alone",
        ),
        (
            "package p\nallow := true\ndeny contains \"a\" if input.tool == \"t\"\ndeny contains \"b\" if input.arguments.x > 1",
            false,
            "one part of the refusal does not look at them",
        ),
        (
            "package p\nallow := true\ndeny contains \"a\" if input.tool == \"u\"\ndeny contains \"b\" if not input.arguments.x",
            true,
            "the part that does not look at them is silent",
        ),
        ("package p\nallow := \"yes\" if input.tool == \"t\"", false, "an error whatever the arguments"),
        ("package p\ndeny contains \"no\" if input.arguments.x", false, "nobody allows it"),
        ("package p\nallow := true\nhide contains \"no\"", false, "hidden"),
        ("package p\napprove contains \"ask\"", true, "a human may approve"),
    ];
    for (source, shown, because) in cases {
        assert_eq!(World::new("t").lists(&set_of_rego(source)).shown, shown, "{because}: {source}");
    }
}

#[test]
fn data_belongs_to_its_module_and_to_the_digest() {
    let policy = |data: &str| RegoSource {
        data: Some(data.into()),
        ..rego("p", "package p\nallow if data.tools[input.tool]")
    };
    let one = set(vec![], vec![policy(r#"{"tools":{"t":true}}"#)]);
    let other = set(vec![], vec![policy(r#"{"tools":{"u":true}}"#)]);
    assert_eq!(
        (World::new("t").line(&one), World::new("t").line(&other)),
        ("allow".into(), "deny | default_deny".into())
    );
    assert_ne!(one.digest(), other.digest());
    assert!(one.digest().starts_with("sha256:") && one.digest().len() == 71);
    for (data, expected) in
        [("[]", "not a JSON object"), ("{", "not JSON"), (r#"{"p":{}}"#, "has a member `p`")]
    {
        let errors = compile(vec![], vec![policy(data)], &Options::default()).expect_err(data);
        assert!(errors[0].message.contains(expected), "{errors:?}");
    }
}

#[test]
fn a_trial_says_what_compiling_would_say_and_its_refusal_counts() {
    assert_eq!(trial_compile(&rego("p", "package p\nallow := true")), Ok(()));
    let deepest = format!(
        "package p\nallow if {}input.arguments.a > {}1{}{}",
        "(".repeat(29),
        "[".repeat(10),
        "]".repeat(10),
        ")".repeat(29)
    );
    assert_eq!(
        trial_compile(&rego("p", &deepest)),
        Ok(()),
        "what the guards let through fits into the stack"
    );
    let errors = trial_compile(&rego("p", "package p\nallow if time.now_ns() > 1")).expect_err("refused");
    assert!(errors[0].message.contains("`time.now_ns`"), "{errors:?}");
    let refused = doorward_policy::PolicySet::compile(
        vec![],
        vec![rego("p", "package p\nallow := true")],
        &Options::default(),
        &|source| Err(vec![source.error("took too long")]),
    );
    assert_eq!(refused.expect_err("refused")[0].to_string(), "p.rego:1:1: error: took too long");
}

#[test]
fn threads_share_a_policy_and_never_each_others_input() {
    let set = set_of_rego(
        "package p\nallow if level(input.arguments.n) < 5\nlevel(n) := n % 10\nseen contains x if { some x in input.arguments.list }\ndeny contains msg if { some msg in seen }",
    );
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let set = &set;
            scope.spawn(move || {
                for call in 0..200 {
                    let n = thread * 1_000 + call;
                    let list = if n % 3 == 0 { format!("[\"{n}\"]") } else { "[]".to_owned() };
                    let line = World::new("t").with(&format!("{{\"n\":{n},\"list\":{list}}}")).line(set);
                    let expected = match (n % 3, n % 10) {
                        (0, _) => format!("deny | {n}"),
                        (_, 0..5) => "allow".to_owned(),
                        _ => "deny | default_deny".to_owned(),
                    };
                    assert_eq!(line, expected);
                }
            });
        }
    });
}

#[test]
fn a_module_that_did_not_change_is_not_compiled_again() {
    let source = |name: &str, body: &str| RegoSource {
        name: name.to_owned(),
        source: format!("package p\n{body}\n"),
        ..RegoSource::default()
    };
    let (one, two) = (source("one", "allow if true"), source("two", "deny contains \"no\" if true"));
    let changed = source("one", "allow if false");
    let off = RegoSource { mode: Mode::Off, ..two.clone() };
    let mut compiled = doorward_policy::Compiled::default();
    let tried = std::cell::RefCell::new(Vec::new());
    let trial = |source: &RegoSource| {
        tried.borrow_mut().push(source.name.clone());
        Ok(())
    };
    let mut digests = Vec::new();
    for (sources, newly) in [
        (vec![one.clone(), two.clone()], vec!["one", "two"]),
        (vec![one.clone(), two.clone()], vec![]),
        (vec![changed, two.clone()], vec!["one"]),
        (vec![one.clone(), off], vec![]),
        (vec![one, two], vec![]),
    ] {
        let options = Options::default();
        let set = doorward_policy::PolicySet::compile_anew(vec![], sources, &options, &trial, &mut compiled);
        digests.push(set.expect("valid").0.digest().to_owned());
        assert_eq!(tried.take(), newly);
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[4]);
    assert_ne!(digests[0], digests[2]);
    assert_ne!(digests[0], digests[3]);
}
