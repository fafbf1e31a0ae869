//! Redis as a hint: wake-ups and invalidations between processes, which nothing depends on.
