//! SQL over a real lake: store in SQLite, files on disk, nothing faked but the clock.

mod fixture;
mod nested;
mod oracle;
mod raw;
mod refused;
mod system;
mod travel;
