//! References in scalars: `${env:NAME}`, `${secret:NAME}`, `${param:NAME:-default}`, resolved after parsing.
//!
//! Only scalars hold references, so a value can never become structure. `$${` is an escaped `${`. A secret is always the
//! whole value: text around it would end up where secrets are not expected.

use std::sync::Arc;

use crate::cover::SecretCover;
use crate::document::{Node, Reference, Value, join};
use crate::{Diagnostic, Diagnostics, Document, Span, suggest};

/// Where references are looked up.
pub trait Variables: Send + Sync {
    fn env(&self, name: &str) -> Option<String>;
    fn secret(&self, name: &str) -> Option<String>;
    fn param(&self, name: &str) -> Option<String>;
}

/// A document without references.
#[derive(Debug)]
pub struct Resolved {
    /// Unresolved references stay in it as written.
    pub document: Document,
    pub diagnostics: Diagnostics,
    hidden: Hidden,
    /// Paths of the values that could not be resolved: they need no further diagnostics.
    unresolved: Vec<String>,
}

impl Resolved {
    /// Whether a value at or below `path` could not be resolved.
    pub fn is_broken(&self, path: &str) -> bool {
        self.unresolved.iter().any(|found| is_below(found, path))
    }

    /// Redacts the secrets of the document in the messages of a run.
    pub fn secrets(&self) -> SecretCover {
        SecretCover::of_texts(self.hidden.secrets.iter().map(String::as_str))
    }

    /// Replaces resolved values by their references, wherever a message repeats them.
    pub fn hide(&self, diagnostic: Diagnostic) -> Diagnostic {
        let Diagnostic { message, help, .. } = &diagnostic;
        let message = self.hidden.cover(message);
        let help = help.as_deref().map(|help| self.hidden.cover(help));
        Diagnostic {
            message,
            help,
            ..diagnostic
        }
    }
}

/// Whether `path` is `parent` or below it.
pub fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Values that must not be shown, with their references.
#[derive(Default)]
struct Hidden {
    values: Vec<(String, String)>,
    /// Those of them that are secrets.
    secrets: Vec<String>,
}

/// A shorter value of the environment is not worth hiding: it would be found in every second word.
const HIDDEN_ENV_BYTES_MIN: usize = 4;

impl Hidden {
    fn add(&mut self, kind: Reference, value: &str, written: &str) {
        let bytes_min = if kind == Reference::Secret {
            1
        } else {
            HIDDEN_ENV_BYTES_MIN
        };
        if kind != Reference::Text && value.len() >= bytes_min {
            self.values.push((value.to_owned(), written.to_owned()));
        }
        if kind == Reference::Secret {
            self.secrets.push(value.to_owned());
        }
    }

    fn cover(&self, text: &str) -> String {
        self.values
            .iter()
            .fold(text.to_owned(), |text, (value, written)| {
                text.replace(value.as_str(), written)
            })
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} values", self.values.len())
    }
}

/// References that stay as they are written: those of one kind at or below a path, which the reader of that value resolves.
#[derive(Debug, Clone)]
pub struct KeptReferences {
    pub path: String,
    /// `new` of `${new:…}`.
    pub kind: &'static str,
}

impl KeptReferences {
    fn keeps(&self, path: &str, written: &str) -> bool {
        let inner = written.strip_prefix("${").unwrap_or_default();
        let is_of_kind = inner
            .strip_prefix(self.kind)
            .is_some_and(|rest| rest.starts_with(':'));
        is_of_kind && is_below(path, &self.path)
    }
}

/// Replaces every reference of `document` but those that are kept. All that cannot be resolved is reported.
pub fn resolve(
    document: &Document,
    variables: &dyn Variables,
    kept: &[KeptReferences],
) -> Resolved {
    let hidden = Hidden::default();
    let mut walk = Walk {
        document,
        variables,
        kept,
        hidden,
        found: Vec::new(),
        unresolved: Vec::new(),
    };
    let node = walk.node(&document.node, &document.path);
    let Walk {
        found,
        hidden,
        unresolved,
        ..
    } = walk;
    let document = Document {
        node,
        ..document.clone()
    };
    Resolved {
        document,
        diagnostics: Diagnostics(found),
        hidden,
        unresolved,
    }
}

