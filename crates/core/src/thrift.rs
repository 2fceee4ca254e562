//! A check of Thrift's compact protocol, before a library reads the bytes.
//!
//! The Parquet library takes a field by its number and never looks at its type, passes over booleans of an unknown list
//! without taking their bytes, and reserves room for a list as long as its header claims. Bytes made for it keep it busy for
//! ever or fill the memory. This walks the same bytes first, by the [`Shape`] the library expects, and refuses what the two
//! would read differently. It never reads a value that it does not need, and takes time linear in the bytes.

/// Unknown values within each other.
const DEPTH_MAX: u32 = 16;

/// Items of a list of structs, each of which has a place in memory before it is read.
const STRUCTS_MAX: u64 = 1 << 20;

/// Bytes of the longest number: 64 bits, seven to a byte.
const VARINT_BYTES_MAX: u32 = 10;

/// What a value of a known field has to be. Numbers of 16, 32 and 64 bits are encoded alike.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Boolean,
    Byte,
    Number,
    Double,
    Binary,
    List(&'static Shape),
    Struct(Fields),
}

/// The known fields of a struct by number; others are passed over.
pub type Fields = &'static [(i16, Shape)];

/// Why bytes are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They end too early.
    Cut,
    /// They are not what the protocol allows, or not what this accepts.
    Bad(&'static str),
}

/// A value as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Byte,
    Number,
    Double,
    Binary,
    List,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Result<Self, Fault> {
        Ok(match code {
            1 | 2 => Self::Boolean,
            3 => Self::Byte,
            4..=6 => Self::Number,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            12 => Self::Struct,
            11 => return Err(Fault::Bad("a field is a map")),
            _ => return Err(Fault::Bad("a field has an unknown type")),
        })
    }
}

impl Shape {
    fn kind(&self) -> Kind {
        match self {
            Self::Boolean => Kind::Boolean,
            Self::Byte => Kind::Byte,
            Self::Number => Kind::Number,
            Self::Double => Kind::Double,
            Self::Binary => Kind::Binary,
            Self::List(_) => Kind::List,
            Self::Struct(_) => Kind::Struct,
        }
    }
}

/// Checks the struct at the start of `bytes`, and returns how many bytes it has.
///
/// # Errors
///
/// [`Fault::Cut`] when it continues past them, else [`Fault::Bad`].
pub fn check(bytes: &[u8], fields: Fields) -> Result<usize, Fault> {
    let mut walk = Walk::new(bytes);
    walk.fields(fields, &mut |walk, _, shape| walk.known(shape))?;
    Ok(bytes.len() - walk.rest.len())
}

