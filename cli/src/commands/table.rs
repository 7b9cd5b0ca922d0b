//! Tables: a header, aligned columns, no lines.

use comfy_table::{CellAlignment, ContentArrangement, Table};

/// A table under construction.
pub(super) struct Columns {
    table: Table,
}

impl Columns {
    /// A table with these headings; those that begin with `>` stand right-aligned, for numbers.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        // Never wrap: a line is a record, also for grep.
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.iter().map(|heading| heading.trim_start_matches('>')));
        for (i, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(i) {
                column.set_padding((0, 2));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table }
    }

    /// Adds a line.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.table.add_row(cells);
    }

    /// The table as text, without spaces at the ends of lines.
    pub(super) fn text(&self) -> String {
        self.table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut columns = Columns::new(&["PORT", ">RX"]);
        columns.row(vec!["lan".into(), "1".into()]);
        columns.row(vec!["internet".into(), "1,234".into()]);
        assert_eq!(columns.text(), "PORT         RX\nlan           1\ninternet  1,234");
    }
}
