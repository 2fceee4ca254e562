//! A Protobuf schema of a registry, compiled, and the message type of a value.

use prost_reflect::{FileDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::nesting;
use crate::base64;
use crate::registry_schema::{Reference, Schema};
use crate::wire::Unreadable;

/// The name that the schema itself gets: a registry keeps none.
const MAIN: &str = "main.proto";

/// Deepest nesting of a message type that a value may name.
const DEPTH_MAX: usize = 32;

pub(super) struct Compiled {
    file: FileDescriptor,
}

impl Compiled {
    pub(super) fn new(schema: &Schema) -> Result<Self, Unreadable> {
        let bad = |what: String| {
            Unreadable::new(
                "bad_schema",
                format!("the schema cannot be compiled: {what}"),
            )
        };
        let mut files = ChainFileResolver::new();
        files.add(Files {
            main: schema.schema.clone(),
            others: schema.references.clone(),
        });
        files.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(files);
        compiler.include_imports(true);
        compiler
            .open_file(MAIN)
            .map_err(|error| bad(error.to_string()))?;
        let file = compiler.descriptor_pool().get_file_by_name(MAIN);
        let file = file.ok_or_else(|| bad("it is empty".to_owned()))?;
        Ok(Self { file })
    }

    /// The type of the message, a path of indexes at its start, and its content.
    pub(super) fn message<'b>(
        &self,
        body: &'b [u8],
    ) -> Result<(MessageDescriptor, &'b [u8]), Unreadable> {
        let bad = |what: &str| Unreadable::new("bad_protobuf", what);
        let mut left = body;
        let mut number =
            || varint(&mut left).ok_or_else(|| bad("the path to the message's type is truncated"));
        // A lone zero is short for the path [0].
        let depth = number()?;
        let path = match usize::try_from(depth).unwrap_or(usize::MAX) {
            0 => vec![0],
            depth if depth > DEPTH_MAX => {
                return Err(bad("the path to the message's type is too long"));
            }
            depth => (0..depth)
                .map(|_| number())
                .collect::<Result<Vec<_>, _>>()?,
        };
        let missing = || bad("the schema has no message of this type");
        let mut indexes = path
            .iter()
            .map(|index| usize::try_from(*index).unwrap_or(usize::MAX));
        let first = indexes
            .next()
            .and_then(|index| self.file.messages().nth(index));
        let mut kind = first.ok_or_else(missing)?;
        for index in indexes {
            let child = kind.child_messages().nth(index);
            kind = child.ok_or_else(missing)?;
        }
        Ok((kind, left))
    }
}

/// A signed number in zigzag, seven bits a byte (<https://protobuf.dev/programming-guides/encoding/#varints>).
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

struct Files {
    main: String,
    others: Vec<Reference>,
}

impl FileResolver for Files {
    fn resolve_path(&self, path: &std::path::Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let schema = match name {
            MAIN => Some(&self.main),
            other => self
                .others
                .iter()
                .find(|file| file.name == other)
                .map(|file| &file.schema),
        };
        match schema {
            Some(schema) => file(name, schema),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The schema is not compiled.
#[derive(Debug)]
struct Deep;

impl std::error::Error for Deep {}

impl std::fmt::Display for Deep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is nested too deep")
    }
}

/// A file of a schema: its text, or its `FileDescriptorProto` in base64. Some clients register that, and some registries
/// return it unchanged (<https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto>).
fn file(name: &str, schema: &str) -> Result<File, protox::Error> {
    // The text of a schema is never valid base64: it has spaces.
    let deep = || protox::Error::new(Deep);
    let Some(bytes) = base64::decode(schema).filter(|bytes| !bytes.is_empty()) else {
        return match nesting::is_deep_text(schema) {
            true => Err(deep()),
            false => File::from_source(name, schema),
        };
    };
    if nesting::is_deep_binary(&bytes) {
        return Err(deep());
    }
    let read = File::decode_file_descriptor_proto(&bytes[..]).map_err(protox::Error::new)?;
    let mut descriptor = read.file_descriptor_proto().clone();
    descriptor.name = Some(name.to_owned());
    Ok(File::from_file_descriptor_proto(descriptor))
}
