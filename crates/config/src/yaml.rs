//! YAML to a document. The only file that knows the YAML parser.
//!
//! The parser's events are taken one by one, so nothing is built that the limits below do not allow: an alias shares
//! its node and counts as often as it is used. Beyond YAML 1.2 core: a key that comes twice, a second document and a
//! tag are errors.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as ParserSpan};

use crate::document::{Key, Node, Value, float};
use crate::place::SourceText;
use crate::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics, Document, Span};

/// Largest file that is read.
pub const TEXT_BYTES_MAX: usize = 10 << 20;
/// Most values of a file, with aliases counted at each use.
pub const NODES_MAX: usize = 500_000;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 64;

/// The readable part of `text`, and every fault found. The parser stops at the first fault of the syntax; faults like
/// a key that comes twice do not stop it.
pub fn read(path: &str, text: &str) -> (Option<Document>, Diagnostics) {
    if text.len() > TEXT_BYTES_MAX {
        return (None, Diagnostics(vec![too_large(path, text.len())]));
    }
    let source = Arc::new(SourceText::new(path, text));
    let mut builder = Builder::new(&source);
    for event in Parser::new_from_str(text) {
        let done = event
            .map_err(|error| builder.syntax(&error))
            .and_then(|(event, span)| builder.take(event, span));
        if let Err(Stop) = done {
            break;
        }
    }
    builder.finish()
}

pub fn too_large(path: &str, bytes: usize) -> Diagnostic {
    let message = format!("the file has {bytes} bytes, more than the limit of {TEXT_BYTES_MAX}");
    Diagnostic::of_file(path, "file_too_large", message, None)
}

/// The rest of the file cannot be understood.
struct Stop;

struct Frame {
    span: Span,
    anchor: usize,
    /// Values in it, itself included.
    size: usize,
    /// Levels in it, its own included.
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Arc<Node>>),
    Map {
        entries: Vec<(Key, Arc<Node>)>,
        /// First occurrence of each key.
        seen: HashMap<String, Span>,
        key: Option<(Key, bool)>,
    },
}

struct Built {
    node: Arc<Node>,
    size: usize,
    depth: usize,
}

