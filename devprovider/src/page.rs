//! The pages people see: plain HTML without a script, readable in light and dark.
//! Always true: what comes from outside is escaped.

/// The style of all pages.
pub const STYLE: &str = include_str!("style.css");

/// What the sign-in page shows.
pub struct Login<'a> {
    /// Which sign-in this is.
    pub request: &'a str,
    /// Proves that the form is ours.
    pub csrf: &'a str,
    /// Where the person wants to go.
    pub client: &'a str,
    /// Filled in already.
    pub user: &'a str,
    /// Whether to ask for a one-time code.
    pub otp: bool,
    /// What went wrong before.
    pub mistake: Option<&'a str>,
}

/// Asks who it is.
pub fn login(login: &Login<'_>) -> String {
    let mistake =
        login.mistake.map(|text| format!(r#"<p class="mistake" role="alert">{}</p>"#, escape(text)));
    let otp = if login.otp {
        r#"<label>One-time code<input name="otp" inputmode="numeric" autocomplete="one-time-code" required></label>"#
    } else {
        ""
    };
    let (first, second) = if login.user.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let body = format!(
        r#"<h1>Sign in</h1>
<p>to continue to <strong>{client}</strong></p>
{mistake}
<form method="post" action="/login">
<input type="hidden" name="request" value="{request}">
<input type="hidden" name="csrf" value="{csrf}">
<label>E-mail<input name="user" value="{user}" autocomplete="username" required{first}></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required{second}></label>
{otp}
<button>Sign in</button>
</form>"#,
        client = escape(login.client),
        mistake = mistake.unwrap_or_default(),
        request = escape(login.request),
        csrf = escape(login.csrf),
        user = escape(login.user),
    );
    whole("Sign in", &body)
}

/// Asks whether to sign out.
pub fn confirm(csrf: &str, user: &str) -> String {
    let body = format!(
        r#"<h1>Sign out?</h1>
<p>You are signed in as <strong>{user}</strong>.</p>
<form method="post" action="/logout">
<input type="hidden" name="confirm" value="{csrf}">
<button>Sign out</button>
</form>"#,
        user = escape(user),
        csrf = escape(csrf),
    );
    whole("Sign out", &body)
}

/// Says something.
pub fn message(title: &str, text: &str) -> String {
    whole(title, &format!("<h1>{}</h1>\n<p>{}</p>", escape(title), escape(text)))
}

fn whole(title: &str, body: &str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – Development sign-in</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<p class="label">Development sign-in</p>
<main>
{body}
</main>
<footer>For development and tests only: passwords here lie in a plain file. Type none that you use elsewhere.</footer>
</body>
</html>
"#,
        title = escape(title),
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_stays_text() {
        let evil = r#""><script>alert('1')</script>&"#;
        let shown = login(&Login {
            request: evil,
            csrf: evil,
            client: evil,
            user: evil,
            otp: true,
            mistake: Some(evil),
        });
        for html in [shown, confirm(evil, evil), message(evil, evil)] {
            assert!(!html.contains("<script") && !html.contains("\"><s"), "{html}");
            assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"), "{html}");
        }
    }
}
