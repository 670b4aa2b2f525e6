//! The frame of every page we show: one style, no script, nothing loaded; light and dark, phone and desk.
//! It says nothing itself. Always true: a text that came from outside passes [`escape`].

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};

const STYLE: &str = ":root{color-scheme:light dark;--text:light-dark(#1b1f24,#e4e7eb);\
--quiet:light-dark(#59626d,#a2abb6);--page:light-dark(#f6f7f9,#15181c);--card:light-dark(#fff,#1e2227);\
--line:light-dark(#dde1e6,#343a42);--main:light-dark(#1a5fb4,#8ab4f8);--on-main:light-dark(#fff,#10233f);\
--bad:light-dark(#b3261e,#f2a19b)}\
*{box-sizing:border-box}\
body{margin:0;font:16px/1.5 system-ui,sans-serif;background:var(--page);color:var(--text)}\
header{background:var(--card);border-bottom:1px solid var(--line)}\
header p{max-width:46rem;margin:0 auto;padding:.8rem 1.25rem;display:flex;justify-content:space-between;gap:1rem}\
header strong,header span{overflow-wrap:anywhere}\
header span,.quiet,small{color:var(--quiet)}\
small{font-size:.875rem}\
main{max-width:46rem;margin:0 auto;padding:2rem 1.25rem 4rem}\
main.one{max-width:36rem;padding-top:3.5rem}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem}\
h2{font-size:1.05rem;margin:2.25rem 0 .6rem}\
p{margin:0 0 .75rem}\
a{color:var(--main)}\
.card{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:1.75rem}\
.card>:last-child{margin-bottom:0}\
.who{display:flex;justify-content:space-between;align-items:start;gap:1rem;margin:0 0 1.25rem}\
.who h1{margin:0 0 .25rem}.who p{margin:0;overflow-wrap:anywhere}\
.who button{white-space:nowrap}\
section.why{border-left:.2rem solid var(--bad);padding:.1rem 0 .1rem 1rem;margin:0 0 1.25rem}\
section.why p,section.why ul{margin:.3rem 0}\
section.why ul{padding-left:1.25rem}\
code,pre{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}\
pre{background:var(--page);border:1px solid var(--line);padding:.6rem .8rem;margin:.5rem 0;border-radius:.5rem;\
white-space:pre-wrap}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:1.25rem 0 0;font-size:.875rem}\
dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}\
.rows{list-style:none;margin:0;padding:0;background:var(--card);border:1px solid var(--line);\
border-radius:.75rem;overflow:hidden}\
.rows>*{border-top:1px solid var(--line)}\
.rows>:first-child{border-top:0}\
.rows>li{display:flex;justify-content:space-between;align-items:center;gap:.25rem 1.25rem;padding:.7rem 1rem}\
.rows>li>:first-child{min-width:0;overflow-wrap:anywhere}\
.rows>li>:last-child:not(:first-child){flex:none;max-width:45%;text-align:right}\
.rows small{display:block}\
.rows>li a{font-weight:600;text-decoration:none}.rows>li a:hover{text-decoration:underline}\
summary{padding:.7rem 1rem;cursor:pointer}\
details>:not(summary){margin-left:1rem;margin-right:1rem}\
details>:last-child{margin-bottom:1rem}\
form{margin:0}\
button,a.button{font:inherit;font-weight:600;display:inline-block;padding:.55rem 1.2rem;border-radius:.5rem;\
border:1px solid var(--main);background:var(--main);color:var(--on-main);text-align:center;\
text-decoration:none;cursor:pointer}\
button.plain,a.plain{background:transparent;color:var(--main);font-weight:400;padding:.3rem .8rem;\
border-color:var(--line)}\
button:focus-visible,a:focus-visible,summary:focus-visible{outline:.2rem solid var(--main);outline-offset:.15rem}\
.buttons{display:flex;flex-wrap:wrap;align-items:center;gap:.6rem;margin:1.25rem 0}\
@media(max-width:30rem){main,main.one{padding:1.25rem 1rem 3rem}.card{padding:1.25rem}\
header p{padding:.7rem 1rem}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}\
.one .buttons{flex-direction:column;align-items:stretch}}";

static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes())));

/// What a page may do: our one style, forms to `forms` (`'none'`, `'self'`), nothing else, not even being
/// framed.
pub fn content_security_policy(forms: &str) -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action {forms}; frame-ancestors 'none'",
        *STYLE_HASH
    )
}

/// A whole page; `head` and `main` are markup, `title` a text. The heading is the page's to write.
pub fn document(title: &str, head: &str, main: &str) -> String {
    framed(title, head, &format!("<main>{main}</main>"))
}

/// A page that says one thing; `below` stands beside it.
pub fn card(title: &str, head: &str, inside: &str, below: &str) -> String {
    let heading = escape(title);
    let main =
        format!("<main class=\"one\"><div class=\"card\"><h1>{heading}</h1>{inside}</div>{below}</main>");
    framed(title, head, &main)
}

fn framed(title: &str, head: &str, main: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
<meta name=\"color-scheme\" content=\"light dark\"><style>{STYLE}</style></head>\
<body>{head}{main}</body></html>\n"
    )
}

/// What stands above a page: whose it is, and which device this is.
pub fn header(company: &str, device: &str) -> String {
    let (company, device) = (escape(company), escape(device));
    format!("<header><p><strong>{company}</strong><span>{device}</span></p></header>")
}

/// A text as markup.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.chars() {
        match part {
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
    fn nothing_runs_and_nothing_is_loaded() {
        let page = card("A <b>", &header("<c>", "<d>"), "<p>x</p>", "");
        for part in ["A &lt;b&gt;", "&lt;c&gt;", "&lt;d&gt;"] {
            assert!(page.contains(part), "{part} not in {page}");
        }
        assert!(!page.contains("<script") && !page.contains("src="), "{page}");
        let policy = content_security_policy("'none'");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(escape("<&>\"'"), "&lt;&amp;&gt;&quot;&#39;");
    }
}
