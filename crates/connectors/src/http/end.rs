//! The keys `end` and `errors`: rules for the last page of a pass, and for bodies that are errors.
//!
//! A pass ends only by proof. Without a rule that is an empty page, or for tokens and links a page without a next one;
//! rules declare other ways in which an API ends. Pure data and comparisons; nothing here reads a body.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json;

/// `end:`, one rule or a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndRules(pub Vec<EndRule>);

/// One way in which a pass ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndRule {
    /// An empty list of records, or 204. The default of `page` and `offset`.
    EmptyPage,
    /// Fewer records than a full page has, once the server has sent a full one.
    ShortPage,
    /// 404 or 410 after the first page.
    NotFound,
    /// Status 200 without a body, after the first page.
    EmptyBody,
    /// A page without the list at `records`, after the first page.
    MissingRecords,
    /// The page before it once more, or a page whose token or link leads to itself.
    RepeatedPage,
    /// A page without a next page, even if no page ever had one.
    NoNext,
    Field(FieldRule),
}

/// The rules that are one word, as written.
const NAMED: [(&str, EndRule); 7] = [
    ("empty_page", EndRule::EmptyPage),
    ("short_page", EndRule::ShortPage),
    ("not_found", EndRule::NotFound),
    ("empty_body", EndRule::EmptyBody),
    ("missing_records", EndRule::MissingRecords),
    ("repeated_page", EndRule::RepeatedPage),
    ("no_next", EndRule::NoNext),
];

/// `errors:`, one rule or a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldRules(pub Vec<FieldRule>);

/// A field of the body and its expected value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// Path in the body, such as `meta.has_more`.
    pub field: String,
    /// The value. `false` matches false, null, 0, an empty text and the texts `false`, `no` and `0`; `true` matches true,
    /// 1 and the texts `true`, `yes` and `1`; under `end` any other value of the field is an error then. Null also
    /// matches an absent field, under `end` only once a page had it, or on an empty page. A number or a text is compared
    /// as it is written. Without `is`, any value but null, false, an empty text, list or object matches.
    #[serde(default)]
    pub is: Expected,
}

/// The expected value of a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expected {
    #[default]
    Something,
    Null,
    Truth(bool),
    Value(String),
}

impl EndRules {
    pub(super) fn has(&self, rule: &EndRule) -> bool {
        self.0.contains(rule)
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &FieldRule> {
        self.0.iter().filter_map(|rule| match rule {
            EndRule::Field(field) => Some(field),
            _ => None,
        })
    }

    /// Whether an empty page ends a pass: always, unless there is a rule on a field.
    pub(super) fn ends_at_empty_page(&self) -> bool {
        self.has(&EndRule::EmptyPage) || self.fields().next().is_none()
    }
}

impl FieldRule {
    /// Whether the field's JSON token, `None` when it is absent, matches the rule.
    pub(super) fn matches(&self, token: Option<&[u8]>) -> bool {
        let is_present = token.is_some();
        let token = token.filter(|token| *token != b"null");
        match (&self.is, token) {
            (Expected::Something, token) => token.is_some_and(is_something),
            (Expected::Null, token) => token.is_none(),
            (Expected::Truth(wanted), Some(token)) => Truth::read(token).is(*wanted),
            (Expected::Truth(wanted), None) => !wanted && is_present,
            (Expected::Value(_), None) => false,
            (Expected::Value(wanted), Some(token)) => {
                json::scalar(token).is_some_and(|text| plain(token, &text) == wanted)
            }
        }
    }

    /// Whether the rule compares the field with true or false, and it is neither.
    pub(super) fn is_unreadable(&self, token: Option<&[u8]>) -> bool {
        let is_neither = |token| Truth::read(token) == Truth::Unreadable;
        matches!(self.is, Expected::Truth(_)) && token.is_some_and(is_neither)
    }
}

/// A scalar as it is compared: a number without the zeros at the end of its fraction.
fn plain<'a>(token: &[u8], text: &'a str) -> &'a str {
    let is_fraction =
        token.first() != Some(&b'"') && text.contains('.') && !text.contains(['e', 'E']);
    match is_fraction {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// A JSON token as a boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    /// null.
    Unknown,
    False,
    True,
    Unreadable,
}

impl Truth {
    pub(super) fn read(token: &[u8]) -> Self {
        let text = match token {
            b"null" => return Self::Unknown,
            b"true" | b"false" => std::str::from_utf8(token).ok().map(str::to_owned),
            _ => json::scalar(token),
        };
        match text.map(|text| text.to_ascii_lowercase()).as_deref() {
            Some("true" | "yes" | "1") => Self::True,
            Some("false" | "no" | "0" | "") => Self::False,
            _ => Self::Unreadable,
        }
    }

    fn is(self, wanted: bool) -> bool {
        self == if wanted { Self::True } else { Self::False }
    }
}

