//! Random expressions over dates and times.

use super::generate::{Generator, Kind, Pair, fill, same};

impl Generator {
    pub(super) fn date(&mut self, depth: usize) -> Pair {
        match self.below(5) {
            0 => fill("cast({0} as date)", &[self.of(Kind::Stamp, depth)]),
            1 | 2 => {
                let interval = self.one(&["1 day", "-1 month", "13 months", "2 years", "40 days"]);
                fill(
                    &format!("cast({{0}} + interval '{interval}' as date)"),
                    &[self.of(Kind::Date, depth)],
                )
            }
            3 => {
                let unit = self.unit();
                fill(
                    &format!("cast(date_trunc('{unit}', {{0}}) as date)"),
                    &[self.of(Kind::Date, depth)],
                )
            }
            _ => fill(
                "cast(cast({0} as varchar) as date)",
                &[self.of(Kind::Date, depth)],
            ),
        }
    }

    pub(super) fn unit(&mut self) -> &'static str {
        self.one(&["day", "week", "month", "quarter", "year", "decade"])
    }

    pub(super) fn stamp(&mut self, depth: usize, kind: Kind) -> Pair {
        match self.below(5) {
            0 | 1 => {
                let unit = if self.below(3) == 0 {
                    self.one(&["hour", "minute", "second", "millisecond"])
                } else {
                    self.unit()
                };
                let template = format!("date_trunc('{unit}', {{0}})");
                fill(&template, &[self.of(kind, depth)])
            }
            2 => {
                let interval = self.one(&[
                    "1 day",
                    "-1 month",
                    "13 months",
                    "36 hours",
                    "90 minutes",
                    "1 second",
                ]);
                fill(
                    &format!("({{0}} + interval '{interval}')"),
                    &[self.of(kind, depth)],
                )
            }
            3 => {
                let zone = self.one(&["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]);
                let other = match kind {
                    Kind::Stamp => Kind::Instant,
                    _ => Kind::Stamp,
                };
                // Before zones had whole minutes the engines' tables differ.
                let zone = if self.below(2) == 0 { "UTC" } else { zone };
                let moment = if zone == "UTC" {
                    self.of(other, depth)
                } else if other == Kind::Instant {
                    same("timestamptz '2024-10-27 00:30:00+00'")
                } else {
                    same("timestamp '2024-07-01 12:00:00'")
                };
                fill(&format!("({{0}} at time zone '{zone}')"), &[moment])
            }
            _ if kind == Kind::Stamp => {
                fill("cast({0} as timestamp)", &[self.of(Kind::Date, depth)])
            }
            _ => self.leaf(kind),
        }
    }
}
