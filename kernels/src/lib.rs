//! Addition-only ternary matrix products, dense products and float operations with the same bits on every instruction set.
