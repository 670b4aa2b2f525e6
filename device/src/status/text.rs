//! Text from outside, made fit for a terminal: what a terminal would obey is spelt out, lines are
//! folded at 80 columns.
//! Always true: no control character and no change of writing direction leaves this module.

use std::fmt;

use serde::Deserialize;

/// How wide a line may be.
const COLUMNS: usize = 80;

/// The deepest indentation that is kept: it is repeated on every folded line.
const DEEPEST: usize = 16;

/// A string of the gateway's that can be printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub struct Text(String);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(printable(&text))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Spells out what a terminal would obey: `\u{1b}` for ESC.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Valid JSON as one line that means the same. Raw white space can only stand between its values,
/// and everything else a terminal obeys only within strings, where JSON's own escapes may stand.
pub fn json_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.trim().chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            // All of them are in the basic plane: four digits are enough.
            _ if obeyed(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out + "\n"
}

/// Control characters, and what makes text read in another order than it is written (UAX #9).
fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Folds a line at spaces; what is folded stands two columns deeper. A longer word stays whole.
pub fn folded(line: &str) -> String {
    let indent = line.chars().take(DEEPEST).take_while(|c| *c == ' ').count();
    let mut out = " ".repeat(indent);
    let mut column = indent;
    for (index, word) in line.split(' ').filter(|word| !word.is_empty()).enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > COLUMNS {
            out.push('\n');
            out.push_str(&" ".repeat(indent + 2));
            column = indent + 2;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelt_out() {
        assert_eq!(
            printable("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e\u{7f}"),
            "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e\\u{7f}"
        );
        assert_eq!(printable("Zürich \\ “quoted” 東京"), "Zürich \\ “quoted” 東京");
    }

    #[test]
    fn one_line_of_json_means_the_same() {
        let json = "{\n\t\"a\": \"x\u{7f}\u{9b}\u{202e}\\u001b\",\r\n \"b\": [1.50, \"ü\"] }\n\n";
        let line = json_line(json);
        assert!(line.ends_with('\n') && !line.trim_end().contains(obeyed), "{line}");
        let values = [json, &line].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(values[0], values[1]);
        assert!(line.contains("1.50"), "as received: {line}");
    }

    #[test]
    fn lines_fold_at_spaces_and_stay_indented() {
        let text = format!("    - {}", "word ".repeat(40));
        let out = folded(&text);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{out}");
        assert!(lines[0].starts_with("    - word") && lines[1].starts_with("      word"), "{out}");
        let long = "x".repeat(200);
        assert_eq!(folded(&format!("a {long} b")), format!("a\n  {long}\n  b\n"));
    }

    #[test]
    fn leading_spaces_from_outside_do_not_multiply() {
        let hostile = " ".repeat(10_000) + &"word ".repeat(10_000);
        assert!(folded(&hostile).len() < 2 * hostile.len());
    }
}
