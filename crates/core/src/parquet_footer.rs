//! A check of the footer of a Parquet file that someone else wrote, before the Parquet library reads it.
//!
//! The library builds the tree of columns by recursion and reserves memory by what the footer claims: a footer of some
//! hundred kilobytes ends the process by a stack overflow, or keeps it busy for ever. Refused here are a schema that is nested
//! too deep or has too many elements, counts of children that do not fit, names that are copied too often, and
//! what [`thrift`](crate::thrift) refuses. Everything else is left to the library.

use crate::thrift::{Fault, Fields, Shape, Walk};

#[cfg(test)]
mod tests;

/// Groups around a column of a file. A list and a map are two each, and a table takes 20 levels of them.
pub const SCHEMA_DEPTH_MAX: usize = 64;

/// Groups and columns of a file; a table takes 2,000 columns.
pub const SCHEMA_ELEMENTS_MAX: u64 = 100_000;

/// Bytes of the paths of all columns and groups: each holds a copy of the names around it.
pub const PATHS_BYTES_MAX: u64 = 64 << 20;

/// Largest footer, in bytes.
pub const FOOTER_BYTES_MAX: u32 = 256 << 20;

/// Bytes from the first index of pages to the end of the last one, which are read at once.
pub const INDEXES_BYTES_MAX: u64 = 256 << 20;

/// The end of a file: the length of its footer and `MAGIC`.
pub const ENDING_BYTES: usize = 8;

const MAGIC: &[u8] = b"PAR1";

/// The length of the footer before these last bytes of a file; `None` where it is no Parquet file, or encrypted, which the
/// library refuses by itself.
pub fn footer_bytes(ending: &[u8]) -> Option<u32> {
    let (length, magic) = ending.split_first_chunk::<4>()?;
    (magic == MAGIC).then(|| u32::from_le_bytes(*length))
}

/// Checks a whole file in memory. One without a footer passes: the library refuses it by itself.
///
/// # Errors
///
/// Why the library must not read it.
pub fn check_file(file: &[u8]) -> Result<(), String> {
    let Some((before, ending)) = file.split_last_chunk::<ENDING_BYTES>() else {
        return Ok(());
    };
    let length = footer_bytes(ending).and_then(|length| usize::try_from(length).ok());
    let start = length.and_then(|length| before.len().checked_sub(length));
    start.map_or(Ok(()), |start| check(&before[start..]))
}

/// Checks a footer (`FileMetaData`, <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>).
///
/// # Errors
///
/// Why the library must not read it.
pub fn check(footer: &[u8]) -> Result<(), String> {
    if footer.len() > FOOTER_BYTES_MAX as usize {
        let most = FOOTER_BYTES_MAX >> 20;
        return Err(format!("the footer has more than {most} MiB"));
    }
    let mut problem = None;
    let walked = Walk::new(footer).fields(FILE, &mut |walk, id, shape| match id {
        SCHEMA_ID => schema(walk).map_err(|Stop { fault, why }| {
            problem = why;
            fault
        }),
        _ => walk.known(shape),
    });
    walked.map_err(|fault| match (problem, fault) {
        (Some(why), _) => why,
        (None, Fault::Cut) => "the footer ends too early".to_owned(),
        (None, Fault::Bad(why)) => format!("the footer cannot be read: {why}"),
    })
}

/// Why the schema is not read, with a reason of its own where the protocol is kept.
struct Stop {
    fault: Fault,
    why: Option<String>,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self { fault, why: None }
    }
}

fn stop<T>(why: String) -> Result<T, Stop> {
    Err(Stop {
        fault: Fault::Bad("the schema"),
        why: Some(why),
    })
}

/// The groups around the next element.
struct Tree {
    /// Children that each of them still lacks, and the bytes of its path.
    open: Vec<(u64, u64)>,
    /// Children that all of them still lack.
    lacking: u64,
    /// Bytes of all paths so far.
    paths: u64,
}

/// Checks the list of elements: a tree, each group before its children.
fn schema(walk: &mut Walk<'_>) -> Result<(), Stop> {
    let count = walk.list(&Struct(ELEMENT))?;
    if count > SCHEMA_ELEMENTS_MAX {
        return stop(format!(
            "the schema has {count} groups and columns, more than the {SCHEMA_ELEMENTS_MAX} allowed"
        ));
    }
    // A group around the root, which lacks it.
    let mut tree = Tree {
        open: vec![(1, 0)],
        lacking: 1,
        paths: 0,
    };
    for left in (0..count).rev() {
        let element = Element::read(walk)?;
        tree.add(&element, left)?;
    }
    match tree.lacking {
        0 => Ok(()),
        _ if count == 0 => Ok(()),
        _ => stop("the schema has fewer columns than its groups claim".to_owned()),
    }
}

impl Tree {
    /// Adds an element that `left` ones follow.
    fn add(&mut self, element: &Element, left: u64) -> Result<(), Stop> {
        while self.open.last().is_some_and(|(lacking, _)| *lacking == 0) {
            self.open.pop();
        }
        let Some((lacking, path)) = self.open.last_mut() else {
            return stop("the schema has more columns than its groups claim".to_owned());
        };
        *lacking -= 1;
        let path = path.saturating_add(element.name);
        self.paths = self.paths.saturating_add(path);
        self.lacking = (self.lacking - 1).saturating_add(element.children);
        if element.children > 0 {
            self.open.push((element.children, path));
        }
        self.check(left)
    }