struct Walk<'a> {
    document: &'a Document,
    variables: &'a dyn Variables,
    kept: &'a [KeptReferences],
    hidden: Hidden,
    found: Vec<Diagnostic>,
    unresolved: Vec<String>,
}

/// The content of `${…}`.
struct Parsed<'a> {
    kind: &'a str,
    name: &'a str,
    default: Option<&'a str>,
}

struct Fault {
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl Walk<'_> {
    fn node(&mut self, node: &Arc<Node>, path: &str) -> Arc<Node> {
        match &node.value {
            Value::String(text) if text.contains("${") => self.scalar(node, text, path),
            Value::List(nodes) => {
                let nodes = nodes.iter().enumerate();
                let resolved = nodes
                    .map(|(i, node)| self.node(node, &format!("{path}[{i}]")))
                    .collect();
                Arc::new(Node::new(node.span, Value::List(resolved)))
            }
            Value::Map(entries) => {
                let resolved = entries.iter().map(|(key, node)| {
                    let resolved = self.node(node, &join(path, &key.name));
                    (key.clone(), resolved)
                });
                let resolved = resolved.collect();
                Arc::new(Node::new(node.span, Value::Map(resolved)))
            }
            _ => node.clone(),
        }
    }

    fn scalar(&mut self, node: &Arc<Node>, text: &str, path: &str) -> Arc<Node> {
        let mut filled = String::new();
        let mut reference = None;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                filled.push_str(&rest[..at - 1]);
                filled.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            let written = rest[at..]
                .find('}')
                .map_or(&rest[at..], |end| &rest[at..=at + end]);
            filled.push_str(&rest[..at]);
            if self.kept.iter().any(|kept| kept.keeps(path, written)) {
                filled.push_str(written);
                rest = &rest[at + written.len()..];
                continue;
            }
            match self.value(written, written.len() == text.len()) {
                Ok((kind, value)) => {
                    self.hidden.add(kind, &value, written);
                    filled.push_str(&value);
                    reference = Some(if written.len() == text.len() {
                        kind
                    } else {
                        Reference::Text
                    });
                }
                Err(fault) => {
                    self.report(node.span, written, fault);
                    self.unresolved.push(path.to_owned());
                }
            }
            rest = &rest[at + written.len()..];
        }
        filled.push_str(rest);
        let loose = node.loose || reference.is_some();
        Arc::new(Node {
            span: node.span,
            value: Value::String(filled),
            loose,
            reference,
        })
    }

    fn value(&self, written: &str, whole: bool) -> Result<(Reference, String), Fault> {
        let Parsed {
            kind,
            name,
            default,
        } = parse(written)?;
        let found = match kind {
            "env" if is_secret_variable(name) => return Err(secret_as_env(name)),
            "env" => self
                .variables
                .env(name)
                .map(|value| (Reference::Env, value)),
            "param" => self
                .variables
                .param(name)
                .map(|value| (Reference::Text, value)),
            _ if !whole => return Err(partial_secret(written)),
            _ => self
                .variables
                .secret(name)
                .map(|value| (Reference::Secret, value)),
        };
        let is_empty_secret =
            matches!(&found, Some((Reference::Secret, value)) if value.trim().is_empty());
        if is_empty_secret {
            return Err(empty_secret(name));
        }
        found
            .or_else(|| Some((Reference::Text, default?.to_owned())))
            .ok_or_else(|| unset(kind, name))
    }

    fn report(&mut self, span: Span, written: &str, fault: Fault) {
        let within = self.document.source.slice(span).find(written);
        let span = within.map_or(span, |at| Span {
            start: span.start + at,
            end: span.start + at + written.len(),
        });
        self.found.push(
            self.document
                .diagnostic_at(span, fault.code, fault.message, fault.help),
        );
    }
}

const KINDS: [&str; 3] = ["env", "secret", "param"];

