//! Scalar functions of our own: those that the engine lacks, and those whose engine version is wrong on part of the range.
//!
//! A function is data: a name, a signature, a return type and a kernel over arrays. Nothing here knows plans or tables.

pub(crate) mod concat;
pub(crate) mod digits;
pub(crate) mod instant;
pub(crate) mod interval;
pub(crate) mod json;
pub(crate) mod map;
pub(crate) mod number;
pub(crate) mod number_text;
pub(crate) mod parse;
pub(crate) mod pattern;
pub(crate) mod sized;
pub(crate) mod text;
pub(crate) mod truncate;
pub(crate) mod whole;
pub(crate) mod zone;

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// What a function does: the rows of its arguments, each with as many rows, to one column.
pub(crate) type Kernel = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// What arguments of these types are brought to.
pub(crate) type ArgumentTypes = fn(&[DataType]) -> Result<Vec<DataType>>;

/// A scalar function; see the module.
pub(crate) struct ScalarDefinition {
    pub(crate) name: &'static str,
    pub(crate) aliases: Vec<String>,
    pub(crate) signature: Signature,
    pub(crate) returns: fn(&[DataType]) -> Result<DataType>,
    /// What arguments are brought to before the kernel sees them.
    pub(crate) coerces: ArgumentTypes,
    pub(crate) kernel: Kernel,
    /// A constant first argument is handed to the kernel as one row, however many rows the others have.
    pub(crate) keeps_first_constant: bool,
}

impl ScalarDefinition {
    /// A function that takes any number of arguments between the two and brings them to what `coerces` says.
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
            keeps_first_constant: false,
        }
    }

    pub(crate) fn with_constant_first(mut self) -> Self {
        self.keeps_first_constant = true;
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
        match args.args.split_first() {
            Some((ColumnarValue::Scalar(first), rest))
                if self.keeps_first_constant
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
            _ => over_arrays(&args.args, args.number_rows, self.kernel),
        }
    }
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

/// Errors: `Plan` with what the function takes.
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

/// Microseconds in UTC, the type of every instant.
pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00")))
}

/// Microseconds without a zone.
pub(crate) fn local() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
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
        text::replace().shared(),
        text::levenshtein().shared(),
        whole::ceil().shared(),
        whole::floor().shared(),
    ];
    functions.extend(parse::all());
    functions.extend(json::all());
    functions
}
