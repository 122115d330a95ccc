//! Tables: for people in the window and on pages, for machines as CSV.

use super::{Figure, csv};
use crate::format;

/// A column's heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in CSV.
    pub key: String,
    /// Its name for people.
    pub label: String,
}

impl Column {
    /// A column of that name.
    pub fn new(key: impl Into<String>, label: impl Into<String>) -> Self {
        Self { key: key.into(), label: label.into() }
    }
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number.
    Figure(Figure),
    /// The shape of a tensor.
    Shape(Vec<u64>),
    /// Nothing.
    Empty,
}

impl Cell {
    /// As people read it.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Figure(figure) => figure.text(),
            Self::Shape(dims) => dims.iter().map(|&dim| format::count(dim)).collect::<Vec<_>>().join(" × "),
            Self::Empty => String::new(),
        }
    }

    /// As it stands in CSV.
    pub fn csv(&self) -> String {
        match self {
            Self::Text(text) => csv::text(text),
            Self::Figure(Figure::Count(count)) => count.to_string(),
            Self::Figure(figure) => csv::number(figure.value()),
            Self::Shape(dims) => csv::shape(dims),
            Self::Empty => String::new(),
        }
    }

    /// Whether it stands on the right.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Figure(_))
    }
}

/// Rows of cells, one for each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name as a file, without an extension: `layers`.
    pub name: String,
    /// The headings.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The table as CSV, with a line of keys first.
    pub fn to_csv(&self) -> String {
        let mut text = csv::row(self.columns.iter().map(|column| csv::text(&column.key)));
        for row in &self.rows {
            text += &csv::row(row.iter().map(Cell::csv));
        }
        text
    }
}
