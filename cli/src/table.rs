//! Plain aligned columns. Text from hosts is made harmless first: a host's output must not drive the terminal.

use dialoguer::console::{Alignment, Style, measure_text_width, pad_str};

/// One cell; what it is decides how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Bad,
    Waiting,
    Faint,
}

/// Long cells are cut, so that a row stays a row; `--output json` has everything.
const CELL_WIDTH_MAX: usize = 60;
const GAP: &str = "  ";

impl Cell {
    pub fn plain(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self {
            text: cut(&printable(text.as_ref())),
            tone,
        }
    }

    /// A status word, in the colour of what it means.
    pub fn status(word: &str) -> Self {
        let tone = match word {
            "succeeded" | "online" | "approved" => Tone::Good,
            "failed" | "rejected" => Tone::Bad,
            "partial" | "queued" | "running" | "pending" => Tone::Waiting,
            "skipped" | "cancelled" | "offline" => Tone::Faint,
            _ => Tone::Plain,
        };
        Self::toned(word, tone)
    }

    fn styled(&self, text: &str) -> String {
        let style = Style::new();
        let style = match self.tone {
            Tone::Plain => style,
            Tone::Good => style.green(),
            Tone::Bad => style.red(),
            Tone::Waiting => style.yellow(),
            Tone::Faint => style.dim(),
        };
        style.apply_to(text).to_string()
    }
}

/// The whole table as text, one line a row, no trailing blanks.
pub fn render(titles: &[&str], rows: &[Vec<Cell>]) -> String {
    let width_of = |column: usize, title: &str| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| measure_text_width(&cell.text));
        cells.chain([title.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = titles
        .iter()
        .enumerate()
        .map(|(column, title)| width_of(column, title))
        .collect();
    let heads: Vec<Cell> = titles
        .iter()
        .map(|title| Cell::toned(title, Tone::Faint))
        .collect();
    std::iter::once(&heads)
        .chain(rows)
        .map(|row| line(row, &widths))
        .collect()
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let last = row
        .iter()
        .rposition(|cell| !cell.text.is_empty())
        .unwrap_or_default();
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .enumerate()
        .take(last + 1)
        .map(|(column, (cell, width))| {
            let width = if column == last { 0 } else { *width };
            cell.styled(&pad_str(&cell.text, width, Alignment::Left, None))
        })
        .collect();
    cells.join(GAP) + "\n"
}

/// Control characters become visible escapes; they could otherwise move the cursor or change colours.
pub fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut shown, character| {
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
            shown
        })
}

fn cut(text: &str) -> String {
    dialoguer::console::truncate_str(text, CELL_WIDTH_MAX, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let rows = [
            vec![Cell::plain("web-1"), Cell::plain("ok")],
            vec![Cell::plain("a-longer-name"), Cell::plain("")],
        ];
        let text = render(&["HOST", "STATUS"], &rows);
        let text = dialoguer::console::strip_ansi_codes(&text);
        assert_eq!(
            text,
            "HOST           STATUS\nweb-1          ok\na-longer-name\n"
        );
    }

    #[test]
    fn output_of_a_host_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
    }

    #[test]
    fn a_long_cell_is_cut() {
        assert!(measure_text_width(&Cell::plain("x".repeat(500)).text) <= CELL_WIDTH_MAX);
    }
}
