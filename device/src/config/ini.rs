//! The line format of WireGuard configurations: sections, `Key = value`, `#` comments, as wg(8)
//! reads them. It does not know which keys there are.
//! Always true: every entry remembers its line, and sections and keys are compared without case.

/// One `Key = value` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub line: usize,
    pub key: &'a str,
    pub value: &'a str,
}

/// A `[Name]` line and the entries below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Section<'a> {
    pub line: usize,
    pub name: &'a str,
    pub entries: Vec<Entry<'a>>,
}

/// A line that is neither a section nor an entry, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Odd {
    pub line: usize,
    pub reason: String,
}

/// Splits the text into sections; lines that fit nowhere come beside them.
pub fn read(text: &str) -> (Vec<Section<'_>>, Vec<Odd>) {
    let (mut sections, mut odd) = (Vec::<Section<'_>>::new(), Vec::new());
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let content = raw.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(Section { line, name: name.trim(), entries: Vec::new() });
            continue;
        }
        let entry =
            content.split_once('=').map(|(key, value)| Entry { line, key: key.trim(), value: value.trim() });
        match (entry, sections.last_mut()) {
            (Some(entry), Some(section)) => section.entries.push(entry),
            (Some(entry), None) => {
                odd.push(Odd { line, reason: format!("{} stands before [Interface]", entry.key) });
            }
            (None, _) => odd.push(Odd { line, reason: "expected `Key = value` or a [Section]".into() }),
        }
    }
    (sections, odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_equal_signs_in_values() {
        let (sections, odd) = read("# top\n[Interface] # us\n\nPrivateKey = abc=  # secret\n[peer]\nx=y\n");
        assert!(odd.is_empty());
        let shape: Vec<_> = sections.iter().map(|s| (s.line, s.name, s.entries.as_slice())).collect();
        let key = Entry { line: 4, key: "PrivateKey", value: "abc=" };
        let other = Entry { line: 6, key: "x", value: "y" };
        assert_eq!(shape, [(2, "Interface", &[key][..]), (5, "peer", &[other][..])]);
    }

    #[test]
    fn odd_lines_are_told_with_their_number() {
        let (_, odd) = read("MTU = 1\n[Interface]\nnonsense\n");
        let told: Vec<_> = odd.iter().map(|odd| (odd.line, odd.reason.as_str())).collect();
        assert_eq!(
            told,
            [(1, "MTU stands before [Interface]"), (3, "expected `Key = value` or a [Section]")]
        );
    }
}
