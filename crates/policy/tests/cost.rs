//! What a decision may cost: counted in steps, so that it is the same everywhere.

mod world;

use doorward_policy::{Mode, PolicySet, RegoSource};
use world::{World, rego, set, set_of_rego};

/// Loops over an argument, in another loop over it.
const TWICE: &str = "some i in input.arguments.xs\n some j in input.arguments.xs\n i + j == -1";
/// The same, guarded, so that the register machine runs it.
const GUARDED: &str = "is_array(input.arguments.xs)\n some i in input.arguments.xs\n is_number(i)\n some j in input.arguments.xs\n is_number(j)\n i + j == -1";

fn denying(body: &str) -> PolicySet {
    set_of_rego(&format!("package p\nallow := true\ndeny contains \"no\" if {{\n {body}\n}}"))
}

fn called_with(count: usize) -> World {
    let numbers: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    World::new("t").with(&format!("{{\"xs\":[{}]}}", numbers.join(",")))
}

fn is_quick(world: &World, set: &PolicySet) -> bool {
    world.ask(|inquiry| set.decide_quickly(inquiry)).is_some()
}

#[test]
fn what_takes_many_steps_is_not_decided_quickly_and_what_takes_too_many_is_denied() {
    let marshals = "is_array(input.arguments.xs)\n some i in input.arguments.xs\n is_number(i)\n json.marshal(input.arguments.xs) == \"x\"";
    let once = "is_array(input.arguments.xs)\n some i in input.arguments.xs\n is_number(i)\n i == -1";
    let cases = [
        // what the policy does, with how many numbers, quickly, and then
        (once, 100, true, "allow"),
        (once, 4_000, false, "allow"),
        // That it has too few instructions for so many shows at once.
        (once, 50_000, true, "deny | policy_error"),
        (GUARDED, 20, true, "allow"),
        (GUARDED, 100, false, "allow"),
        (GUARDED, 5_000, false, "deny | policy_error"),
        (TWICE, 10, true, "allow"),
        (TWICE, 5_000, false, "deny | policy_error"),
        (marshals, 20, true, "allow"),
        (marshals, 200, false, "allow"),
        (marshals, 5_000, false, "deny | policy_error"),
    ];
    for (body, count, quick, expected) in cases {
        let (set, world) = (denying(body), called_with(count));
        let decided = (is_quick(&world, &set), world.line(&set));
        assert_eq!(decided, (quick, expected.to_owned()), "{count} numbers\n{body}");
    }
}

#[test]
fn a_quick_decision_a_full_one_and_one_on_the_document_are_the_same() {
    for body in [TWICE, GUARDED] {
        let set = denying(body);
        for count in [0, 1, 20, 300] {
            let world = called_with(count);
            let full = world.decide(&set);
            assert_eq!(set.decide_written(world.document(&set)), full, "{count} numbers");
            if let Some(quick) = world.ask(|inquiry| set.decide_quickly(inquiry)) {
                assert_eq!(quick, full, "{count} numbers");
            }
        }
    }
    let refused = denying(GUARDED).decide_written("{".to_owned());
    assert_eq!(world::line(&refused.decision), "deny | policy_error");
}

#[test]
fn an_endless_evaluation_is_cut_by_its_count_of_steps() {
    let source = "package p\nallow if { some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i + j == 0 }";
    let set = set_of_rego(source);
    let (one, other) = (World::new("t").decide(&set), World::new("t").decide(&set));
    assert_eq!(one, other, "the same, to the letter of the error");
    assert_eq!(one.evaluator, "regorus/0.14.1 rvm");
    assert_eq!(one.decision.reasons, ["policy_error"]);
    assert!(one.errors[0].contains("more steps than a decision may"), "{:?}", one.errors);
}

#[test]
fn all_policies_share_what_a_decision_may_take_and_a_shadow_takes_nothing_from_it() {
    let costly = |name: &str, mode| RegoSource {
        mode,
        ..rego(name, &format!("package {name}\ndeny contains \"no\" if {{\n {GUARDED}\n}}"))
    };
    let allow = rego("z", "package z\nallow := true");
    let world = called_with(80);
    let one = set(vec![], vec![costly("a", Mode::Enforce), allow.clone()]);
    assert_eq!(world.line(&one), "allow");
    let mut many: Vec<_> = (0..20).map(|nth| costly(&format!("a{nth:02}"), Mode::Enforce)).collect();
    many.push(allow.clone());
    let ruling = world.decide(&set(vec![], many));
    assert_eq!(world::line(&ruling.decision), "deny | policy_error", "{:?}", ruling.errors);
    let mut shadows: Vec<_> = (0..20).map(|nth| costly(&format!("a{nth:02}"), Mode::Shadow)).collect();
    shadows.push(allow);
    assert_eq!(world.line(&set(vec![], shadows)), "allow");
}

#[test]
fn a_text_that_would_grow_beyond_all_bounds_is_not_made() {
    let set = denying(
        "is_string(input.arguments.t)\n replace(input.arguments.t, \"a\", input.arguments.t) == \"x\"",
    );
    let world = World::new("t").with(&format!("{{\"t\":{:?}}}", "a".repeat(100_000)));
    assert_eq!(world.line(&set), "deny | policy_error");
}