    fn check(&self, left: u64) -> Result<(), Stop> {
        if self.lacking > left {
            return stop("a group of the schema claims more columns than there are".to_owned());
        }
        // Without the root and the group around it.
        if self.open.len() > SCHEMA_DEPTH_MAX + 2 {
            return stop(format!(
                "the schema is nested more than {SCHEMA_DEPTH_MAX} groups deep"
            ));
        }
        if self.paths > PATHS_BYTES_MAX {
            let most = PATHS_BYTES_MAX >> 20;
            return stop(format!(
                "the names of the schema make paths of more than {most} MiB"
            ));
        }
        Ok(())
    }
}

/// What the tree needs of an element of the schema.
struct Element {
    /// Bytes of its name.
    name: u64,
    children: u64,
}

impl Element {
    fn read(walk: &mut Walk<'_>) -> Result<Self, Stop> {
        let mut name = 0;
        let mut children = 0_i32;
        walk.fields(ELEMENT, &mut |walk, id, shape| {
            match id {
                NAME_ID => name = walk.binary()?,
                // Like the library: the low 32 bits.
                CHILDREN_ID => children = walk.number()? as i32,
                _ => walk.known(shape)?,
            }
            Ok(())
        })?;
        match u64::try_from(children) {
            Ok(children) => Ok(Self { name, children }),
            Err(_) => stop("a group of the schema claims a negative number of columns".to_owned()),
        }
    }
}

/// `FileMetaData.schema`.
const SCHEMA_ID: i16 = 2;

/// `SchemaElement.name` and `.num_children`.
const NAME_ID: i16 = 4;
const CHILDREN_ID: i16 = 5;

use Shape::{Binary, Boolean, Byte, Double, List, Number, Struct};

/// The fields that the library reads, of `FileMetaData` and what it holds; it passes over the others by their types.
const FILE: Fields = &[
    (1, Number),
    (SCHEMA_ID, List(&Struct(ELEMENT))),
    (3, Number),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(&[(1, Binary), (2, Binary)]))),
    (6, Binary),
    (7, List(&Struct(&[(1, Struct(&[]))]))),
];

const ELEMENT: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (NAME_ID, Binary),
    (CHILDREN_ID, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Struct(LOGICAL_TYPE)),
];

/// A union of empty structs, except decimals, times, integers, variants, and geometries.
const LOGICAL_TYPE: Fields = &[
    (1, Struct(&[])),
    (2, Struct(&[])),
    (3, Struct(&[])),
    (4, Struct(&[])),
    (5, Struct(&[(1, Number), (2, Number)])),
    (6, Struct(&[])),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Byte), (2, Boolean)])),
    (11, Struct(&[])),
    (12, Struct(&[])),
    (13, Struct(&[])),
    (14, Struct(&[])),
    (15, Struct(&[])),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, Number)])),
];

const TIME: Fields = &[
    (1, Boolean),
    (
        2,
        Struct(&[(1, Struct(&[])), (2, Struct(&[])), (3, Struct(&[]))]),
    ),
];

const ROW_GROUP: Fields = &[
    (1, List(&Struct(CHUNK))),
    (2, Number),
    (3, Number),
    (4, List(&Struct(&[(1, Number), (2, Boolean), (3, Boolean)]))),
    (5, Number),
    (7, Number),
];

const CHUNK: Fields = &[
    (1, Binary),
    (2, Number),
    (3, Struct(COLUMN)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
];

const COLUMN: Fields = &[
    (1, Number),
    (2, List(&Number)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, Number), (2, Number), (3, Number)]))),
    (14, Number),
    (15, Number),
    (
        16,
        Struct(&[(1, Number), (2, List(&Number)), (3, List(&Number))]),
    ),
    (17, Struct(&[(1, Struct(BOX)), (2, List(&Number))])),
];

const BOX: Fields = &[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
];

const STATISTICS: Fields = &[
    (1, Binary),
    (2, Binary),
    (3, Number),
    (4, Number),
    (5, Binary),
    (6, Binary),
    (7, Boolean),
    (8, Boolean),
];

/// Where the pages of a column chunk are (`OffsetIndex`), for [`thrift::check`](crate::thrift::check).
pub const OFFSET_INDEX: Fields = &[
    (1, List(&Struct(&[(1, Number), (2, Number), (3, Number)]))),
    (2, List(&Number)),
];

/// The values of the pages of a column chunk (`ColumnIndex`), for [`thrift::check`](crate::thrift::check).
pub const COLUMN_INDEX: Fields = &[
    (1, List(&Boolean)),
    (2, List(&Binary)),
    (3, List(&Binary)),
    (4, Number),
    (5, List(&Number)),
    (6, List(&Number)),
    (7, List(&Number)),
];

/// The header of a page (`PageHeader`), for [`thrift::check`](crate::thrift::check).
pub const PAGE_HEADER: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Struct(DATA_PAGE)),
    (6, Struct(&[])),
    (7, Struct(&[(1, Number), (2, Number), (3, Boolean)])),
    (8, Struct(DATA_PAGE_V2)),
];

const DATA_PAGE: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Struct(STATISTICS)),
];

const DATA_PAGE_V2: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Boolean),
    (8, Struct(STATISTICS)),
];
