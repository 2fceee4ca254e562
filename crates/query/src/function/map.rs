//! `map` with constant keys beside values of each row: the engine takes the one list of keys for a list a row.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

/// The engine's name of it.
const NAME: &str = "map";

/// The function, with a list of keys for each row where it is `map`.
pub(crate) fn with_keys_of_each_row(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() == NAME {
        true => Arc::new(ScalarUDF::new_from_impl(RowMap(function))),
        false => function,
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowMap(Arc<ScalarUDF>);

impl ScalarUDFImpl for RowMap {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(types)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_array = |arg: &ColumnarValue| matches!(arg, ColumnarValue::Array(_));
        if args.args.iter().any(is_array) {
            let rows = args.number_rows;
            let columns = args.args.into_iter();
            args.args = columns
                .map(|arg| arg.into_array(rows).map(ColumnarValue::Array))
                .collect::<Result<_>>()?;
        }
        self.0.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}
