//! Samples, what is said of them, and the table they are printed as (Markdown, to be pasted).
//! Always true: a percentile is a sample (nearest rank), and no p99 is claimed of fewer than a hundred.

use std::fmt;

/// Samples of one thing, in milliseconds unless its owner says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// The sample that `part` of all do not exceed; none of none.
    pub fn percentile(&self, part: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part * sorted.len() as f64).ceil().max(1.0);
        sorted.get(rank as usize - 1).copied()
    }

    /// All samples of several.
    pub fn joined(all: &[Self]) -> Self {
        Self(all.iter().flat_map(|series| &series.0).copied().collect())
    }
}

impl Extend<f64> for Series {
    fn extend<T: IntoIterator<Item = f64>>(&mut self, samples: T) {
        self.0.extend(samples);
    }
}

/// Named series in the order they were added, and what a reader must know of them.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(String, Series)>,
    notes: Vec<String>,
}

impl Table {
    /// Adds samples to the row of that name.
    pub fn add(&mut self, name: &str, samples: impl IntoIterator<Item = f64>) {
        let at = self.rows.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.rows.push((name.to_owned(), Series::default()));
            self.rows.len() - 1
        });
        self.rows[at].1.extend(samples);
    }

    /// Adds a line below the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Fewer samples have no 99th percentile but their maximum.
const ENOUGH_FOR_P99: usize = 100;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| milliseconds | n | p50 | p99 | max |\n|---|--:|--:|--:|--:|")?;
        for (name, series) in &self.rows {
            let n = series.0.len();
            let cell = |part| series.percentile(part).map_or_else(|| "–".into(), |ms| format!("{ms:.0}"));
            let p99 = if n < ENOUGH_FOR_P99 { "–".to_owned() } else { cell(0.99) };
            writeln!(f, "| {name} | {n} | {} | {p99} | {} |", cell(0.5), cell(1.0))?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: impl IntoIterator<Item = u16>) -> Series {
        Series(samples.into_iter().map(f64::from).collect())
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let hundred = series((1..=100).rev());
        assert_eq!(hundred.percentile(0.5), Some(50.0));
        assert_eq!(hundred.percentile(0.99), Some(99.0));
        assert_eq!(hundred.percentile(1.0), Some(100.0));
        assert_eq!(series([7]).percentile(0.5), Some(7.0));
        assert_eq!(series([]).percentile(0.5), None);
    }

    #[test]
    fn a_table_collects_rows_by_name_and_claims_no_p99_of_few() {
        let mut table = Table::default();
        table.add("few", [3.0]);
        table.add("many", (1..=100).map(f64::from));
        table.add("few", [1.4, -2.0]);
        table.note("Mind the gap.");
        let expected = "| milliseconds | n | p50 | p99 | max |\n|---|--:|--:|--:|--:|\n\
                        | few | 3 | 1 | – | 3 |\n| many | 100 | 50 | 99 | 100 |\n\nMind the gap.";
        assert_eq!(table.to_string(), expected);
    }
}
