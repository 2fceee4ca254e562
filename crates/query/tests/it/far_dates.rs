//! Dates and times far away: nothing goes through nanoseconds, which end at the year 2262. The expected rows are those of Postgres, in
//! the notation of this dialect.

use crate::fixture::{Fixture, check};

#[tokio::test]
async fn differences_of_far_timestamps_are_intervals() {
    check(&[
        ("select b - a > interval '1 day', b - a = interval '2921939 days', b - a between interval '1 day' and interval '2 days', b - a in (interval '1 day') from (values (timestamp '9999-12-31', timestamp '2000-01-01')) t(b, a)",
            &["true | true | false | false"]),
        ("select (b - a)::text, coalesce(b - a, interval '1 day'), (b - a) + interval '1 day', (b - a) * 2 from (values (timestamp '9999-12-31', timestamp '2000-01-01')) t(b, a)",
            &["2921939 days | 2921939 days | 2921940 days | 5843878 days"]),
        ("select b - a, count(*) from (values (timestamp '9999-12-31', timestamp '2000-01-01'), (timestamp '2000-01-02', timestamp '2000-01-01')) t(b, a) group by b - a having b - a > interval '1 hour' order by b - a desc",
            &["2921939 days | 1", "1 days | 1"]),
        ("select max(b - a) > interval '1 year', min(b - a) < interval '1 year' from (values (timestamp '9999-12-31', timestamp '2000-01-01')) t(b, a)", &["true | false"]),
        ("select b - a from (values (timestamp '9999-12-31', timestamp '2000-01-01')) t(b, a) union all select interval '1 day'", &["2921939 days", "1 days"]),
        ("select [b - a] = [interval '2921939 days'] from (values (timestamp '9999-12-31', timestamp '2000-01-01')) t(b, a)", &["true"]),
    ]).await;
}

#[tokio::test]
async fn far_dates_in_functions_and_sums() {
    check(&[
        ("select to_char(timestamptz '2263-01-01T00:00:00Z', 'YYYY'), to_char(t, '%Y %z') from (values (timestamptz '9999-01-01T00:00:00Z')) v(t)", &["2263 | 9999 +0000"]),
        ("select date '2000-01-01' + 106752, d + n, d - n, n + d from (values (date '2000-01-01', 106752)) t(d, n)", &["2292-04-11 | 2292-04-11 | 1707-09-22 | 2292-04-11"]),
        ("select to_unixtime('2300-01-01'), to_unixtime('2300-01-01', '%Y-%m-%d'), to_unixtime('1970-01-02')", &["10413792000 | 10413792000 | 86400"]),
        ("select unnest(generate_series(timestamp '2300-01-01', timestamp '2300-01-02', interval '12 hours'))", &["2300-01-01T00:00:00", "2300-01-01T12:00:00", "2300-01-02T00:00:00"]),
        ("select unnest(range(timestamp '9999-03-01', timestamp '9998-12-31', interval '-1 month'))", &["9999-03-01T00:00:00", "9999-02-01T00:00:00", "9999-01-01T00:00:00"]),
        ("select generate_series(timestamptz '2300-01-01T00:00:00Z', timestamptz '2300-01-01T00:00:00Z', interval '1 day'), generate_series(timestamp '2300-01-02', timestamp '2300-01-01', interval '1 day'), generate_series(null::timestamp, timestamp '2300-01-01', interval '1 day')",
            &["[2300-01-01T00:00:00Z] | [] |"]),
    ]).await;
    let fixture = Fixture::new().await;
    for step in ["0 days", "0.0000001 seconds"] {
        let series = format!(
            "select generate_series(timestamp '2000-01-01', timestamp '2000-01-02', interval '{step}')"
        );
        fixture.failure(&series).await;
    }
}

#[tokio::test]
async fn intervals_of_many_hours_have_days() {
    check(&[
        ("select interval '5000000 hours', '5000000 hours'::interval, interval '5000000' hour, interval '-9500000000 seconds'", &["208333 days 8 hours | 208333 days 8 hours | 208333 days 8 hours | -109953 days -16 hours -53 mins -20.000000000 secs"]),
        ("select timestamp '2000-01-01' + interval '5000000 hours', date '2000-01-01' + interval '5000000 hours'", &["2570-05-25T08:00:00 | 2570-05-25T08:00:00"]),
        ("select 5000000 * interval '1 hour', interval '1 hour' / 0.0000002e0, interval '1 day 6 hours' * 4", &["208333 days 8 hours | 208333 days 8 hours | 4 days 24 hours"]),
        ("select interval '5000000 hours' = 5000000 * interval '1 hour', interval '2500000 hours' * 2 > interval '4999999 hours'", &["true | true"]),
    ]).await;
}
