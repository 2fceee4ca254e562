//! `ntile(n)` as in SQL: the first buckets have one row more where the rows do not divide. The engine spreads them.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

/// The function, in place of the engine's.
pub(crate) fn ntile() -> Arc<WindowUDF> {
    Arc::new(WindowUDF::from(Ntile {
        signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ntile {
    signature: Signature,
}

impl WindowUDFImpl for Ntile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "ntile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let count = args.input_exprs().first();
        let count = count.and_then(|expr| expr.as_any().downcast_ref::<Literal>());
        match count.map(Literal::value) {
            Some(ScalarValue::Int64(Some(buckets @ 1..))) => {
                Ok(Box::new(Buckets(buckets.unsigned_abs())))
            }
            _ => exec_err!("ntile() takes a whole number of at least 1"),
        }
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Int64, false)))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

/// How many buckets there are.
#[derive(Debug)]
struct Buckets(u64);

impl PartitionEvaluator for Buckets {
    fn evaluate_all(&mut self, _: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let rows = rows as u64;
        let size = rows / self.0;
        let larger = rows % self.0;
        // Rows in the buckets that have one more.
        let in_larger = larger * (size + 1);
        let bucket = |row: u64| match row < in_larger {
            true => row / (size + 1),
            false => larger + (row - in_larger) / size,
        };
        let buckets = (0..rows).map(|row| bucket(row).cast_signed() + 1);
        Ok(Arc::new(Int64Array::from_iter_values(buckets)))
    }
}