struct Builder<'a> {
    source: &'a Arc<SourceText>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    root: Option<Arc<Node>>,
    documents: usize,
    nodes: usize,
    found: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Arc<SourceText>) -> Self {
        Self {
            source,
            stack: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            documents: 0,
            nodes: 0,
            found: Vec::new(),
        }
    }

    fn report(
        &mut self,
        span: Span,
        code: &'static str,
        message: String,
        help: Option<&str>,
    ) -> Stop {
        if self.found.len() < DIAGNOSTICS_MAX {
            let place = self.source.place(span);
            let snippet = self.source.snippet(span);
            self.found.push(Diagnostic {
                code,
                place,
                message,
                help: help.map(str::to_owned),
                snippet,
            });
        }
        Stop
    }

    fn syntax(&mut self, error: &ScanError) -> Stop {
        let text = &self.source.text;
        let at = error.marker().byte_offset().unwrap_or(text.len());
        if let Some(span) = tab(text, at) {
            let help = Some("YAML is indented with spaces: replace the tab");
            return self.report(span, "bad_yaml", "a tab indents this line".to_owned(), help);
        }
        let message = format!("this is not YAML: {}", error.info());
        self.report(
            Span {
                start: at,
                end: at + 1,
            },
            "bad_yaml",
            message,
            None,
        )
    }

    fn take(&mut self, event: Event<'_>, span: ParserSpan) -> Result<(), Stop> {
        let at = span
            .byte_range()
            .map(|range| Span {
                start: range.start,
                end: range.end,
            })
            .unwrap_or_default();
        if event.tag().is_some() {
            let help = "write the value without `!`; put it in quotes to make it a string";
            return Err(self.report(
                at,
                "yaml_tag",
                "tags are not used here".to_owned(),
                Some(help),
            ));
        }
        match event {
            Event::DocumentStart(..) => self.start_document(at),
            Event::Scalar(text, style, anchor, _) => self.scalar(&text, style, anchor, at),
            Event::SequenceStart(_, anchor, _) => self.open(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.open(
                at,
                anchor,
                Content::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(at);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            _ => Ok(()),
        }
    }

    fn start_document(&mut self, at: Span) -> Result<(), Stop> {
        self.documents += 1;
        if self.documents > 1 {
            let help = Some(
                "one file holds one document: remove `---` or move the rest to a file of its own",
            );
            return Err(self.report(
                at,
                "second_document",
                "a second document begins here".to_owned(),
                help,
            ));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        at: Span,
    ) -> Result<(), Stop> {
        if self.wants_key() {
            return self.key(text, at);
        }
        let plain = matches!(style, ScalarStyle::Plain);
        let value = if plain {
            resolve(text)
        } else {
            Value::String(text.to_owned())
        };
        let node = Arc::new(Node {
            loose: plain,
            ..Node::new(at, value)
        });
        self.count(1, at)?;
        self.add(
            Built {
                node,
                size: 1,
                depth: 1,
            },
            anchor,
        );
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                content: Content::Map { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, name: &str, at: Span) -> Result<(), Stop> {
        if at.start == at.end {
            return Err(self.report(
                at,
                "bad_key",
                "a key is missing before `:`".to_owned(),
                None,
            ));
        }
        let Some(Frame {
            content: Content::Map { seen, key, .. },
            ..
        }) = self.stack.last_mut()
        else {
            return Ok(());
        };
        let first = match seen.entry(name.to_owned()) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(place) => {
                place.insert(at);
                None
            }
        };
        *key = Some((
            Key {
                name: name.to_owned(),
                span: at,
            },
            first.is_none(),
        ));
        if let Some(first) = first {
            let line = self.source.place(first).line;
            let message = format!("key `{name}` comes twice, first on line {line}");
            self.report(at, "duplicate_key", message, Some("remove one of the two"));
        }
        Ok(())
    }

    fn open(&mut self, span: Span, anchor: usize, content: Content) -> Result<(), Stop> {
        if self.wants_key() {
            let help = Some("a key is a name; put a text with `{`, `[` or `?` in quotes");
            return Err(self.report(
                span,
                "bad_key",
                "a list or mapping cannot be a key".to_owned(),
                help,
            ));
        }
        self.stack.push(Frame {
            span,
            anchor,
            size: 1,
            depth: 1,
            content,
        });
        self.count(1, span)?;
        self.check_depth(0, span)
    }

    fn check_depth(&mut self, more: usize, at: Span) -> Result<(), Stop> {
        if self.stack.len() + more > DEPTH_MAX {
            return Err(self.report(
                at,
                "too_deep",
                format!("nested deeper than {DEPTH_MAX} levels"),
                None,
            ));
        }
        Ok(())
    }

    fn close(&mut self, end: Span) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        let value = match frame.content {
            Content::List(nodes) => Value::List(nodes),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        let span = Span {
            start: frame.span.start,
            end: end.end.max(frame.span.end),
        };
        let node = Arc::new(Node::new(span, value));
        self.add(
            Built {
                node,
                size: frame.size,
                depth: frame.depth,
            },
            frame.anchor,
        );
    }

    fn alias(&mut self, anchor: usize, at: Span) -> Result<(), Stop> {
        if self.wants_key() {
            return Err(self.report(at, "bad_key", "an alias cannot be a key".to_owned(), None));
        }
        let Some(Built { node, size, depth }) = self.anchors.get(&anchor) else {
            return Err(self.report(
                at,
                "bad_alias",
                "this alias refers to a value that it is part of".to_owned(),
                None,
            ));
        };
        let built = Built {
            node: node.clone(),
            size: *size,
            depth: *depth,
        };
        self.count(built.size, at)?;
        self.check_depth(built.depth, at)?;
        self.add(built, 0);
        Ok(())
    }

    /// Counts before anything is built or walked: an alias counts as much as its whole expansion.
    fn count(&mut self, values: usize, at: Span) -> Result<(), Stop> {
        self.nodes += values;
        if self.nodes > NODES_MAX {
            let message =
                format!("the file has more than {NODES_MAX} values, aliases counted at each use");
            return Err(self.report(at, "too_many_values", message, None));
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, built: Built, anchor: usize) {
        let node = built.node.clone();
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(frame) => {
                frame.size += built.size;
                frame.depth = frame.depth.max(built.depth + 1);
                frame.content.push(node);
            }
        }
        if anchor != 0 {
            self.anchors.insert(anchor, built);
        }
    }

    fn finish(mut self) -> (Option<Document>, Diagnostics) {
        let root = self.root.take().filter(|_| self.stack.is_empty());
        let empty = root
            .as_ref()
            .is_none_or(|node| matches!(node.value, Value::Null));
        if empty && self.found.is_empty() {
            let help = "a pipeline file begins with `pipeline: NAME`".to_owned();
            self.found.push(Diagnostic::of_file(
                &self.source.path,
                "empty_file",
                "the file is empty".into(),
                Some(help),
            ));
        }
        let source = self.source.clone();
        let document = root.filter(|_| !empty).map(|node| Document {
            source,
            node,
            path: String::new(),
        });
        (document, Diagnostics(self.found))
    }
}

impl Content {
    fn push(&mut self, node: Arc<Node>) {
        match self {
            Self::List(nodes) => nodes.push(node),
            // The second value of a key that comes twice is dropped: the first one is checked.
            Self::Map { entries, key, .. } => {
                if let Some((key, true)) = key.take() {
                    entries.push((key, node));
                }
            }
        }
    }
}

/// The tab that indents the line of a fault, or the next line, which the parser takes for a part of this one.
fn tab(text: &str, at: usize) -> Option<Span> {
    let mut start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    for line in text[start..].split_inclusive('\n').take(2) {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent].find('\t') {
            return Some(Span {
                start: start + tab,
                end: start + tab + 1,
            });
        }
        start += line.len();
    }
    None
}

/// The YAML 1.2 core schema.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Value::Integer);
    }
    let radix = |prefix, radix| {
        i128::from_str_radix(text.strip_prefix(prefix)?, radix)
            .ok()
            .map(Value::Integer)
    };
    radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| float(text).map(Value::Float))
}

#[cfg(test)]
mod tests;
