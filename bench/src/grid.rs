//! Contenders by figures: a Markdown table of medians with their spread, and the same as ratios to one
//! contender, taken round by round. It knows no units but those in its headings.
//! Always true: a ratio compares two samples of one round, so what disturbed a round disturbed both.

use std::fmt;

/// Samples by contender and figure.
#[derive(Debug, Default)]
pub struct Grid {
    columns: Vec<String>,
    rows: Vec<Row>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Row {
    name: String,
    /// Samples by column, in the order of the rounds.
    cells: Vec<Vec<f64>>,
}

impl Grid {
    /// Adds one sample of `column` for `row`; both appear in the order they are first named.
    pub fn add(&mut self, row: &str, column: &str, sample: f64) {
        let column = index_of(&mut self.columns, column);
        let row = self.row(row);
        if row.cells.len() <= column {
            row.cells.resize(column + 1, Vec::new());
        }
        row.cells[column].push(sample);
    }

    /// Adds a line below the tables.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The figures of every row as multiples of `base`'s in the same round.
    pub fn ratios(&self, base: &str) -> Ratios<'_> {
        Ratios { grid: self, base: self.rows.iter().position(|row| row.name == base) }
    }

    fn row(&mut self, name: &str) -> &mut Row {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), cells: Vec::new() });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    fn head(&self, f: &mut fmt::Formatter<'_>, corner: &str) -> fmt::Result {
        writeln!(f, "| {corner} | {} |", self.columns.join(" | "))?;
        writeln!(f, "|---|{}", "--:|".repeat(self.columns.len()))
    }
}

impl Row {
    fn samples(&self, column: usize) -> &[f64] {
        self.cells.get(column).map_or(&[], Vec::as_slice)
    }
}

fn index_of(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// Median (lowest..highest), with as many digits as the size of the figure deserves.
fn cell(samples: &[f64]) -> String {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.first(), sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(&low), Some(&middle), Some(&high)) if sorted.len() > 1 => {
            format!("{} ({}..{})", digits(middle), digits(low), digits(high))
        }
        (Some(&only), ..) => digits(only),
        _ => "–".to_owned(),
    }
}

fn digits(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f, "median (min..max)")?;
        for row in &self.rows {
            let cells: Vec<_> = (0..self.columns.len()).map(|column| cell(row.samples(column))).collect();
            writeln!(f, "| {} | {} |", row.name, cells.join(" | "))?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

/// A grid seen from one of its rows.
#[derive(Debug)]
pub struct Ratios<'a> {
    grid: &'a Grid,
    base: Option<usize>,
}

impl fmt::Display for Ratios<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(base) = self.base.and_then(|at| self.grid.rows.get(at)) else { return Ok(()) };
        self.grid.head(f, &format!("times {}", base.name))?;
        for row in self.grid.rows.iter().filter(|row| row.name != base.name) {
            let ratio = |column| {
                let pairs = row.samples(column).iter().zip(base.samples(column));
                cell(&pairs.map(|(sample, base)| sample / base).collect::<Vec<_>>())
            };
            let cells: Vec<_> = (0..self.grid.columns.len()).map(ratio).collect();
            writeln!(f, "| {} | {} |", row.name, cells.join(" | "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_with_spread_and_ratios_by_round() {
        let mut grid = Grid::default();
        for (round, load) in [1.0, 2.0, 4.0].into_iter().enumerate() {
            grid.add("ours", "s/GB", 2.0 * load);
            grid.add("theirs", "s/GB", 5.0 * load);
            if round == 0 {
                grid.add("theirs", "Gbit/s", 123.4);
            }
        }
        grid.note("Mind the gap.");
        let expected = "| median (min..max) | s/GB | Gbit/s |\n|---|--:|--:|\n\
                        | ours | 4.00 (2.00..8.00) | – |\n| theirs | 10.0 (5.00..20.0) | 123 |\n\nMind the gap.";
        assert_eq!(grid.to_string(), expected);
        let ratios = "| times ours | s/GB | Gbit/s |\n|---|--:|--:|\n| theirs | 2.50 (2.50..2.50) | – |\n";
        assert_eq!(grid.ratios("ours").to_string(), ratios);
        assert_eq!(grid.ratios("nobody").to_string(), "");
    }
}
