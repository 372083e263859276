//! Rows and columns, for people and for programs.

use serde_json::{Map, Value};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Left-aligned.
    Text(String),
    /// Right-aligned.
    Number(u64),
}

/// Rows under named columns.
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Cell {
    /// As it is shown. Control characters (a body, a property) must not reach the terminal.
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => {
                text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
            }
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [&'static str; N]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Panics when it has another number of cells than there are columns.
    pub(crate) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        assert_eq!(N, self.columns.len(), "cells of a row");
        self.rows.push(row.to_vec());
    }

    /// Aligned columns under upper-case names, a line for each row.
    pub(crate) fn to_text(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|name| name.to_uppercase()).collect();
        let shown: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
        let width = |column: usize| {
            let cells = shown.iter().map(|row| &row[column]).chain([&names[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        let is_number = |column: usize| self.rows.first().is_some_and(|row| matches!(row[column], Cell::Number(_)));
        let mut text = String::new();
        for row in [&names].into_iter().chain(&shown) {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if is_number(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// An array with an object for each row.
    pub(crate) fn to_json(&self) -> String {
        let object = |row: &Vec<Cell>| {
            let value = |cell: &Cell| match cell {
                Cell::Text(text) => Value::from(text.as_str()),
                Cell::Number(number) => Value::from(*number),
            };
            let names = self.columns.iter().map(|name| name.replace(' ', "_"));
            Value::Object(names.zip(row.iter().map(value)).collect::<Map<_, _>>())
        };
        format!("{:#}\n", Value::Array(self.rows.iter().map(object).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["topic", "last queue"]);
        table.push(["orders".into(), Cell::Number(7)]);
        table.push(["o\x1b[2J".into(), Cell::Number(1_000)]);
        table
    }

    #[test]
    fn columns_are_aligned_and_control_characters_kept_from_the_terminal() {
        let text = table().to_text();
        assert_eq!(text, "TOPIC   LAST QUEUE\norders           7\no\u{fffd}[2J         1000\n");
    }

    #[test]
    fn json_has_an_object_for_each_row() {
        let value: Value = serde_json::from_str(&table().to_json()).expect("valid JSON");
        assert_eq!(value[0]["topic"], "orders");
        assert_eq!(value[1]["last_queue"], 1_000);
        assert_eq!(Table::new(["a"]).to_json(), "[]\n");
    }
}
