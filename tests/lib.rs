//! Tests of the whole product; see `it/main.rs`.
