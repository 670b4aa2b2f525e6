//! The request head as it came in: framing that two servers could read differently is refused.
//! It works on the raw bytes, because the parser drops what it has reconciled.
//! Always true: what passes names one host and at most one way to tell where its body ends.

/// The largest request head: request line and headers (nginx takes 32 KiB, Apache 8 KiB a line).
pub const MAX_HEAD: usize = 64 * 1024;

/// Why a request head is refused; `Display` is for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Larger than [`MAX_HEAD`].
    #[error("the request headers are larger than 64 KiB")]
    TooLarge,
    /// None, several, or an empty one.
    #[error("the request must have exactly one Host header")]
    Host,
    /// Repeated, a list, or not a number.
    #[error("the Content-Length is not one plain number")]
    ContentLength,
    /// Anything but one `chunked`.
    #[error("the Transfer-Encoding is not exactly 'chunked'")]
    TransferEncoding,
    /// Both ways to tell the body's end.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    BothLengths,
    /// A line without a name, or a folded one.
    #[error("a header line is malformed")]
    Line,
    /// `#` in the request target.
    #[error("the request target has a fragment")]
    Fragment,
    /// An upgrade with a body, or by another method than GET, or in HTTP/1.0.
    #[error("an upgrade must be a GET without a body")]
    Upgrade,
}

#[derive(Debug, Default)]
struct Seen {
    hosts: usize,
    lengths: usize,
    body: bool,
    encodings: usize,
    upgrade: bool,
}

/// Checks the raw head, from the request line to the empty line. It may lack a Host only if the host was
/// `named` otherwise, as in HTTP/2.
pub fn check(raw: &[u8], named: bool) -> Result<(), HeadError> {
    if raw.len() > MAX_HEAD {
        return Err(HeadError::TooLarge);
    }
    let mut lines = raw.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let request = lines.next().unwrap_or_default();
    if request.contains(&b'#') {
        return Err(HeadError::Fragment);
    }
    let mut seen = Seen::default();
    for line in lines.filter(|line| !line.is_empty()) {
        seen.line(line)?;
    }
    seen.judge(request, named)
}

impl Seen {
    fn line(&mut self, line: &[u8]) -> Result<(), HeadError> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(HeadError::Line)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Err(HeadError::Line);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if value.is_empty() {
                return Err(HeadError::Host);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.body |= value.iter().any(|digit| *digit != b'0');
            // 18 digits fit every integer a server may use.
            if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                return Err(HeadError::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encodings += 1;
            self.body = true;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn judge(&self, request: &[u8], named: bool) -> Result<(), HeadError> {
        if self.hosts > 1 || (self.hosts == 0 && !named) {
            return Err(HeadError::Host);
        }
        if self.lengths > 1 {
            return Err(HeadError::ContentLength);
        }
        if self.encodings > 1 {
            return Err(HeadError::TransferEncoding);
        }
        if self.lengths > 0 && self.encodings > 0 {
            return Err(HeadError::BothLengths);
        }
        let may_upgrade = request.starts_with(b"GET ") && request.ends_with(b" HTTP/1.1") && !self.body;
        if self.upgrade && !may_upgrade {
            return Err(HeadError::Upgrade);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[&str]) -> Result<(), HeadError> {
        check(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes(), false)
    }

    #[test]
    fn takes_plain_framing() {
        assert_eq!(head(&["GET / HTTP/1.1", "Host: a"]), Ok(()));
        assert_eq!(head(&["POST / HTTP/1.1", "Host: a", "Content-Length: 3"]), Ok(()));
        assert_eq!(head(&["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: Chunked"]), Ok(()));
        assert_eq!(head(&["GET / HTTP/1.1", "Host: a", "Upgrade: websocket", "Content-Length: 0"]), Ok(()));
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        use HeadError::*;
        for (headers, expected) in [
            (vec![], Host),
            (vec!["Host: "], Host),
            (vec!["Host: a", "host: a"], Host),
            (vec!["Host: a", "Content-Length: 3", "Content-Length: 3"], ContentLength),
            (vec!["Host: a", "Content-Length: 3, 3"], ContentLength),
            (vec!["Host: a", "Content-Length: +3"], ContentLength),
            (vec!["Host: a", "Content-Length:"], ContentLength),
            (vec!["Host: a", "Content-Length: 1111111111111111111"], ContentLength),
            (vec!["Host: a", "Transfer-Encoding: gzip, chunked"], TransferEncoding),
            (vec!["Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], TransferEncoding),
            (vec!["Host: a", "Transfer-Encoding: xchunked"], TransferEncoding),
            (vec!["Host: a", "Transfer-Encoding: chunked;q=1"], TransferEncoding),
            (vec!["Host: a", "Content-Length: 3", "Transfer-Encoding: chunked"], BothLengths),
            (vec!["Host: a", "Transfer-Encoding : chunked"], Line),
            (vec!["Host: a", " folded: x"], Line),
            (vec!["Host: a", "nothing"], Line),
            (vec!["Host: a", "Upgrade: foo", "Content-Length: 5"], Upgrade),
            (vec!["Host: a", "Upgrade: foo", "Transfer-Encoding: chunked"], Upgrade),
        ] {
            let mut lines = vec!["GET / HTTP/1.1"];
            lines.extend(&headers);
            assert_eq!(head(&lines), Err(expected), "{headers:?}");
        }
        assert_eq!(check(b"GET / HTTP/2\r\naccept: */*\r\n\r\n", true), Ok(()));
        assert_eq!(check(b"GET / HTTP/2\r\nhost: a\r\nhost: a\r\n\r\n", true), Err(Host));
        assert_eq!(head(&["POST / HTTP/1.1", "Host: a", "Upgrade: websocket"]), Err(Upgrade));
        assert_eq!(head(&["GET /a#b HTTP/1.1", "Host: a"]), Err(Fragment));
        let long = format!("X: {}", "a".repeat(MAX_HEAD));
        assert_eq!(head(&["GET / HTTP/1.1", "Host: a", &long]), Err(TooLarge));
    }
}
