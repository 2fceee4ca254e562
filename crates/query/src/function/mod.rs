//! Scalar functions of our own: those that the engine lacks, and those whose engine version is wrong on part of the range.
//!
//! A function is data: a name, a signature, a return type and a kernel over arrays. Nothing here knows plans or tables.

pub(crate) mod age;
pub(crate) mod characters;
pub(crate) mod concat;
pub(crate) mod digits;
pub(crate) mod format;
pub(crate) mod instant;
pub(crate) mod interval;
pub(crate) mod json;
pub(crate) mod map;
pub(crate) mod nested;
pub(crate) mod number;
pub(crate) mod number_text;
pub(crate) mod parse;
pub(crate) mod pattern;
pub(crate) mod peers;
pub(crate) mod regexp;
pub(crate) mod retyped;
pub(crate) mod series;
pub(crate) mod sized;
pub(crate) mod strftime;
pub(crate) mod text;
pub(crate) mod time_text;
pub(crate) mod truncate;
pub(crate) mod uuid_bytes;
pub(crate) mod whole;
pub(crate) mod zone;

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The kernel of a function: argument columns of equal length to one column.
pub(crate) type Kernel = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// The types that arguments of these types are cast to.
pub(crate) type ArgumentTypes = fn(&[DataType]) -> Result<Vec<DataType>>;

/// Constant arguments that a kernel takes as one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptConstants {
    None,
    First,
    All,
}

/// A scalar function; see the module.
pub(crate) struct ScalarDefinition {
    pub(crate) name: &'static str,
    pub(crate) aliases: Vec<String>,
    pub(crate) signature: Signature,
    pub(crate) returns: fn(&[DataType]) -> Result<DataType>,
    /// Casts of the arguments before the kernel sees them.
    pub(crate) coerces: ArgumentTypes,
    pub(crate) kernel: Kernel,
    /// Which constants are handed to the kernel as one row, however many rows the others have.
    pub(crate) constants: KeptConstants,
}

impl ScalarDefinition {
    /// A function with any number of arguments between the two, cast by `coerces`.
    pub(crate) fn new(
        name: &'static str,
        returns: fn(&[DataType]) -> Result<DataType>,
        coerces: ArgumentTypes,
        kernel: Kernel,
    ) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            signature: Signature::user_defined(Volatility::Immutable),
            returns,
            coerces,
            kernel,
            constants: KeptConstants::None,
        }
    }

    pub(crate) fn with_constant_first(mut self) -> Self {
        self.constants = KeptConstants::First;
        self
    }

    /// For kernels that read one row of a constant for every row: lists, which would be repeated.
    pub(crate) fn with_constants(mut self) -> Self {
        self.constants = KeptConstants::All;
        self
    }

    pub(crate) fn with_alias(mut self, alias: &str) -> Self {
        self.aliases.push(alias.to_owned());
        self
    }

    pub(crate) fn shared(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }
}

impl fmt::Debug for ScalarDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

// One name is one function.
impl PartialEq for ScalarDefinition {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ScalarDefinition {}

impl Hash for ScalarDefinition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for ScalarDefinition {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        (self.returns)(types)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        (self.coerces)(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kind = args.return_field.data_type().clone();
        let Some(args) = self.with_types(args)? else {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(&kind)?));
        };
        match args.args.split_first() {
            Some((ColumnarValue::Scalar(first), rest))
                if self.constants == KeptConstants::First
                    && rest
                        .iter()
                        .any(|arg| matches!(arg, ColumnarValue::Array(_))) =>
            {
                let first = first.to_array()?;
                over_arrays(rest, args.number_rows, |rest| {
                    let mut all = vec![first.clone()];
                    all.extend(rest.iter().cloned());
                    (self.kernel)(&all)
                })
            }
            _ if self.constants == KeptConstants::All => with_one_row_each(&args.args, self.kernel),
            _ => over_arrays(&args.args, args.number_rows, self.kernel),
        }
    }
}

