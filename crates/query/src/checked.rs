//! Integer `+`, `-` (of two, and of one) and `*` that fail when the result does not fit, instead of wrapping round silently.
//!
//! The engine's own operators wrap. This rule replaces them, after types are settled, by functions over Arrow's checked
//! kernels; floats, decimals (checked already), dates and intervals stay with the engine.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr_common::datum;

/// The analyzer rule; see the module.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic {
    add: Arc<ScalarUDF>,
    subtract: Arc<ScalarUDF>,
    multiply: Arc<ScalarUDF>,
    negate: Arc<ScalarUDF>,
}

impl CheckedArithmetic {
    pub(crate) fn new() -> Self {
        let function = |operation| Arc::new(ScalarUDF::new_from_impl(Checked::new(operation)));
        Self {
            add: function(Operation::Add),
            subtract: function(Operation::Subtract),
            multiply: function(Operation::Multiply),
            negate: function(Operation::Negate),
        }
    }

    fn function(&self, operator: Operator) -> Option<Arc<ScalarUDF>> {
        match operator {
            Operator::Plus => Some(self.add.clone()),
            Operator::Minus => Some(self.subtract.clone()),
            Operator::Multiply => Some(self.multiply.clone()),
            _ => None,
        }
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| {
            Ok(match self.checked(&expr, schema) {
                Some(checked) => Transformed::yes(checked),
                None => Transformed::no(expr),
            })
        })
    }

    fn checked(&self, expr: &Expr, schema: &DFSchema) -> Option<Expr> {
        // A type that cannot be told here (an outer column) leaves the engine's operator in place.
        let integer = |expr: &Expr| expr.get_type(schema).ok().filter(DataType::is_integer);
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let function = self.function(*op)?;
                let same = integer(left)? == integer(right)?;
                same.then(|| function.call(vec![*left.clone(), *right.clone()]))
            }
            Expr::Negative(inner) => integer(inner)?
                .is_signed_integer()
                .then(|| self.negate.call(vec![*inner.clone()])),
            _ => None,
        }
    }

    fn rewrite_plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(scan.projected_schema.as_ref());
        }
        let schema: DFSchemaRef = Arc::new(schema);
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(self
                .rewrite(expr, &schema)?
                .update_data(|expr| name.restore(expr)))
        })
    }
}

/// The same for one expression outside a plan: settles its types, then checks its arithmetic.
pub(crate) fn over(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let context = SimplifyContext::default().with_schema(Arc::new(schema.clone()));
    let expr = ExprSimplifier::new(context).coerce(expr, schema)?;
    Ok(CheckedArithmetic::new().rewrite(expr, schema)?.data)
}

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|plan| self.rewrite_plan(plan))?
            .data)
    }

    fn name(&self) -> &str {
        "checked_arithmetic"
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
}

impl Operation {
    fn operands(self) -> usize {
        match self {
            Self::Add | Self::Subtract | Self::Multiply => 2,
            Self::Negate => 1,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            signature: Signature::any(operation.operands(), Volatility::Immutable),
        }
    }

    fn symbol(&self) -> &'static str {
        match self.operation {
            Operation::Add => "+",
            Operation::Subtract | Operation::Negate => "-",
            Operation::Multiply => "*",
        }
    }
}

impl ScalarUDFImpl for Checked {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Negate => "checked_negate",
        }
    }

    // As the engine writes its own operators, so that columns keep their names.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(match args {
            [left, right] => format!("{left} {} {right}", self.symbol()),
            [only, ..] => format!("({} {only})", self.symbol()),
            [] => self.name().to_owned(),
        })
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let name = |arg: &Expr| arg.schema_name().to_string();
        Ok(match args {
            [left, right] => format!("{} {} {}", name(left), self.symbol(), name(right)),
            [only, ..] => format!("({} {})", self.symbol(), name(only)),
            [] => self.name().to_owned(),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kernel: fn(&dyn Datum, &dyn Datum) -> std::result::Result<ArrayRef, ArrowError> =
            match self.operation {
                Operation::Add => numeric::add,
                Operation::Subtract => numeric::sub,
                Operation::Multiply => numeric::mul,
                Operation::Negate => return negate(&args.args[0]),
            };
        datum::apply(&args.args[0], &args.args[1], kernel)
    }
}

fn negate(value: &ColumnarValue) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(numeric::neg(array)?),
        ColumnarValue::Scalar(scalar) => {
            let negated = numeric::neg(&scalar.to_array()?)?;
            ColumnarValue::Scalar(ScalarValue::try_from_array(&negated, 0)?)
        }
    })
}
