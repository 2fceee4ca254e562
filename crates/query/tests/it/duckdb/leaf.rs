//! Columns and literals of every type.

use super::generate::{Generator, Kind, Pair, same};

impl Generator {
    pub(super) fn leaf(&mut self, kind: Kind) -> Pair {
        let column = match kind {
            Kind::Int => self.one(&["b", "b", "id", "k", "i"]),
            Kind::Dec => "d",
            Kind::Float => self.one(&["f", "f", "f", "q"]),
            Kind::Text => self.one(&["s", "r"]),
            Kind::Bool => "o",
            Kind::Date => "dt",
            Kind::Stamp => "ts",
            Kind::Instant => "tz",
        };
        if self.below(5) < 3 {
            return same(column);
        }
        if self.below(12) == 0 {
            let name = match kind {
                Kind::Int => "bigint",
                Kind::Dec => "decimal(10,2)",
                Kind::Float => "double",
                Kind::Text => "varchar",
                Kind::Bool => "boolean",
                Kind::Date => "date",
                Kind::Stamp => "timestamp",
                Kind::Instant => "timestamptz",
            };
            return same(format!("cast(null as {name})"));
        }
        match kind {
            Kind::Int => {
                let value = self.one(&[
                    "0",
                    "1",
                    "-1",
                    "2",
                    "7",
                    "100",
                    "1000000007",
                    "-9223372036854775807",
                    "9223372036854775807",
                ]);
                same(format!("cast({value} as bigint)"))
            }
            Kind::Dec => same(*self.one(&[
                &"0.0",
                &"1.5",
                &"-2.25",
                &"8.13",
                &"0.05",
                &"100.00",
                &"-0.01",
                &"12345678901234.5",
            ])),
            Kind::Float => {
                let value = self.one(&[
                    "0.0", "1.0", "-1.5", "0.1", "1e10", "8.13", "-1e-300", "nan", "inf", "-inf",
                ]);
                same(format!("cast('{value}' as double)"))
            }
            Kind::Text => {
                let value =
                    self.one(&["", "a", "user", "_", "%", "\\", "naïve", "日", "it''s", "B"]);
                same(format!("'{value}'"))
            }
            Kind::Bool => same(self.one(&["true", "false"])),
            Kind::Date => {
                let value = self.one(&[
                    "0001-01-01",
                    "1600-02-29",
                    "1969-12-31",
                    "2000-02-29",
                    "2024-03-31",
                    "9999-12-31",
                ]);
                same(format!("date '{value}'"))
            }
            Kind::Stamp => {
                let value = self.one(&[
                    "0001-01-01 00:00:00",
                    "1677-01-01 01:02:03.5",
                    "1969-12-31 23:59:59.999999",
                    "2024-03-31 02:30:00",
                    "9999-12-31 23:59:59",
                ]);
                same(format!("timestamp '{value}'"))
            }
            Kind::Instant => {
                let value = self.one(&[
                    "0001-01-02 00:00:00+00",
                    "1600-01-01 01:02:03+00",
                    "2024-10-27 00:30:00+00",
                    "9999-12-30 23:59:59+00",
                ]);
                same(format!("timestamptz '{value}'"))
            }
        }
    }
}
