//! Benchmarks of ovftransfer.
