//! `||` of texts as a function, so that its result is held to the bound of [`super::sized`]: null when a side is null.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::kernels::concat_elements::concat_elements_utf8;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::over_arrays;

/// The name of the function, which `EXPLAIN` shows.
pub(crate) const TEXT_CONCAT: &str = "text_concat";

/// The function in place of the operator; `None` for another expression, and for other types than text.
pub(crate) fn of_operator(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::StringConcat,
        right,
    }) = expr
    else {
        return None;
    };
    let kind = left.get_type(schema).ok()?;
    let is_text = kind.is_string() && right.get_type(schema).ok()? == kind;
    is_text.then(|| {
        ScalarUDF::new_from_impl(TextConcat::new()).call(vec![*left.clone(), *right.clone()])
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextConcat {
    signature: Signature,
}

impl TextConcat {
    fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for TextConcat {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        TEXT_CONCAT
    }

    // As the engine writes the operator, so that columns keep their names.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args
            .iter()
            .map(|arg| arg.schema_name().to_string())
            .collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // The engine puts a null without a type in the place of an aggregate of no rows.
        if args.args.iter().any(|arg| arg.data_type().is_null()) {
            let null = ScalarValue::try_from(args.return_field.data_type())?;
            return Ok(ColumnarValue::Scalar(null));
        }
        over_arrays(&args.args, args.number_rows, |args| {
            concat(&args[0], &args[1])
        })
    }
}

fn concat(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    Ok(match left.data_type() {
        DataType::Utf8 => Arc::new(concat_elements_utf8(
            left.as_string::<i32>(),
            right.as_string::<i32>(),
        )?),
        DataType::LargeUtf8 => Arc::new(concat_elements_utf8(
            left.as_string::<i64>(),
            right.as_string::<i64>(),
        )?),
        DataType::Utf8View => concat_views(left, right),
        other => return internal_err!("{other} is not a text"),
    })
}

fn concat_views(left: &ArrayRef, right: &ArrayRef) -> ArrayRef {
    let mut made = StringViewBuilder::with_capacity(left.len());
    let mut text = String::new();
    for pair in left.as_string_view().iter().zip(right.as_string_view()) {
        let (Some(left), Some(right)) = pair else {
            made.append_null();
            continue;
        };
        text.clear();
        text.push_str(left);
        text.push_str(right);
        made.append_value(&text);
    }
    Arc::new(made.finish())
}
