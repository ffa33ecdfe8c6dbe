//! Executes the Transformer: scoring and generation, the same bits everywhere.
