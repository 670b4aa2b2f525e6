//! `doorward admin token`. Always true: each command is one request.

use clap::Subcommand;
use control::admin::{Request, TokenRequest};

const EXAMPLES: &str = "\
Examples:
  doorward admin token list
  doorward admin token revoke 0123456789ab";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum TokenCommand {
    /// List tokens, and what became of them; never their secrets
    List,
    /// Void a token that was not used yet
    Revoke {
        /// Its id: the part after dwt_
        token: String,
    },
}

impl TokenCommand {
    pub fn request(self) -> Request {
        Request::Token(match self {
            Self::List => TokenRequest::List,
            Self::Revoke { token } => TokenRequest::Revoke { token },
        })
    }
}
