//! The contract of files that have a schema: the table's columns as Arrow has them.
//!
//! Never reads a file; see [`super::plan`] for the mapping of a file's columns to those of the table.

use arrow::datatypes::{Field, Fields, Schema};
use arrow::ipc::convert::IpcSchemaEncoder;
use arrow::ipc::root_as_schema;
use forebay_core::Result;

use super::numbers;
use crate::contract::{Contract, contract_broken};
use crate::learned::HeldLongs;

/// Version of the shape: `{"columns": <hex of an Arrow IPC schema>}`.
const VERSION: u32 = 1;

pub(super) fn written(extractor: &str, columns: Vec<Field>) -> Contract {
    let schema = Schema::new(columns);
    let encoded = IpcSchemaEncoder::new().schema_to_fb(&schema);
    let bytes = encoded.finished_data().iter();
    let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    Contract {
        extractor: extractor.to_owned(),
        version: VERSION,
        shape: serde_json::json!({ "columns": hex }),
    }
}

/// A contract of this extractor in which columns of whole numbers are doubles; see [`crate::learned::widen`].
pub(crate) fn widen_contract(
    extractor: &'static str,
    contract: Contract,
    widened: &dyn Fn(&str, &str) -> Option<HeldLongs>,
) -> Result<Contract> {
    let columns = read(extractor, contract)?;
    let beside = |name: &str| widened("", name);
    Ok(written(extractor, numbers::widen(&columns, "", &beside)))
}

/// Whether no file has given the contract a column.
pub(crate) fn has_no_columns(extractor: &'static str, contract: &Contract) -> bool {
    read(extractor, contract.clone()).is_ok_and(|columns| columns.is_empty())
}

/// The columns of a contract of this extractor.
pub(super) fn read(extractor: &str, contract: Contract) -> Result<Vec<Field>> {
    let shape = contract.shape_by(extractor, VERSION)?;
    let hex = shape
        .get("columns")
        .and_then(serde_json::Value::as_str)
        .ok_or_else(contract_broken)?;
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| u8::from_str_radix(pair?, 16).ok())
        .collect();
    let bytes = bytes.ok_or_else(contract_broken)?;
    let schema =
        root_as_schema(&bytes).map_err(|error| contract_broken().with_source(error.to_string()))?;
    let fields: Fields = arrow::ipc::convert::fb_to_schema(schema).fields;
    Ok(fields.iter().map(|field| field.as_ref().clone()).collect())
}
