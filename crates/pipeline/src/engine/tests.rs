//! Whole runs and replays in one process: the content of a table after a fix does not depend on when the fix was made.

mod compressed;
mod documents;
mod replaced;
mod replays;
mod schedules;
mod small_payloads;
mod widened;
mod widened_files;
mod world;
