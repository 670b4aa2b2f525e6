//! Somebody at a device with `curl` and a cookie jar for a browser: follows redirects and fills in forms as
//! a browser does, without running any script. It asserts nothing.
//! Always true: one person has one jar, and trusts what the device trusts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{device::Device, office::Office, provider::PASSWORD};

/// More redirects than any way has.
const MOST_STEPS: usize = 20;

/// Somebody at a device.
pub struct Person<'a> {
    device: &'a Device,
    jar: PathBuf,
    trusted: PathBuf,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Of the last answer.
    pub status: u16,
    /// Where it came from, redirects followed.
    pub url: String,
    /// Its body.
    pub body: String,
    /// Where it leads on to, if it was not followed.
    pub location: String,
}

impl<'a> Person<'a> {
    /// At `device`, in a browser of their own called `name`.
    pub fn at(office: &Office, device: &'a Device, name: &str) -> Result<Self> {
        Self::trusting(office.trusted(device)?, device, name)
    }

    /// The same, with what the browser trusts.
    pub fn trusting(trusted: PathBuf, device: &'a Device, name: &str) -> Result<Self> {
        let jar = device.host().folder().join(format!("{name}.jar"));
        Ok(Self { device, jar, trusted })
    }

    /// The browser's cookies, as the file curl keeps them in.
    pub fn jar(&self) -> &Path {
        &self.jar
    }

    /// The same person's browser taken to another device, as a thief would.
    pub fn moved(&self, device: &'a Device) -> Result<Self> {
        Ok(Self { device, jar: self.jar.clone(), trusted: self.trusted.clone() })
    }

    /// Opens a page as a browser's navigation does, following redirects.
    pub fn open(&self, url: &str) -> Result<Answer> {
        self.curl(&["--location", url])
    }

    /// The same, but goes nowhere from there.
    pub fn look(&self, url: &str) -> Result<Answer> {
        self.curl(&[url])
    }

    /// Does what `curl` does with these arguments, by this browser's cookies and for whoever reads HTML.
    pub fn asks(&self, arguments: &[&str]) -> Result<Answer> {
        self.curl(arguments)
    }

    /// Goes from redirect to redirect until there is none, or the next address begins with `end`. What each
    /// answer was, head and all.
    pub fn walks(&self, url: &str, end: &str) -> Result<Vec<Answer>> {
        let mut steps = vec![self.curl(&["--include", url])?];
        loop {
            let next = steps.last().map(|step| step.location.clone()).unwrap_or_default();
            ensure!(steps.len() < MOST_STEPS, "redirected in circles: {next}");
            if next.is_empty() || next.starts_with(end) {
                return Ok(steps);
            }
            steps.push(self.curl(&["--include", &next])?);
        }
    }

    /// The same after filling in the provider's form as `login`.
    pub fn fills_in_and_walks(&self, form: &Answer, login: &str, end: &str) -> Result<Vec<Answer>> {
        let (login, password) = (format!("login={login}"), format!("password={PASSWORD}"));
        let sent = self.curl(&["--include", "--data", &login, "--data", &password, &form.url])?;
        ensure!(!sent.location.is_empty(), "the provider did not let {login} in: {sent:?}");
        let mut steps = vec![sent.clone()];
        if !sent.location.starts_with(end) {
            steps.extend(self.walks(&sent.location, end)?);
        }
        Ok(steps)
    }

    /// Fills in a form and sends it, following redirects.
    pub fn send(&self, url: &str, fields: &[(&str, &str)]) -> Result<Answer> {
        let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut arguments = vec!["--location"];
        if pairs.is_empty() {
            arguments.extend(["--data", ""]);
        }
        pairs.iter().for_each(|pair| arguments.extend(["--data-urlencode", pair]));
        self.curl(&[&arguments[..], &[url]].concat())
    }

    /// Opens a page, signs in as `login` where that leads to, and is where that leads to then.
    pub fn signs_in(&self, url: &str, login: &str) -> Result<Answer> {
        self.signs_in_with(url, login, &[])
    }

    /// The same with more fields of the provider's form.
    pub fn signs_in_with(&self, url: &str, login: &str, more: &[(&str, &str)]) -> Result<Answer> {
        let form = self.open(url)?;
        ensure!(
            form.body.contains("name=\"password\"") || form.body.contains("name=password"),
            "no sign-in form at {} ({}): {}",
            form.url,
            form.status,
            form.body
        );
        self.fills_in(&form, login, more)
    }

    /// Fills in the provider's form.
    pub fn fills_in(&self, form: &Answer, login: &str, more: &[(&str, &str)]) -> Result<Answer> {
        let fields = [&[("login", login), ("password", PASSWORD), ("enter", "1")], more].concat();
        self.send(&form.url, &fields)
    }

    fn curl(&self, arguments: &[&str]) -> Result<Answer> {
        let jar = text(&self.jar)?;
        let browser = [
            "--cacert",
            text(&self.trusted)?,
            "--cookie",
            jar,
            "--cookie-jar",
            jar,
            "--header",
            "Accept: text/html",
            "--write-out",
            "\n%{http_code} %{url_effective} %{redirect_url}",
        ];
        let output = self.device.curl(&[&browser[..], arguments].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "curl {arguments:?}: {} {said}", output.status);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, last) = text.rsplit_once('\n').context("what curl wrote")?;
        let mut words = last.split(' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (status, url, location) = (next().parse()?, next(), next());
        Ok(Answer { status, url, body: body.to_owned(), location })
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a plain path")
}
