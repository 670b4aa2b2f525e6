//! The frame of every page we show: one style, no script, nothing loaded; light and dark, phone and desk.
//! It says nothing itself. Always true: a text that came from outside passes [`escape`].

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};

const STYLE: &str = ":root{color-scheme:light dark;--line:color-mix(in srgb,CanvasText 18%,transparent);\
--soft:color-mix(in srgb,CanvasText 5%,transparent);--quiet:color-mix(in srgb,CanvasText 68%,transparent);\
--main:light-dark(#1a5fb4,#8ab4f8);--on-main:light-dark(#fff,#10233f);--bad:light-dark(#b3261e,#f2b8b5)}\
*{box-sizing:border-box}\
body{margin:0;font:16px/1.5 system-ui,sans-serif;background:Canvas;color:CanvasText}\
header{border-bottom:1px solid var(--line)}\
header p{max-width:46rem;margin:0 auto;padding:.75rem 1.25rem;display:flex;justify-content:space-between;gap:1rem}\
header span,.quiet{color:var(--quiet)}\
main{max-width:46rem;margin:0 auto;padding:2rem 1.25rem 3rem}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 1rem}\
h2{font-size:1.1rem;margin:2rem 0 .5rem}\
p{margin:.25rem 0 .75rem}\
a{color:var(--main)}\
section.why{border-left:.25rem solid var(--bad);padding:.25rem 0 .25rem 1rem;margin:0 0 1.25rem}\
section.why p,section.why ul{margin:.25rem 0}\
code,pre{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}\
pre{background:var(--soft);padding:.75rem 1rem;border-radius:.5rem;overflow-x:auto;overflow-wrap:normal}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:1.5rem 0 0;font-size:.9rem}\
dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}\
ul.rows{list-style:none;margin:0;padding:0;border:1px solid var(--line);border-radius:.6rem;overflow:hidden}\
ul.rows>li{display:flex;flex-wrap:wrap;justify-content:space-between;align-items:center;gap:.25rem 1rem;\
padding:.65rem 1rem;border-top:1px solid var(--line)}\
ul.rows>li:first-child{border-top:0}\
ul.rows small{color:var(--quiet);font-size:.875rem;overflow-wrap:anywhere}\
form{display:inline}\
button,a.button{font:inherit;font-weight:600;display:inline-block;padding:.55rem 1.1rem;border-radius:.5rem;\
border:1px solid var(--main);background:var(--main);color:var(--on-main);text-decoration:none;cursor:pointer}\
button.plain{background:transparent;color:var(--main);font-weight:400;padding:.3rem .8rem}\
button:focus-visible,a:focus-visible{outline:.2rem solid var(--main);outline-offset:.15rem}\
.buttons{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}\
@media(max-width:30rem){dl{grid-template-columns:1fr}dd{margin-bottom:.5rem}main{padding-top:1.25rem}}";

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

/// A whole page; `main` is markup, `title` a text.
pub fn document(title: &str, head: &str, main: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
<meta name=\"color-scheme\" content=\"light dark\"><style>{STYLE}</style></head>\
<body>{head}<main><h1>{title}</h1>{main}</main></body></html>\n"
    )
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
        let page = document("A <b>", "", "<p>x</p>");
        assert!(
            page.contains("A &lt;b&gt;") && !page.contains("<script") && !page.contains("src="),
            "{page}"
        );
        let policy = content_security_policy("'none'");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(escape("<&>\"'"), "&lt;&amp;&gt;&quot;&#39;");
    }
}
