//! One newtype per id. An id is parsed once and is valid from then on.
//! Names (device, site, app…) are what an operator types in a file; people and groups are
//! `<provider>/<rest>`, because what one provider says must never pass for another's word.

use std::{fmt, str::FromStr, sync::Arc};

/// Why a text is not an id; `Display` is written for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a plain name.
    #[error("a name is 1 to 63 characters of a-z, 0-9 and '-', beginning with a letter or digit")]
    Name,
    /// Not `<provider>/<rest>`.
    #[error(
        "write it as <provider>/<name>, for example corp/alice: the provider is a plain name, the rest 1 to 128 printable characters without commas or spaces"
    )]
    Scoped,
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_scoped(text: &str) -> bool {
    let Some((provider, rest)) = text.split_once('/') else { return false };
    is_name(provider)
        && (1..=128).contains(&rest.chars().count())
        && !rest.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $check:ident, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if $check(text) { Ok(Self(text.into())) } else { Err($error) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(/** A person: `<provider>/<sub>`. */ UserId, is_scoped, IdError::Scoped);
id!(/** Who signs people in: an OIDC provider, named by the operator. */ ProviderId, is_name, IdError::Name);
id!(/** A group of people: `<provider>/<name>`. */ GroupId, is_scoped, IdError::Scoped);
id!(/** A device, stable over changes of its keys. */ DeviceId, is_name, IdError::Name);
id!(/** A set of devices, named by the operator. */ DeviceGroupId, is_name, IdError::Name);
id!(/** A network we can reach; [`SiteId::local`] is the gateway's own. */ SiteId, is_name, IdError::Name);
id!(/** An agent at a site. */ ConnectorId, is_name, IdError::Name);
id!(/** A protected HTTP or TCP service. */ AppId, is_name, IdError::Name);
id!(/** One of the gateways that share a store. */ GatewayId, is_name, IdError::Name);
id!(/** A set of apps and subnets, named by the operator. */ AppGroupId, is_name, IdError::Name);
id!(/** A CIDR at a site, reachable as a whole. */ SubnetId, is_name, IdError::Name);

impl SiteId {
    /// The site whose targets the gateway dials itself.
    pub fn local() -> Self {
        Self("local".into())
    }

    /// Whether the gateway itself dials this site's targets.
    pub fn is_local(&self) -> bool {
        &*self.0 == "local"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "fra-1", "0x"] {
            assert!(good.parse::<DeviceId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "ü", &"a".repeat(64)] {
            assert_eq!(bad.parse::<DeviceId>(), Err(IdError::Name), "{bad}");
        }
    }

    #[test]
    fn people_and_groups_carry_their_provider() {
        for good in ["corp/alice", "corp/a|b", "corp/ops/eu"] {
            assert!(good.parse::<UserId>().is_ok(), "{good}");
        }
        for bad in ["alice", "/alice", "corp/", "corp/a,b", "corp/a b", "corp/a\n"] {
            assert_eq!(bad.parse::<GroupId>(), Err(IdError::Scoped), "{bad}");
        }
    }
}
