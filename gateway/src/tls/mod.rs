//! The TLS front: which certificate is shown for which name, and the handshake that leads there.
//! It reads no request. Always true: TLS is answered only for a name that is ours and stands at the
//! address the connection came to; for every other name no certificate is sent at all.

mod accept;
mod authority;
mod files;
mod resolver;
#[cfg(test)]
mod tests;

pub use self::{
    accept::{Alpn, Secured, TlsError, TlsFront},
    authority::{Authority, AuthorityError},
    files::{FileCertificate, FileError, watch},
    resolver::{Certificates, Names},
};
