//! A real schema registry beside a real broker: what Confluent's serializers write is read with the schema that wrote it, and a
//! registry that is away for a while makes no message bad.

use forebay_testkit::RegistryServer;
use serde_json::{Value, json};

use crate::forebay::Project;
use crate::kafka::{Topic, rows, wait_for};
use crate::served::Server;

const ORDER: &str = r#"{"type": "record", "name": "shop.Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "note", "type": ["null", "string"], "default": null}]}"#;

/// [`ORDER`] with more fields, one of a type that is registered apart and one of several types.
const WIDER: &str = r#"{"type": "record", "name": "shop.Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "note", "type": ["null", "string"], "default": null},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["new", "old"]}},
    {"name": "place", "type": ["null", "shop.Place"], "default": null},
    {"name": "size", "type": ["null", "int", "string"], "default": null}]}"#;

const PLACE: &str =
    r#"{"type": "record", "name": "shop.Place", "fields": [{"name": "town", "type": "string"}]}"#;

/// A topic whose messages are in the wire format of a registry, and the project that reads it.
struct Registered {
    registry: RegistryServer,
    topic: Topic,
    project: Project,
}

impl Registered {
    /// `None` where no broker, no registry or no Python is installed.
    fn new(extract: &str) -> Option<Self> {
        let registered = Self {
            registry: RegistryServer::start()?,
            topic: Topic::new(1)?,
            project: Project::new(),
        };
        let (topic, url) = (&registered.topic, registered.registry.url());
        registered.project.write(
            "pipelines/orders.yaml",
            &format!(
                "pipeline: orders\nsource:\n  kafka:\n    cluster: {{brokers: ['{}']}}\n    topic: {}\n    registry: {{url: '{url}'}}\n\
                 extract: {extract}\nbuffer: {{time: 200ms}}\nload: {{iceberg: {{table: shop.orders}}}}\n",
                topic.server.broker(),
                topic.name,
            ),
        );
        Some(registered)
    }

    fn avro(&self, text: &str) -> Value {
        json!({"registry": self.registry.url(), "type": "AVRO", "text": text, "references": {"shop.Place": PLACE}})
    }

    fn send(&self, schema: &Value, value: Value) -> Value {
        self.topic.send(value, json!({"schema": schema}))
    }

    /// The bytes of a message that is not sent; its schema is registered.
    fn serialized(&self, schema: &Value, value: Value) -> Value {
        let line = json!({"serialize": self.topic.name, "schema": schema, "value": value});
        json!({"hex": self.topic.peer(&[line]).trim()})
    }

    fn rows(&self, columns: &str) -> Vec<String> {
        let statement = format!("SELECT {columns} FROM shop.orders ORDER BY id");
        rows(&self.project, &statement)
    }
}

#[test]
fn avro_that_evolves_half_way_is_read_with_the_schemas_that_wrote_it() {
    let Some(test) = Registered::new("{avro: {}}") else {
        return;
    };
    let (order, wider) = (test.avro(ORDER), test.avro(WIDER));
    test.topic.peer(&[
        test.send(&order, json!({"id": 1, "note": null})),
        test.send(&order, json!({"id": 2, "note": "zwei"})),
        test.send(
            &wider,
            json!({"id": 3, "note": null, "kind": "old", "place": {"town": "Ulm"}, "size": 40}),
        ),
        test.send(
            &wider,
            json!({"id": 4, "note": "x", "kind": "new", "place": null, "size": "XL"}),
        ),
        // Who wrote this has not been told of the wider schema yet.
        test.send(&order, json!({"id": 5, "note": "late"})),
    ]);
    test.project.ok(&["run", "--quiet"]);
    assert_eq!(
        test.rows("id, note, kind, place['town'], size, size__v_string"),
        [
            "1,,,,,",
            "2,zwei,,,,",
            "3,,old,Ulm,40,",
            "4,x,new,\"\",,XL",
            "5,late,,\"\",,"
        ]
    );
}

