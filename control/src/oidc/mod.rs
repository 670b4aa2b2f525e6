//! Everything that speaks to an OpenID Connect provider: signing people in, asking again whether they still
//! may, and hearing that they signed out. It knows no store, no cookie and no page; what time it is, it is told.
//! Always true: nothing is believed before its signature, issuer, audience and time are verified, and no
//! token, code or secret appears in a `Debug`, a `Display` or an error.

mod check;
mod claims;
mod discovery;
mod error;
mod exchange;
mod flow;
mod http;
mod jws;
mod logout;
mod provider;
mod refresh;
mod spec;
mod token;
mod userinfo;

pub use check::{Addresses, Finding, Report, Verdict};
pub use claims::{SignedIn, Standing};
pub use error::{Alarm, Fault, Incomplete, ProviderError, Refusal, SignInError, TokenError};
pub use flow::{Begin, Begun, Pending, Prompt, Returned};
pub use http::HttpError;
pub use logout::{LogoutError, LogoutToken};
pub use provider::Provider;
pub use refresh::{Gone, Refreshed, Renewed};
pub use spec::{Groups, GroupsAllowed, IdClaim, LONGEST_SKEW, OURS, ProviderSpec, SpecError};
