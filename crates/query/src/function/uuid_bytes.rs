//! The bytes of a UUID that is written as text, for a column that holds UUIDs. Statements cannot name it.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use forebay_core::{Error, shortened_value};
use uuid::Uuid;

use crate::error::external;

/// Bytes of a UUID.
const BYTES: i32 = 16;

/// The function; see the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct UuidBytes {
    signature: Signature,
}

impl UuidBytes {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for UuidBytes {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "uuid_bytes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(BYTES))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = cast(&arrays[0], &DataType::Utf8)?;
        Ok(ColumnarValue::Array(bytes(&texts)?))
    }
}

fn bytes(texts: &ArrayRef) -> Result<ArrayRef> {
    let mut built = FixedSizeBinaryBuilder::with_capacity(texts.len(), BYTES);
    for text in texts.as_string::<i32>() {
        match text {
            Some(text) => built.append_value(parse(text)?.as_bytes())?,
            None => built.append_null(),
        }
    }
    Ok(Arc::new(built.finish()))
}

fn parse(text: &str) -> Result<Uuid, DataFusionError> {
    Uuid::try_parse(text).map_err(|_| {
        let what = format!("{} is not a UUID", shortened_value(text));
        external(
            Error::data("sql_value", what)
                .with_hint("write it like '123e4567-e89b-12d3-a456-426614174000'"),
        )
    })
}
