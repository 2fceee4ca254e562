//! The records of the demo's publisher: generated, and the same in every run.

use std::time::Duration;

use forebay_core::Timestamp;
use serde_json::{Value, json};

/// Bonds, each with a rate for the month.
pub(crate) const BONDS: u64 = 2_000;
/// Corporate actions.
pub(crate) const ACTIONS: u64 = 500;
/// The bond whose rate was wrong.
const WRONG_BOND: u64 = 7;
/// Bonds of the bad load.
const BAD_BONDS: u64 = 400;

const ISSUERS: [&str; 5] = [
    "Alder Energy",
    "Birch Rail",
    "Cedar Water",
    "Elm Port",
    "Fir Telecom",
];
const KINDS: [&str; 3] = ["dividend", "split", "merger"];
const LEGS_MAX: u64 = 4;

/// The month that the report is about, and the day after the burst.
#[derive(Debug, Clone)]
pub(crate) struct Month {
    /// The day from which the rates are valid.
    pub(crate) begin: String,
    /// A day within it.
    pub(crate) middle: String,
}

impl Month {
    /// The days before the burst.
    pub(crate) fn before(burst: Timestamp) -> Self {
        let day = |days: u64| {
            let time = burst.minus(Duration::from_secs(days * 86_400)).to_string();
            time.chars().take(10).collect()
        };
        Self {
            begin: day(30),
            middle: day(10),
        }
    }
}

/// An issuer has every fifth bond and action.
fn issuer(number: u64) -> &'static str {
    ISSUERS[usize::try_from(number % ISSUERS.len() as u64).unwrap_or(0)]
}

/// Hundredths of a per cent, spread over the bonds.
fn basis_points(bond: u64) -> u64 {
    125 + bond * 37 % 400
}

fn rate(bond: u64, basis_points: u64, effective: &str) -> Value {
    json!({
        "bond": format!("XS{bond:010}"),
        "issuer": issuer(bond),
        "nominal": 1_000_000 * (1 + bond % 9),
        "rate": format!("{}.{:02}", basis_points / 100, basis_points % 100),
        "effective": effective,
    })
}

/// The rates of all bonds.
pub(crate) fn rates(month: &Month) -> Vec<Value> {
    let bonds = 0..BONDS;
    bonds
        .map(|bond| rate(bond, basis_points(bond), &month.begin))
        .collect()
}

/// The rate that one of them had all along.
pub(crate) fn correction(month: &Month) -> Value {
    rate(WRONG_BOND, basis_points(WRONG_BOND) + 50, &month.begin)
}

/// Rates in the wrong unit: a hundred times too high.
pub(crate) fn bad_rates(today: &str) -> Vec<Value> {
    let bonds = 0..BAD_BONDS;
    bonds
        .map(|bond| rate(bond, basis_points(bond) * 100, today))
        .collect()
}

/// Corporate actions, with one to four legs each.
pub(crate) fn actions(month: &Month) -> Vec<Value> {
    let action = |number: u64| {
        let legs = (1..=1 + number % LEGS_MAX).map(|leg| {
            json!({
                "number": leg,
                "security": format!("SEC{:06}", number * LEGS_MAX + leg),
                "amount": format!("{}.{:02}", number % 7, number * 13 % 100),
                "currency": "EUR",
            })
        });
        json!({
            "action": format!("CA{number:06}"),
            "issuer": issuer(number),
            "kind": KINDS[usize::try_from(number % KINDS.len() as u64).unwrap_or(0)],
            "effective": month.begin,
            "legs": legs.collect::<Vec<_>>(),
        })
    };
    (0..ACTIONS).map(action).collect()
}
