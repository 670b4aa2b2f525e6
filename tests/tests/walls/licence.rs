//! Reads licence expressions (SPDX 2.3, annex D) as far as crates use them: AND, OR, WITH, brackets,
//! and the old slash for OR. It knows no licence by itself.

/// Whether a choice permitted by `expression` consists of licences `known` accepts.
pub fn permits(expression: &str, known: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = either(&mut words, known);
    verdict && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, known: &dyn Fn(&str) -> bool) -> bool {
    let mut verdict = both(words, known);
    while words.next_if_eq(&"OR").is_some() {
        verdict |= both(words, known);
    }
    verdict
}

fn both(words: &mut Words<'_>, known: &dyn Fn(&str) -> bool) -> bool {
    let mut verdict = one(words, known);
    while words.next_if_eq(&"AND").is_some() {
        verdict &= one(words, known);
    }
    verdict
}

fn one(words: &mut Words<'_>, known: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.next() else { return false };
    if word == "(" {
        let verdict = either(words, known);
        return words.next() == Some(")") && verdict;
    }
    match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => known(&format!("{word} WITH {exception}")),
        None => known(word),
    }
}

#[test]
fn expressions_mean_what_spdx_says() {
    let known = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
    for good in
        ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(MIT OR GPL-3.0) AND ISC", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(permits(good, &known), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "GPL-3.0 OR MIT AND X", "(MIT", "MIT ISC", "Apache-2.0"] {
        assert!(!permits(bad, &known), "{bad}");
    }
}
