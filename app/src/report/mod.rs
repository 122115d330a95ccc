//! What the window, the command line and files that are written have in common: numbers as people read them, tables, pictures and
//! pages. Nothing here knows what they are about.

pub mod colour;
pub mod csv;
mod figure;
pub mod page;
pub mod svg;
mod table;

pub use figure::Figure;
pub use table::{Cell, Column, Table};
