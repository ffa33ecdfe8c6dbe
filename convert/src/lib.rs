//! Full-precision checkpoints to packed ternary formats.
