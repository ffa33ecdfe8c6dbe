//! Text and task data: loaders and the embedded desk data.
