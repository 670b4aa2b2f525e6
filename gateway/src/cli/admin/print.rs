//! How an answer looks. It asks nothing. Always true: with `--json` standard output is one JSON value.

use control::admin::Answer;
use serde_json::Value;

use crate::table;

/// What goes to standard output.
pub(super) fn rendered(answer: &Answer, json: bool) -> String {
    let lines = match (&answer.text, &answer.data) {
        _ if json => vec![format!("{:#}", answer.data)],
        (Some(text), _) => vec![text.trim_end_matches('\n').to_owned()],
        (None, Value::Array(rows)) => {
            let row = |row: &Value| answer.columns.iter().map(|column| cell(&row[column])).collect();
            table::lines(&answer.columns, &rows.iter().map(row).collect::<Vec<_>>())
        }
        (None, Value::Object(fields)) => {
            let widest = fields.keys().map(|key| key.chars().count()).max().unwrap_or(0);
            fields.iter().map(|(key, value)| format!("{key:<widest$}  {}", cell(value))).collect()
        }
        (None, value) => vec![cell(value)],
    };
    lines.join("\n") + "\n"
}

/// A value in a table. Control characters are not the terminal's to obey.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    };
    text.replace(char::is_control, " ")
}