impl ScalarDefinition {
    /// The arguments with a type for every null: the engine puts one without a type in the place of an aggregate of no rows. `None`
    /// where the function has none for it, and its result is null.
    fn with_types(&self, mut args: ScalarFunctionArgs) -> Result<Option<ScalarFunctionArgs>> {
        let kinds: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        if !kinds.iter().any(DataType::is_null) {
            return Ok(Some(args));
        }
        let Ok(wanted) = (self.coerces)(&kinds) else {
            return Ok(None);
        };
        for ((arg, kind), wanted) in args.args.iter_mut().zip(&kinds).zip(&wanted) {
            match (kind.is_null(), wanted.is_null()) {
                (true, true) => return Ok(None),
                (true, false) => *arg = ColumnarValue::Scalar(ScalarValue::try_from(wanted)?),
                _ => {}
            }
        }
        Ok(Some(args))
    }
}

/// Runs a kernel over arguments with constants of one row.
fn with_one_row_each(args: &[ColumnarValue], kernel: Kernel) -> Result<ColumnarValue> {
    let is_constant = args
        .iter()
        .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let arrays = args.iter().map(|arg| match arg {
        ColumnarValue::Array(array) => Ok(Arc::clone(array)),
        ColumnarValue::Scalar(value) => value.to_array(),
    });
    let made = kernel(&arrays.collect::<Result<Vec<_>>>()?)?;
    Ok(match is_constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
        false => ColumnarValue::Array(made),
    })
}

/// The rows of arguments of which constants are one.
pub(crate) fn rows_of(args: &[ArrayRef]) -> usize {
    let mut lengths = args.iter().map(|arg| arg.len());
    lengths.find(|length| *length != 1).unwrap_or(1)
}

/// Runs a kernel over arguments; constants are one row, and give a constant when all are.
pub(crate) fn over_arrays(
    args: &[ColumnarValue],
    rows: usize,
    kernel: impl Fn(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let is_constant = args
        .iter()
        .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if is_constant { 1 } else { rows };
    let arrays = args
        .iter()
        .map(|arg| arg.clone().into_array(rows))
        .collect::<Result<Vec<_>>>()?;
    let made = kernel(&arrays)?;
    Ok(if is_constant {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)
    } else {
        ColumnarValue::Array(made)
    })
}

/// Errors: `Plan` with the accepted arguments.
pub(crate) fn wrong_arguments(name: &str, takes: &str, types: &[DataType]) -> DataFusionError {
    let given: Vec<String> = types.iter().map(crate::types::sql_name).collect();
    DataFusionError::Plan(format!(
        "{name}({}) does not exist; {name} takes {takes}",
        given.join(", ")
    ))
}

pub(crate) fn execution(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}

/// All functions of this module that users can call.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
        Arc::new(instant::Now::new().into()),
        Arc::new(digits::Truncation::new().into()),
        truncate::date_trunc().shared(),
        truncate::date_bin().shared(),
        zone::timezone().shared(),
        pattern::like_escape().shared(),
        pattern::similar_pattern().shared(),
        pattern::strftime_format().shared(),
        age::age().shared(),
        format::format_text().shared(),
        regexp::regexp_replace().shared(),
        regexp::regexp_count().shared(),
        characters::lpad().shared(),
        characters::rpad().shared(),
        characters::translate().shared(),
        characters::overlay().shared(),
        peers::null_if().shared(),
        peers::nvl2().shared(),
        nested::has_all(),
        nested::has_any(),
        nested::without(),
        text::string_to_array().shared(),
        text::replace().shared(),
        text::levenshtein().shared(),
        whole::factorial().shared(),
        whole::ceil().shared(),
        whole::floor().shared(),
    ];
    functions.extend(nested::quantified());
    functions.extend(parse::all());
    functions.extend(json::all());
    functions
}
