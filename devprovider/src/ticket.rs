//! Random texts that nobody guesses, and comparing secrets without telling how much of them was right.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac::{self, HMAC_SHA256},
    rand::{SecureRandom, SystemRandom},
};

/// How long every ticket is: 256 bits in base64url.
pub const LENGTH: usize = 43;

/// A fresh random text of 256 bits.
pub fn ticket() -> String {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the system gives randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whether `text` looks like a ticket.
pub fn is_ticket(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether both are the same, in a time that tells nothing about `kept`.
pub fn same(given: &str, kept: &str) -> bool {
    let key = hmac::Key::new(HMAC_SHA256, b"compare");
    hmac::verify(&key, given.as_bytes(), hmac::sign(&key, kept.as_bytes()).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_differ_and_compare() {
        let (a, b) = (ticket(), ticket());
        assert!(is_ticket(&a) && same(&a, &a.clone()) && !same(&a, &b) && !same("", &a));
        assert!(!is_ticket("") && !is_ticket(&"=".repeat(LENGTH)));
    }
}
