//! Benchmarks only; see `benches/`. A crate of its own, so that what they compare with is not built for the tests.