fn parse(written: &str) -> Result<Parsed<'_>, Fault> {
    let fault = |message: String| {
        Fault {
        code: "bad_reference",
        message,
        help: Some("write `${env:NAME}`, `${secret:NAME}` or `${param:NAME:-default}`; write `$${` for a literal `${`".into()),
    }
    };
    let inner = written
        .strip_prefix("${")
        .and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.ok_or_else(|| fault("a reference begins here and has no `}`".into()))?;
    let (kind, rest) = inner.split_once(':').unwrap_or((inner, ""));
    if !KINDS.contains(&kind) {
        let meant =
            suggest::nearest(kind, KINDS).map(|kind| format!("did you mean `${{{kind}:…}}`?"));
        let found = fault(format!("`{written}` is not a reference"));
        return Err(Fault {
            help: meant.or(found.help),
            ..found
        });
    }
    let (name, default) = rest
        .split_once(":-")
        .map_or((rest, None), |(name, default)| (name, Some(default)));
    let starts = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(fault(format!(
            "`{name}` is not the name of a variable: use letters, digits and `_`"
        )));
    }
    if kind == "secret" && default.is_some() {
        return Err(fault(
            "a secret cannot have a default: the file would contain it".into(),
        ));
    }
    Ok(Parsed {
        kind,
        name,
        default,
    })
}

/// Prefix of the environment variables that hold secrets.
pub const SECRET_VARIABLE_PREFIX: &str = "FOREBAY_SECRET_";

/// As `env` its value could appear in any text: a URL, a parameter, an audited request.
fn is_secret_variable(name: &str) -> bool {
    name.get(..SECRET_VARIABLE_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SECRET_VARIABLE_PREFIX))
}

fn secret_as_env(name: &str) -> Fault {
    let secret = name[SECRET_VARIABLE_PREFIX.len()..].to_ascii_lowercase();
    Fault {
        code: "secret_as_env",
        message: format!("`{name}` holds a secret, which `env` must not read"),
        help: Some(format!(
            "write `${{secret:{secret}}}` in a key that takes a secret, such as `auth`"
        )),
    }
}

fn partial_secret(written: &str) -> Fault {
    let message =
        format!("`{written}` is part of a longer text: a secret is always the whole value");
    Fault {
        code: "secret_in_text",
        message,
        help: Some("use a key that takes a secret, such as `auth`".into()),
    }
}

/// An empty secret would authenticate every caller.
fn empty_secret(name: &str) -> Fault {
    Fault {
        code: "empty_secret",
        message: format!("the secret `{name}` is empty"),
        help: Some("check the command that sets it, such as a `$(cat FILE)` that failed".into()),
    }
}

