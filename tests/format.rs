//! tmp
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "format/golden.rs"]
mod golden;

#[test]
fn make() {
    for golden in golden::all() {
        std::fs::write(golden::directory().join(golden.name), &golden.bytes).unwrap();
    }
}
