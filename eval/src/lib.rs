//! Perplexity, end tasks, paired comparison and tables.