/// The bytes that are left.
pub(crate) struct Walk<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Walk<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.rest.split_first().ok_or(Fault::Cut)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn pass(&mut self, bytes: u64) -> Result<(), Fault> {
        let bytes = usize::try_from(bytes).map_err(|_| Fault::Cut)?;
        self.rest = self.rest.get(bytes..).ok_or(Fault::Cut)?;
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for n in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << (7 * n);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Bad("a number has more than 64 bits"))
    }

    /// A signed number; a field of 32 bits takes the low ones.
    pub(crate) fn number(&mut self) -> Result<i64, Fault> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A text or bytes: how many.
    pub(crate) fn binary(&mut self) -> Result<u64, Fault> {
        let length = self.unsigned()?;
        self.pass(length)?;
        Ok(length)
    }

    /// Calls `take` for each known field of a struct, which has to take its value; passes over the others.
    pub(crate) fn fields(
        &mut self,
        known: Fields,
        take: &mut dyn FnMut(&mut Self, i16, &Shape) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut id = 0;
        while let Some((next, kind)) = self.field(id)? {
            id = next;
            match known.iter().find(|(known, _)| *known == id) {
                Some((_, shape)) if shape.kind() == kind => take(self, id, shape)?,
                Some(_) => return Err(Fault::Bad("a field has another type than it must have")),
                None => self.skip(kind, 0)?,
            }
        }
        Ok(())
    }

    /// The header of the field after `last`: its number and kind; `None` at the end of the struct.
    fn field(&mut self, last: i16) -> Result<Option<(i16, Kind)>, Fault> {
        let byte = self.byte()?;
        let kind = match byte & 0x0F {
            0 => return Ok(None),
            code => Kind::of(code)?,
        };
        let id = match byte >> 4 {
            // Like the library: the low 16 bits.
            0 => self.number()? as i16,
            step => last
                .checked_add(i16::from(step))
                .ok_or(Fault::Bad("a field has an impossible number"))?,
        };
        Ok(Some((id, kind)))
    }

    /// A value of a known field.
    pub(crate) fn known(&mut self, shape: &Shape) -> Result<(), Fault> {
        match shape {
            Shape::Struct(known) => self.fields(known, &mut |walk, _, shape| walk.known(shape)),
            Shape::List(item) => {
                let count = self.list(item)?;
                match item {
                    // In a list each has a byte of its own.
                    Shape::Boolean => self.pass(count),
                    item => (0..count).try_for_each(|_| self.known(item)),
                }
            }
            plain => self.skip(plain.kind(), 0),
        }
    }

    /// The header of a list of known items: how many.
    pub(crate) fn list(&mut self, item: &Shape) -> Result<u64, Fault> {
        let (count, kind) = self.list_header(matches!(item, Shape::Boolean))?;
        match kind {
            Some(kind) if kind != item.kind() => Err(Fault::Bad(
                "a list has items of another type than it must have",
            )),
            Some(Kind::Struct) if count > STRUCTS_MAX => Err(Fault::Bad("a list is too long")),
            _ => Ok(count),
        }
    }

    /// The number of items and their kind, `None` for an empty list, in which some writers leave it out.
    fn list_header(&mut self, may_be_booleans: bool) -> Result<(u64, Option<Kind>), Fault> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.unsigned()?,
            count => u64::from(count),
        };
        if count == 0 {
            return Ok((0, None));
        }
        let kind = Kind::of(byte & 0x0F)?;
        if kind == Kind::Boolean && !may_be_booleans {
            let why = "a list has booleans, which the library takes no bytes for";
            return Err(Fault::Bad(why));
        }
        // An item has a byte at least.
        if count > self.rest.len() as u64 {
            return Err(Fault::Cut);
        }
        Ok((count, Some(kind)))
    }

    /// Passes over a value; `depth` values are around it.
    fn skip(&mut self, kind: Kind, depth: u32) -> Result<(), Fault> {
        match kind {
            // The value is in the field's own byte; unknown lists of booleans are refused.
            Kind::Boolean => Ok(()),
            Kind::Byte => self.pass(1),
            Kind::Number => self.unsigned().map(drop),
            Kind::Double => self.pass(8),
            Kind::Binary => self.binary().map(drop),
            _ if depth >= DEPTH_MAX => Err(Fault::Bad("fields are nested too deep")),
            Kind::List => match self.list_header(false)? {
                (count, Some(kind)) => (0..count).try_for_each(|_| self.skip(kind, depth + 1)),
                _ => Ok(()),
            },
            Kind::Struct => self.skip_fields(depth),
        }
    }

    fn skip_fields(&mut self, depth: u32) -> Result<(), Fault> {
        let mut id = 0;
        while let Some((next, kind)) = self.field(id)? {
            id = next;
            self.skip(kind, depth + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Fields = &[
        (1, Shape::Number),
        (2, Shape::List(&Shape::Struct(&[(1, Shape::Binary)]))),
    ];

    #[test]
    fn a_struct_is_walked_to_its_end() {
        // 1: 5, 2: [{1: "a"}, {}], then an unknown list of two numbers, an unknown empty list of no type, and more bytes.
        let bytes = [
            0x15, 10, 0x19, 0x2C, 0x18, 1, b'a', 0, 0, 0x19, 0x25, 1, 2, 0x19, 0, 0, 9,
        ];
        assert_eq!(check(&bytes, KNOWN), Ok(bytes.len() - 1));
        for cut in 0..bytes.len() - 1 {
            assert_eq!(check(&bytes[..cut], KNOWN), Err(Fault::Cut), "{cut}");
        }
    }

    #[test]
    fn what_a_library_reads_otherwise_is_refused() {
        let long = [0xFF, 0xFF, 0xFF, 0xFF, 0x07];
        let of = |start: &[u8]| [start, &long, &[0; 9]].concat();
        // An unknown list of 2^31 - 1 booleans, structs, and lists of it.
        assert!(matches!(
            check(&of(&[0x59, 0xF1]), KNOWN),
            Err(Fault::Bad(_))
        ));
        assert_eq!(check(&of(&[0x59, 0xFC]), KNOWN), Err(Fault::Cut));
        assert!(matches!(
            check(&of(&[0x59, 0x29, 0xF2]), KNOWN),
            Err(Fault::Bad(_))
        ));
        // A known field that is a text, by its step and by its whole number and that plus 65,536.
        for header in [&[0x18_u8][..], &[0x08, 2], &[0x08, 0x82, 0x80, 0x08]] {
            let bytes = [header, &[0, 0]].concat();
            assert!(
                matches!(check(&bytes, KNOWN), Err(Fault::Bad(_))),
                "{header:?}"
            );
        }
        // A known list of numbers; a map; nesting without end.
        assert!(matches!(
            check(&[0x29, 0x15, 1, 0], KNOWN),
            Err(Fault::Bad(_))
        ));
        assert!(matches!(check(&[0x5B, 0, 0], KNOWN), Err(Fault::Bad(_))));
        assert!(matches!(check(&[0x5C; 1_000], KNOWN), Err(Fault::Bad(_))));
    }
}
