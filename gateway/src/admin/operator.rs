//! Who is at the other end of the control socket: an account of this machine, as the kernel says.
//! It decides nothing. Always true: only uid 0 and the gateway's own account are root.

use std::{collections::BTreeSet, ffi::CString};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use policy::facts::Operator;

/// The account `uid`, whose process has `gid`. One without a name is called by its number, and is in no
/// group but that of its process.
pub(super) fn operator(uid: u32, gid: u32) -> Operator {
    let account = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = account.as_ref().map_or_else(|| format!("uid-{uid}"), |account| account.name.clone());
    let more = account.and_then(|account| {
        let name = CString::new(account.name).ok()?;
        getgrouplist(&name, account.gid).ok()
    });
    let all = more.unwrap_or_default().into_iter().chain([Gid::from_raw(gid)]);
    let groups: BTreeSet<String> =
        all.filter_map(|gid| Group::from_gid(gid).ok().flatten()).map(|group| group.name).collect();
    Operator { name, uid, groups, root: uid == 0 || uid == nix::unistd::getuid().as_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_who_runs_the_gateway_and_uid_0_alone() {
        let me = nix::unistd::getuid().as_raw();
        assert!(operator(me, me).root && operator(0, 0).root);
        let nobody = operator(4_000_000_000, 4_000_000_000);
        assert_eq!((nobody.name.as_str(), nobody.root), ("uid-4000000000", false));
        assert!(nobody.groups.is_empty());
    }
}
