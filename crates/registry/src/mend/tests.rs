//! Definitions as servers have been seen to send them, and what becomes of each.

use bytes::Bytes;
use doorward_model::CapabilityKind::{self, Prompt, Resource, ResourceTemplate, Tool};
use doorward_model::json::{Document, Limits, Numbers};

use super::*;

fn read(kind: CapabilityKind, text: &str) -> Result<Option<Mended>> {
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let document = Document::parse(Bytes::copy_from_slice(text.as_bytes()), &limits).expect(text);
    mended(kind, document.root())
}

#[test]
fn what_has_one_reading_is_written_that_way_and_the_rest_stays_as_it_was() {
    let cases = [
        // kind, as it came, as it is offered, what is said of it
        (
            Tool,
            r#"{"name":"a"}"#,
            r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            "`inputSchema` was missing",
        ),
        (
            Tool,
            r#"{"inputSchema":null,"x": 1e2}"#,
            r#"{"inputSchema":{"type":"object"},"x":1e2}"#,
            "`inputSchema` was null",
        ),
        (Tool, r#"{"inputSchema":[]}"#, r#"{"inputSchema":{"type":"object"}}"#, "`inputSchema` was []"),
        (Tool, r#"{"inputSchema":true}"#, r#"{"inputSchema":{"type":"object"}}"#, "`inputSchema` was true"),
        (
            Tool,
            r#"{"inputSchema":{}}"#,
            r#"{"inputSchema":{"type":"object"}}"#,
            "`inputSchema.type` was missing",
        ),
        (
            Tool,
            r#"{"inputSchema":{"type":["object","null"],"properties":null,"required":null}}"#,
            r#"{"inputSchema":{"type":"object"}}"#,
            r#"`inputSchema.type` was ["object","null"], `inputSchema.properties` was null, `inputSchema.required` was null"#,
        ),
        (
            Tool,
            r#"{"inputSchema":{"type":"object","properties":{"a":null,"b":[],"c":{"type":"string"},"d":true}}}"#,
            r#"{"inputSchema":{"type":"object","properties":{"a":{},"b":{},"c":{"type":"string"},"d":true}}}"#,
            "`inputSchema.properties.a` was null, `inputSchema.properties.b` was []",
        ),
        (
            Tool,
            r#"{"title":null,"description":7,"_meta":[],"icons":{},"execution":null,"annotations":null,"inputSchema":{"type":"object"}}"#,
            r#"{"inputSchema":{"type":"object"}}"#,
            "`title` was null, `description` was 7, `_meta` was [], `icons` was {}, `execution` was null, `annotations` was null",
        ),
        (
            Tool,
            r#"{"inputSchema":{"type":"object"},"annotations":{"readOnlyHint":"true","destructiveHint":false,"title":1},"execution":{"taskSupport":"maybe"}}"#,
            r#"{"inputSchema":{"type":"object"},"annotations":{"destructiveHint":false},"execution":{}}"#,
            r#"`annotations.readOnlyHint` was "true", `annotations.title` was 1, `execution.taskSupport` was "maybe""#,
        ),
        (
            Tool,
            r#"{"inputSchema":{"type":"object"},"outputSchema":{"type":"object","properties":{"x":"text"}}}"#,
            r#"{"inputSchema":{"type":"object"}}"#,
            "`outputSchema.properties.x` is no schema, so `outputSchema` is left out",
        ),
        (
            Tool,
            r#"{"inputSchema":{"type":"object"},"icons":[{"src":"i","sizes":"48x48","theme":"blue"},{"sizes":[]}]}"#,
            r#"{"inputSchema":{"type":"object"},"icons":[{"src":"i","sizes":["48x48"]}]}"#,
            r#"`icons.0.sizes` was "48x48", `icons.0.theme` was "blue", `icons.1` was {"sizes":[]}"#,
        ),
        (Resource, r#"{"uri":"a:b"}"#, r#"{"uri":"a:b","name":"a:b"}"#, "`name` was missing"),
        (
            Resource,
            r#"{"uri":"a:b","name":null,"size":"3","mimeType":null,"annotations":{"audience":"user","priority":2,"lastModified":"yesterday"}}"#,
            r#"{"uri":"a:b","name":"a:b","annotations":{}}"#,
            r#"`name` was null, `size` was "3", `mimeType` was null, `annotations.audience` was "user", `annotations.priority` was 2, `annotations.lastModified` was "yesterday""#,
        ),
        (
            ResourceTemplate,
            r#"{"uriTemplate":"a:{b}","name":7}"#,
            r#"{"uriTemplate":"a:{b}","name":"a:{b}"}"#,
            "`name` was 7",
        ),
        (
            Prompt,
            r#"{"name":"p","arguments":[{"name":"a","required":"yes","description":null}]}"#,
            r#"{"name":"p","arguments":[{"name":"a"}]}"#,
            r#"`arguments.0.required` was "yes", `arguments.0.description` was null"#,
        ),
        (Prompt, r#"{"name":"p","arguments":null}"#, r#"{"name":"p"}"#, "`arguments` was null"),
        (Prompt, r#"{"name":"p","arguments":{}}"#, r#"{"name":"p"}"#, "`arguments` was {}"),
    ];
    for (kind, text, offered, changes) in cases {
        let mended = read(kind, text).expect(text).expect(text);
        assert_eq!((mended.text.as_str(), mended.changes.as_str()), (offered, changes), "{text}");
        assert_eq!(read(kind, offered), Ok(None), "mended once and for all: {offered}");
    }
}

#[test]
fn what_has_no_reading_is_not_guessed() {
    let cases = [
        (Tool, r#"{"inputSchema":"object"}"#, "`inputSchema` is no schema of an object"),
        (Tool, r#"{"inputSchema":false}"#, "`inputSchema` is no schema of an object"),
        (Tool, r#"{"inputSchema":[1]}"#, "`inputSchema` is no schema of an object"),
        (Tool, r#"{"inputSchema":{"type":"string"}}"#, "`inputSchema.type` is not `object`"),
        (Tool, r#"{"inputSchema":{"type":["array","null"]}}"#, "`inputSchema.type` is not `object`"),
        (Tool, r#"{"inputSchema":{"properties":["a"]}}"#, "`inputSchema.properties` is no object of schemas"),
        (Tool, r#"{"inputSchema":{"properties":{"a":"string"}}}"#, "`inputSchema.properties.a` is no schema"),
        (Tool, r#"{"inputSchema":{"required":[1]}}"#, "`inputSchema.required` is no list of names"),
        (Prompt, r#"{"name":"p","arguments":[{"description":"x"}]}"#, "`arguments.0` has no name"),
        (Prompt, r#"{"name":"p","arguments":["a"]}"#, "`arguments.0` has no name"),
        (Prompt, r#"{"name":"p","arguments":{"a":{}}}"#, "`arguments` is no list"),
    ];
    for (kind, text, why) in cases {
        assert_eq!(read(kind, text), Err(Hopeless(why.to_owned())), "{text}");
    }
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let cases = [
        (
            Tool,
            r#"{ "name" : "a", "title":"A","icons":[{"src":"i","sizes":["any"]}],"inputSchema":{"$schema":"s","type":"object","properties":{"a":{"type":"null"}},"required":["a"]},"outputSchema":{"type":"array"},"annotations":{"readOnlyHint":true},"execution":{"taskSupport":"required"},"_meta":{"a":null},"x-own":null}"#,
        ),
        (
            Resource,
            r#"{"uri":"a:b","name":"b","size":12,"annotations":{"audience":["user","assistant"],"priority":0.5,"lastModified":"2025-01-12T15:00:58.123+01:00"}}"#,
        ),
        (ResourceTemplate, r#"{"uriTemplate":"a:{b}","name":"b","mimeType":"text/plain","size":"big"}"#),
        (Prompt, r#"{"name":"p","arguments":[{"name":"a","title":"A","required":true}]}"#),
    ];
    for (kind, text) in cases {
        assert_eq!(read(kind, text), Ok(None), "{text}");
    }
}

#[test]
fn only_dates_with_a_time_and_a_zone_are_dates() {
    for (text, expected) in [
        ("2025-01-12T15:00:58Z", true),
        ("2025-01-12T15:00:58.5-08:00", true),
        ("2025-01-12", false),
        ("2025-01-12T15:00:58", false),
        ("2025-01-12 15:00:58Z", false),
        ("2025-01-12T15:00:58.Z", false),
        ("2025-01-12T15:00:58+0100", false),
        ("", false),
    ] {
        assert_eq!(is_date_time(text), expected, "{text}");
    }
}