/// Whether a JSON token holds anything.
pub(super) fn is_something(token: &[u8]) -> bool {
    let inside = match token {
        [b'{', inside @ .., b'}'] | [b'[', inside @ .., b']'] => inside,
        other => return ![&b"null"[..], b"false", b"\"\""].contains(&other),
    };
    !inside.trim_ascii().is_empty()
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = EndRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMED.map(|(name, _)| name).join(", ");
        write!(f, "{names} or {{field: PATH, is: VALUE}}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EndRule, E> {
        let mut named = NAMED.into_iter();
        let found = named.find(|(name, _)| *name == text);
        found
            .map(|(_, rule)| rule)
            .ok_or_else(|| E::custom(format!("`{text}` is not a rule for the end of a pass")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndRule, A::Error> {
        FieldRule::deserialize(MapAccessDeserializer::new(map)).map(EndRule::Field)
    }
}

impl<'de> Deserialize<'de> for EndRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

struct RulesVisitor;

impl<'de> Visitor<'de> for RulesVisitor {
    type Value = EndRules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule or a list of rules")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EndRules, E> {
        RuleVisitor.visit_str(text).map(|rule| EndRules(vec![rule]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndRules, A::Error> {
        RuleVisitor.visit_map(map).map(|rule| EndRules(vec![rule]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<EndRules, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(EndRules)
    }
}

impl<'de> Deserialize<'de> for EndRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RulesVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = FieldRules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{field: PATH, is: VALUE} or a list of these")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldRules, A::Error> {
        let rule = FieldRule::deserialize(MapAccessDeserializer::new(map))?;
        Ok(FieldRules(vec![rule]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<FieldRules, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(FieldRules)
    }
}

impl<'de> Deserialize<'de> for FieldRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldsVisitor)
    }
}

struct ExpectedVisitor;

impl Visitor<'_> for ExpectedVisitor {
    type Value = Expected;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, a boolean or null")
    }

    fn visit_str<E>(self, value: &str) -> Result<Expected, E> {
        Ok(Expected::Value(value.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Expected, E> {
        Ok(Expected::Truth(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Expected, E> {
        Ok(Expected::Value(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Expected, E> {
        Ok(Expected::Value(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Expected, E> {
        Ok(Expected::Value(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Expected, E> {
        Ok(Expected::Null)
    }

    fn visit_none<E>(self) -> Result<Expected, E> {
        Ok(Expected::Null)
    }
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExpectedVisitor)
    }
}

impl JsonSchema for Expected {
    fn schema_name() -> Cow<'static, str> {
        "FieldValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer", "number", "boolean", "null"],
            "description": "A text, a number, a boolean or null."
        })
    }
}

impl JsonSchema for EndRules {
    fn schema_name() -> Cow<'static, str> {
        "EndRules".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let field = generator.subschema_for::<FieldRule>();
        let names = NAMED.map(|(name, _)| name);
        let rule = json_schema!({"anyOf": [{"type": "string", "enum": names}, field]});
        json_schema!({
            "description": "A rule for the end of a pass, or a list of rules.",
            "anyOf": [{"type": "string", "enum": names}, field, {"type": "array", "items": rule}]
        })
    }
}

impl JsonSchema for FieldRules {
    fn schema_name() -> Cow<'static, str> {
        "FieldRules".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let field = generator.subschema_for::<FieldRule>();
        json_schema!({
            "description": "A rule on a field of the body, or a list of rules.",
            "anyOf": [field, {"type": "array", "items": field}]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_one_or_a_list() {
        let read = |value| serde_json::from_value::<EndRules>(value);
        let field = |is| {
            EndRule::Field(FieldRule {
                field: "more".to_owned(),
                is,
            })
        };
        assert_eq!(read(json!("short_page")).unwrap().0, [EndRule::ShortPage]);
        let list = json!(["not_found", {"field": "more", "is": false}, {"field": "more", "is": null}, {"field": "more"}]);
        assert_eq!(
            read(list).unwrap().0,
            [
                EndRule::NotFound,
                field(Expected::Truth(false)),
                field(Expected::Null),
                field(Expected::Something),
            ]
        );
        assert!(read(json!("last_page")).is_err());
        assert!(read(json!({"path": "x"})).is_err());
    }

    #[test]
    fn a_field_is_compared_as_it_is_declared() {
        for (is, token, expected) in [
            (json!(false), Some("false"), true),
            (json!(false), Some("true"), false),
            (json!(false), None, false),
            (json!(false), Some("null"), true),
            (json!(false), Some("0"), true),
            (json!(false), Some("\"False\""), true),
            (json!(false), Some("\"no\""), true),
            (json!(false), Some("\"\""), true),
            (json!(false), Some("1"), false),
            (json!(false), Some("\"n/a\""), false),
            (json!(false), Some("[]"), false),
            (json!(true), Some("true"), true),
            (json!(true), Some("1"), true),
            (json!(true), Some("\"TRUE\""), true),
            (json!(true), Some("null"), false),
            (json!(true), Some("0"), false),
            (json!("false"), Some("\"false\""), true),
            (json!(0), Some("0.0"), true),
            (json!(0), Some("\"0\""), true),
            (json!(1.5), Some("1.50"), true),
            (json!(10), Some("1"), false),
            (json!(0), Some("false"), false),
            (json!("a\"b"), Some(r#""a\"b""#), true),
            (json!(0), Some("0"), true),
            (json!(0), Some("10"), false),
            (json!(null), None, true),
            (json!(null), Some("null"), true),
            (json!(null), Some("1"), false),
        ] {
            let rule: FieldRule = serde_json::from_value(json!({"field": "x", "is": is})).unwrap();
            assert_eq!(
                rule.matches(token.map(str::as_bytes)),
                expected,
                "{is} {token:?}"
            );
        }
        let present: FieldRule = serde_json::from_value(json!({"field": "error"})).unwrap();
        for (token, expected) in [
            ("null", false),
            ("false", false),
            ("\"\"", false),
            ("[ ]", false),
            ("{}", false),
            ("\"x\"", true),
            ("{\"a\":1}", true),
            ("0", true),
        ] {
            assert_eq!(present.matches(Some(token.as_bytes())), expected, "{token}");
        }
        assert!(!present.matches(None));
    }
}
