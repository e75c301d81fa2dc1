//! The command line of ovftransfer.

fn main() {}
