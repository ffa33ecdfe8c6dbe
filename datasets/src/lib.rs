//! Text and task data: loaders, tables and the embedded desk data.
//!
//! ```text
//!   --data DIR/arc_easy.jsonl  --+
//!                                +-- locate --> jsonl --> Dataset { rows: JSON objects, origin }
//!   embedded desk data         --+
//!
//!   Table { named columns } --> table --> bytes of a Parquet file --> table --> Table
//! ```

pub mod desk;
pub mod error;
pub mod jsonl;
pub mod locate;
pub mod table;
pub mod world;

pub use error::Error;
pub use locate::{DataSource, Dataset};
pub use table::{Column, Table};