#[test]
fn json_with_a_schema_is_json() {
    let Some(test) = Registered::new("{json: {wire: confluent}}") else {
        return;
    };
    let text = json!({"title": "Order", "type": "object", "properties": {"id": {"type": "integer"}, "tags": {"type": "array"}}});
    let schema = json!({"registry": test.registry.url(), "type": "JSON", "text": text.to_string()});
    test.topic.peer(&[
        test.send(&schema, json!({"id": 1, "tags": ["a", "b"]})),
        test.send(&schema, json!({"id": 2, "tags": []})),
    ]);
    test.project.ok(&["run", "--quiet"]);
    assert_eq!(test.rows("id, cardinality(tags)"), ["1,2", "2,0"]);
}

#[test]
fn protobuf_is_read_by_the_text_of_its_schema_and_by_its_descriptor() {
    let Some(test) = Registered::new("{protobuf: {}}") else {
        return;
    };
    let file = json!({"name": "order.proto", "package": "shop", "syntax": "proto3", "dependency": ["google/protobuf/timestamp.proto"],
        "messageType": [{"name": "Unused"}, {"name": "Order", "field": [
            {"name": "id", "number": 1, "type": "TYPE_INT64", "label": "LABEL_OPTIONAL"},
            {"name": "note", "number": 2, "type": "TYPE_STRING", "label": "LABEL_OPTIONAL"},
            {"name": "at", "number": 3, "type": "TYPE_MESSAGE", "typeName": ".google.protobuf.Timestamp", "label": "LABEL_OPTIONAL"}]}]});
    let text = "syntax = \"proto3\";\nimport \"google/protobuf/timestamp.proto\";\npackage shop;\nmessage Unused {}\n\
                message Order { int64 id = 1; string note = 2; google.protobuf.Timestamp at = 3; }";
    let schema = json!({"registry": test.registry.url(), "type": "PROTOBUF", "message": "shop.Order", "file": file});
    let mut by_text = schema.clone();
    by_text["text"] = json!(text);
    for (id, schema) in [(1, schema), (2, by_text)] {
        let at = format!("2026-01-0{id}T10:00:00Z");
        test.topic
            .peer(&[test.send(&schema, json!({"id": id, "note": "hi", "at": at}))]);
    }
    test.project.ok(&["run", "--quiet"]);
    assert_eq!(
        test.rows("id, note, at"),
        ["1,hi,2026-01-01T10:00:00Z", "2,hi,2026-01-02T10:00:00Z"]
    );
}

#[test]
fn a_registry_that_is_away_makes_no_message_bad_and_an_unknown_schema_does() {
    let Some(mut test) = Registered::new("{avro: {}}") else {
        return;
    };
    let (order, wider) = (test.avro(ORDER), test.avro(WIDER));
    let server = Server::start(&test.project, "127.0.0.1:0");
    let count = "SELECT count(*) FROM shop.orders";
    test.topic
        .peer(&[test.send(&order, json!({"id": 1, "note": null}))]);
    wait_for(&test.project, count, "1");
    let known = test.serialized(&order, json!({"id": 3, "note": "after"}));
    let new = json!({"id": 2, "note": null, "kind": "new", "place": {"town": "Ulm"}});
    let new = test.serialized(&wider, new);
    test.registry.kill();
    test.topic.peer(&[
        test.topic.send(new, json!({})),
        test.topic.send(known.clone(), json!({})),
    ]);
    server.wait_said(30, |said| {
        said.iter()
            .any(|line| line.contains("schema registry unavailable"))
    });
    assert_eq!(test.project.value(count), "1");
    test.registry.start_again();
    wait_for(&test.project, count, "3");
    let unknown = json!({"hex": "00000f423f02"});
    test.topic.peer(&[
        test.topic.send(unknown, json!({})),
        test.topic.send(known, json!({})),
    ]);
    wait_for(&test.project, count, "4");
    assert_eq!(server.stop(), Some(0));
    // Of all that was sent, this one alone is in quarantine.
    let refused = rows(&test.project, "SELECT code, reason FROM quarantine.orders");
    assert_eq!(
        refused,
        ["unknown_schema,schema 999999 not found in the registry"]
    );
    assert_eq!(
        test.rows("id, kind, place['town']"),
        ["1,,", "2,new,Ulm", "3,,\"\"", "3,,\"\""]
    );
    // The raw zone has the schemas too.
    test.registry.kill();
    let rebuilt = test.project.ok(&["rebuild", "shop.orders"]);
    assert!(
        rebuilt.err.contains("equal") || rebuilt.out.contains("equal"),
        "{}{}",
        rebuilt.out,
        rebuilt.err
    );
}
