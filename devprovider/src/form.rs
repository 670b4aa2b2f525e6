//! Parameters of a query or of a form's body.
//! Always true: a name that stands there twice spoils the whole form, and an empty value is none
//! (RFC 6749, 3.1).

use std::collections::HashMap;

use url::form_urlencoded;

/// More parameters than any request of ours has.
const MAX: usize = 32;

/// Parameters by name.
#[derive(Debug)]
pub struct Form(HashMap<String, String>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = HashMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if all.len() == MAX || all.insert(name.into_owned(), value.into_owned()).is_some() {
                return None;
            }
        }
        all.retain(|_, value| !value.is_empty());
        Some(Self(all))
    }

    /// The value, if there is one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Undoes the encoding of one value by itself, as in HTTP Basic (RFC 6749, 2.3.1).
pub fn decode(value: &str) -> Option<String> {
    if value.contains(['&', '=']) {
        return None;
    }
    form_urlencoded::parse(value.as_bytes()).next().map(|(whole, _)| whole.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_twice_spoils_the_form() {
        let form = Form::parse("a=1&b=&c=x+y%26").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("c")), (Some("1"), None, Some("x y&")));
        assert!(Form::parse("a=1&a=1").is_none() && Form::parse("a=&a=2").is_none());
        let many: String = (0..=MAX).map(|n| format!("k{n}=1&")).collect();
        assert!(Form::parse(&many).is_none());
    }

    #[test]
    fn one_value_is_decoded() {
        assert_eq!(decode("a%3Ab+c").as_deref(), Some("a:b c"));
        for bad in ["a&b", "a&", "a=", ""] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
