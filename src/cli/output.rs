//! What goes to stdout.

use std::io::{self, Write};

use serde::Serialize;

use super::{CliError, Result};

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output;

impl Output {
    /// Writes bytes as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            // As with "lodgectl list | head": enough has been read.
            io::ErrorKind::BrokenPipe => CliError::Unread,
            _ => CliError::io("the output", "Look at where it goes")(error),
        })
    }

    /// Writes a line.
    pub fn line(&self, text: impl AsRef<str>) -> Result {
        self.bytes(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// Writes a value for programs.
    pub fn json(&self, value: &impl Serialize) -> Result {
        let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Other(error.to_string()))?;
        self.line(text)
    }

    /// Writes a value for programs, on one line: one of many.
    pub fn json_line(&self, value: &impl Serialize) -> Result {
        let text = serde_json::to_string(value).map_err(|error| CliError::Other(error.to_string()))?;
        self.line(text)
    }

    /// Writes rows whose columns stand below each other.
    pub fn table<const N: usize>(&self, head: [&str; N], rows: &[[String; N]]) -> Result {
        self.bytes(table(head, rows).as_bytes())
    }

    /// Writes names and values, a line each.
    pub fn pairs(&self, pairs: &[(&str, String)]) -> Result {
        let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let lines = pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n"));
        self.bytes(lines.collect::<String>().as_bytes())
    }
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in all() {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["web".to_owned(), "running".to_owned()], ["Büro".to_owned(), "off".to_owned()]];

        assert_eq!(table(["NAME", "STATE"], &rows), "NAME  STATE\nweb   running\nBüro  off\n");
    }
}
