//! A function of the engine whose arguments are cast by a rule of ours, and by its own where ours has none.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// The types that arguments of these types are cast to, for a function of this name; `None` where the engine's are right.
pub(crate) type OwnTypes = fn(&str, &[DataType]) -> Result<Option<Vec<DataType>>>;

/// The function with this rule.
pub(crate) fn retyped(inner: Arc<ScalarUDF>, own_types: OwnTypes) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Retyped {
        signature: Signature::user_defined(Volatility::Immutable),
        inner,
        own_types,
    }))
}

/// See the module.
#[derive(Debug)]
struct Retyped {
    signature: Signature,
    inner: Arc<ScalarUDF>,
    own_types: OwnTypes,
}

// One function has one rule.
impl PartialEq for Retyped {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Retyped {}

impl Hash for Retyped {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Retyped {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let Some(own) = (self.own_types)(self.name(), types)? {
            return Ok(own);
        }
        if self.inner.signature().type_signature == TypeSignature::UserDefined {
            return self.inner.coerce_types(types);
        }
        let fields = types
            .iter()
            .map(|kind| Field::new("argument", kind.clone(), true));
        let fields: Vec<FieldRef> = fields.map(Arc::new).collect();
        let cast = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(cast.iter().map(|field| field.data_type().clone()).collect())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
