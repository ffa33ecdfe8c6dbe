//! Text and task data: the catalogue of what there is, loaders, tables and the desk's small world, which is made on
//! demand.
//!
//! ```text
//!   catalogue.yaml                       --+
//!   --data DIR/arc_easy-test.parquet ...   |
//!   --data hub: the Hub's local cache      +-- locate --> read --> layout --> Dataset { rows: JSON objects, origin }
//!   world (the desk's data)              --+
//!
//!   Table { named columns } --> table --> bytes of a Parquet file --> table --> Table
//! ```

pub mod catalogue;
mod contain;
pub mod error;
pub mod hub;
pub mod jsonl;
pub mod layout;
mod limits;
pub mod locate;
pub mod nearest;
pub mod parquet;
pub mod read;
pub mod schema;
pub mod table;
pub mod verify;
pub mod world;
pub mod yaml;

pub use catalogue::Catalogue;
pub use error::Error;
pub use locate::{DataSource, Dataset};
pub use table::{Column, Table};
