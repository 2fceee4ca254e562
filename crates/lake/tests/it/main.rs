//! The lake from outside: commits, rebases, crashes, growth. Rows are read back from the files that a scan names.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod bitemporal;
mod children;
mod clean;
mod commit;
mod compact;
mod compact_races;
mod crash;
mod damaged;
mod external;
mod external_files;
mod faulty;
mod flips;
mod growth;
mod history;
mod merge;
mod merge_faults;
mod merge_oracle;
mod objects;
mod oracle;
mod raw;
mod refs;
mod row_deletes;
mod site;
mod upsert;
mod view_names;
mod widened;

/// The same suite with tables in a bucket.
#[test]
fn all_again_on_s3() {
    forebay_testkit::again_on_s3(&[]);
}