fn unset(kind: &str, name: &str) -> Fault {
    let (what, help) = match kind {
        "env" => (
            "the environment variable",
            format!("set it, or write a default: `${{env:{name}:-…}}`"),
        ),
        "param" => (
            "the parameter",
            format!("pass `--param {name}=…`, or write a default: `${{param:{name}:-…}}`"),
        ),
        _ => (
            "the secret",
            format!(
                "set it in the environment: export FOREBAY_SECRET_{}=…",
                name.to_ascii_uppercase()
            ),
        ),
    };
    Fault {
        code: "unresolved_reference",
        message: format!("{what} `{name}` is not set"),
        help: Some(help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Variables for Fixed {
        fn env(&self, name: &str) -> Option<String> {
            (name == "HOST").then(|| "example.org".to_owned())
        }

        fn secret(&self, name: &str) -> Option<String> {
            match name {
                "token" => Some("hunter2".to_owned()),
                "blank" => Some(String::new()),
                "space" => Some(" \n".to_owned()),
                _ => None,
            }
        }

        fn param(&self, name: &str) -> Option<String> {
            (name == "rows").then(|| "500".to_owned())
        }
    }

    fn resolved(text: &str) -> Resolved {
        resolve(
            &Document::from_yaml(text).expect("the text is YAML"),
            &Fixed,
            &[KeptReferences {
                path: "source.query".to_owned(),
                kind: "new",
            }],
        )
    }

    fn text(value: &str) -> String {
        let found = resolved(&format!("a: {value}\n"));
        assert!(found.diagnostics.is_empty(), "{}", found.diagnostics);
        found
            .document
            .get("a")
            .and_then(|a| a.as_str().map(str::to_owned))
            .expect("it is a string")
    }

    #[test]
    fn a_kept_reference_stays_in_its_place_and_nowhere_else() {
        let kept = "source: {query: \"FROM ${new:s.t}, ${param:rows}\"}\n";
        let found = resolved(kept);
        assert!(found.diagnostics.is_empty(), "{}", found.diagnostics);
        let query = found.document.get("source").and_then(|at| at.get("query"));
        let query = query.expect("it is there");
        assert_eq!(query.as_str(), Some("FROM ${new:s.t}, 500"));
        for other in [
            "source: {url: \"${new:s.t}\"}\n",
            "source: {query: \"${news:s.t}\"}\n",
        ] {
            let found = resolved(other).diagnostics;
            assert_eq!(found.0.len(), 1, "{other}");
            assert_eq!(found.0[0].code, "bad_reference");
        }
    }

    #[test]
    fn the_environment_never_gives_out_a_secret() {
        for text in [
            "url: https://x/?k=${env:FOREBAY_SECRET_TOKEN}\n",
            "appid: ${env:FOREBAY_SECRET_TOKEN}\n",
            "appid: ${env:forebay_secret_token:-none}\n",
        ] {
            let found = resolved(text).diagnostics;
            assert_eq!(found.0.len(), 1, "{text}");
            assert_eq!(found.0[0].code, "secret_as_env", "{text}");
        }
    }

    #[test]
    fn references_are_replaced_in_scalars() {
        assert_eq!(
            text("https://${env:HOST}/x/${param:rows}"),
            "https://example.org/x/500"
        );
        assert_eq!(text("${param:day:-2026-01-01}"), "2026-01-01");
        assert_eq!(text("${env:NONE:-}x"), "x");
        assert_eq!(
            text("costs $${env:HOST} and $5"),
            "costs ${env:HOST} and $5"
        );
        let rows = resolved("rows: ${param:rows}\n")
            .document
            .get("rows")
            .map(|rows| rows.parse::<u64>());
        assert_eq!(
            rows.and_then(Result::ok),
            Some(500),
            "a reference may fill a number"
        );
    }

    #[test]
    fn what_cannot_be_resolved_is_reported_where_it_stands() {
        let found = resolved(
            "a: x ${env:NONE}\nb: [\"${scret:token}\", '${secret:other}']\nc: Bearer ${secret:token}\nd: ${env:X\ne: ${env:}\nf: ${secret:x:-y}\n",
        );
        let shown: Vec<String> = found
            .diagnostics
            .0
            .iter()
            .map(|d| format!("{}:{} {}", d.place.line, d.place.column, d.code))
            .collect();
        assert_eq!(
            shown,
            [
                "1:6 unresolved_reference",
                "2:6 bad_reference",
                "2:24 unresolved_reference",
                "3:11 secret_in_text",
                "4:4 bad_reference",
                "5:4 bad_reference",
                "6:4 bad_reference",
            ]
        );
        assert_eq!(
            found.diagnostics.0[1].help.as_deref(),
            Some("did you mean `${secret:…}`?")
        );
    }

    #[test]
    fn an_empty_secret_is_refused_wherever_it_stands() {
        let found = resolved("a: ${secret:blank}\nb: [\"${secret:space}\"]\n");
        let codes: Vec<&str> = found.diagnostics.0.iter().map(|one| one.code).collect();
        assert_eq!(codes, ["empty_secret", "empty_secret"]);
    }

    #[test]
    fn a_secret_is_in_no_debug_output_and_in_no_message() {
        let found = resolved("token: ${secret:token}\nhost: ${env:HOST}\n");
        assert!(!format!("{found:?}").contains("hunter2"));
        let error = found
            .document
            .get("token")
            .expect("it is there")
            .error("bad", "hunter2 at example.org is bad");
        let shown = found.hide(Diagnostic::from_error(&error, &found.document));
        assert_eq!(shown.message, "${secret:token} at ${env:HOST} is bad");
        assert!(!shown.to_string().contains("hunter2"));
    }
}
