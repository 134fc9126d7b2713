//! HTML tables: what stands behind every chart.

use super::words::escaped;

/// Rows of cells, the first column being names.
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Table {
        Table { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table, in a box that scrolls sideways by itself when it is wider than the screen.
    pub(super) fn html(&self, caption: &str) -> String {
        let mut out = String::from("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"");
        out.push_str(&escaped(caption));
        out.push_str("\"><table><thead><tr>");
        for cell in &self.head {
            out.push_str(&format!("<th scope=\"col\">{}</th>", escaped(cell)));
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let cell = escaped(cell);
                match column {
                    0 => out.push_str(&format!("<th scope=\"row\">{cell}</th>")),
                    _ => out.push_str(&format!("<td>{cell}</td>")),
                }
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>\n");
        out
    }

    /// The same, folded away.
    pub(super) fn folded(&self, caption: &str) -> String {
        format!("<details><summary>Table: {}</summary>\n{}</details>\n", escaped(caption), self.html(caption))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_and_the_first_of_a_row_is_its_head() {
        let mut table = Table::new(["model", "10"]);
        table.row(["a<b", "1&2"]);
        let html = table.folded("rates");
        assert!(html.contains("<th scope=\"row\">a&lt;b</th><td>1&amp;2</td>"), "{html}");
        assert!(html.starts_with("<details><summary>Table: rates</summary>"), "{html}");
    }
}
