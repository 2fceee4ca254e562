//! Functions whose result can be far larger than their arguments, held to a share of the memory limit.
//!
//! The engine's memory pool does not count allocations of functions. Each function here is the engine's own behind a bound on the
//! size of its result, computed before it runs; a batch beyond the bound is run in slices, a single value beyond it fails.

mod row;
pub(crate) mod unnest;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use forebay_core::Error;

use crate::error::external;

use row::{RowSize, SIZED, SizedRow};

/// Most bytes of one result, whatever the memory limit: text columns address 2 GiB.
const RESULT_BYTES_MAX: u64 = 1 << 30;
/// The share of the memory limit that one result may take.
const MEMORY_SHARE: u64 = 4;

/// Most bytes of one result under a memory limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ResultLimit(u64);

impl ResultLimit {
    /// For transforms: many pipelines of a process may be at it at once.
    pub(crate) const TRANSFORM: Self = Self(32 << 20);

    pub(crate) fn of_memory(memory_bytes: usize) -> Self {
        Self((memory_bytes as u64 / MEMORY_SHARE).clamp(1, RESULT_BYTES_MAX))
    }

    /// The function with a bound in place of one without; others as they are.
    pub(crate) fn bound(self, function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
        if function.inner().as_any().is::<SizedFunction>() {
            return function;
        }
        let is_named =
            |name: &str| function.name() == name || function.aliases().iter().any(|a| a == name);
        match SIZED.iter().find(|(name, _)| is_named(name)) {
            Some((name, size)) => Arc::new(ScalarUDF::new_from_impl(SizedFunction {
                name,
                size: *size,
                inner: function,
                limit: self,
            })),
            None => function,
        }
    }

    /// The same for every call in an expression: the engine's planner and simplifier make some that never look a name up.
    pub(crate) fn bound_calls(self, expr: Expr) -> Result<Expr> {
        let bound = expr.transform_up(|expr| Ok(self.bound_call(expr)))?;
        Ok(bound.data)
    }

    /// The same for the outermost call.
    pub(crate) fn bound_call(self, expr: Expr) -> Transformed<Expr> {
        match expr {
            Expr::ScalarFunction(call) => {
                let func = self.bound(call.func.clone());
                if Arc::ptr_eq(&func, &call.func) {
                    return Transformed::no(Expr::ScalarFunction(call));
                }
                Transformed::yes(func.call(call.args))
            }
            other => Transformed::no(other),
        }
    }
}

/// One bounded function.
#[derive(Debug)]
struct SizedFunction {
    name: &'static str,
    size: RowSize,
    inner: Arc<ScalarUDF>,
    limit: ResultLimit,
}

// One name and limit is one function.
impl PartialEq for SizedFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.limit == other.limit
    }
}

impl Eq for SizedFunction {}

impl std::hash::Hash for SizedFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.limit.hash(state);
    }
}

impl SizedFunction {
    fn inner(&self) -> &dyn ScalarUDFImpl {
        self.inner.inner().as_ref()
    }

    fn too_large(&self, bytes: u64) -> DataFusionError {
        let error = Error::data(
            "sql_value_too_large",
            format!(
                "a value makes the statement fail: {}() would make {bytes} bytes of one value, more than {}",
                self.name, self.limit.0
            ),
        );
        external(
            error.with_hint("make the value smaller, or raise `memory` in `[sql]` of forebay.toml"),
        )
    }

    /// Slices of the batch that each stay within the limit. Errors: `Data` for a row that does not.
    fn slices(&self, args: &[ArrayRef], rows: usize) -> Result<Vec<Range<usize>>> {
        let mut slices = Vec::new();
        let mut start = 0;
        let mut bytes = 0_u64;
        for row in 0..rows {
            let size = (self.size)(&SizedRow { args, row });
            if size > self.limit.0 {
                return Err(self.too_large(size));
            }
            if bytes.saturating_add(size) > self.limit.0 {
                slices.push(start..row);
                start = row;
                bytes = 0;
            }
            bytes += size;
        }
        slices.push(start..rows);
        Ok(slices)
    }

    fn sliced(&self, args: &ScalarFunctionArgs, slices: &[Range<usize>]) -> Result<ColumnarValue> {
        let mut made: Vec<ArrayRef> = Vec::with_capacity(slices.len());
        let mut bytes = 0_u64;
        for slice in slices {
            let rows = slice.len();
            let cut = |arg: &ColumnarValue| match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(slice.start, rows)),
                constant => constant.clone(),
            };
            let part = self.inner.invoke_with_args(ScalarFunctionArgs {
                args: args.args.iter().map(cut).collect(),
                arg_fields: args.arg_fields.clone(),
                number_rows: rows,
                return_field: args.return_field.clone(),
                config_options: args.config_options.clone(),
            })?;
            let part = part.into_array(rows)?;
            bytes = bytes.saturating_add(part.get_array_memory_size() as u64);
            if bytes > self.limit.0 {
                return Err(self.too_large(bytes));
            }
            made.push(part);
        }
        let parts: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

impl ScalarUDFImpl for SizedFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner().return_field_from_args(args)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner().with_updated_config(config)?);
        Some(ScalarUDF::new_from_impl(Self {
            name: self.name,
            size: self.size,
            inner,
            limit: self.limit,
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match self.inner().simplify(args, info)? {
            ExprSimplifyResult::Simplified(expr) => {
                ExprSimplifyResult::Simplified(self.limit.bound_calls(expr)?)
            }
            original => original,
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(one_row_or_all)
            .collect::<Result<Vec<_>>>()?;
        let slices = self.slices(&arrays, rows)?;
        if slices.len() == 1 {
            return self.inner.invoke_with_args(args);
        }
        self.sliced(&args, &slices)
    }
}

fn one_row_or_all(arg: &ColumnarValue) -> Result<ArrayRef> {
    match arg {
        ColumnarValue::Array(array) => Ok(array.clone()),
        ColumnarValue::Scalar(scalar) => scalar.to_array(),
    }
}

/// A constant that shows its type in the name of a column and gives its first argument back.
pub(crate) fn cast_to() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(CastTo {
        signature: Signature::any(2, datafusion::logical_expr::Volatility::Immutable),
    }))
}

/// The function that shows a cast in a name; it gives its first argument back.
pub(crate) const CAST_TO: &str = "cast_to";

/// See [`cast_to`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct CastTo {
    signature: Signature,
}

impl ScalarUDFImpl for CastTo {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        CAST_TO
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value, Expr::Literal(ScalarValue::Utf8(Some(kind)), _)] => {
                Ok(format!("CAST({} AS {kind})", value.schema_name()))
            }
            _ => Ok(self.name().to_owned()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let mut args = args;
        Ok(ExprSimplifyResult::Simplified(args.swap_remove(0)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}
