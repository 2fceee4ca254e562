//! Random casts to types that do not hold every value. DuckDB leaves such a cast out of a comparison, so that it neither fails nor is
//! null: within a list, of which the item is taken, it does not.

use super::generate::{Generator, Kind, Pair, fill_both};

impl Generator {
    /// To whole numbers: what does not fit is null, or fails.
    pub(super) fn narrowed(&mut self, depth: usize) -> Pair {
        let kind = self.one(&["bigint", "integer", "smallint", "tinyint"]);
        let from = [Kind::Int, Kind::Dec, Kind::Float][self.below(3)];
        let cast = match self.below(5) {
            0 => "cast",
            _ => "try_cast",
        };
        let value = self.of(from, depth);
        kept(&format!("{cast}({{0}} as {kind})"), value)
    }

    /// To decimals with fewer digits, before the point or behind it.
    pub(super) fn rescaled(&mut self, depth: usize) -> Pair {
        let kind = self.one(&[
            "decimal(3,0)",
            "decimal(4,1)",
            "decimal(6,2)",
            "decimal(18,3)",
        ]);
        let from = [Kind::Dec, Kind::Dec, Kind::Int][self.below(3)];
        let value = self.of(from, depth);
        kept(&format!("try_cast({{0}} as {kind})"), value)
    }
}

fn kept(cast: &str, value: Pair) -> Pair {
    fill_both(cast, &format!("[{cast}][1]"), &[value])
}
