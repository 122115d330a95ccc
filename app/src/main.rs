//! Mergescope: a workbench for reasoning vectors.

fn main() {
    eprintln!("mergescope {}: the engine is in place, its window and commands follow", env!("CARGO_PKG_VERSION"));
}
