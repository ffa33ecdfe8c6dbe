//! Text and task data: loaders, tables and the desk's small world, which is made on demand.
//!
//! ```text
//!   --data DIR/arc_easy.jsonl  --+
//!                                +-- locate --> jsonl --> Dataset { rows: JSON objects, origin }
//!   world (the desk's data)    --+
//!
//!   Table { named columns } --> table --> bytes of a Parquet file --> table --> Table
//! ```

pub mod error;
pub mod jsonl;
pub mod locate;
pub mod nearest;
pub mod table;
pub mod world;
pub mod yaml;

pub use error::Error;
pub use locate::{DataSource, Dataset};
pub use table::{Column, Table};
