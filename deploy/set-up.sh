#!/usr/bin/env bash
# Installs what building, testing and the demo need and this machine lacks (Debian, Ubuntu). Starts no
# server, changes no resolver, route or rule. Run again it does nothing, in under a second.
# `set-up.sh fuzz` brings what `make fuzz` needs besides.
set -euo pipefail
cd "$(dirname "$0")/.."

stop() { printf 'set-up: %s\n' "$@" >&2; exit 1; }
PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

# As root, or through sudo when it asks no password; else the one line to run by hand.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif sudo -n true 2>/dev/null; then sudo -n "$@"
  else stop "this needs root once; run: sudo $(printf '%q ' "$@")"
  fi
}

# --- packages: what shows that it is there, and what brings it -------------------------------------
missing=()
need() { # package, commands or files, any of which is proof enough
  local package=$1 proof; shift
  for proof; do compgen -G "$proof" >/dev/null || command -v "$proof" >/dev/null && return; done
  missing+=("$package")
}
need gcc cc
need libc6-dev /usr/include/stdio.h
need cmake cmake                                   # zlib-ng, below pingora
need nftables nft                                  # the gateway's one rule
need iproute2 ip
need util-linux unshare
need curl curl
need ca-certificates /etc/ssl/certs/ca-certificates.crt
need iputils-ping ping
need wireguard-tools wg-quick
need wireguard-go wireguard-go                     # stock client where the kernel has none
need openssh-client ssh
need openssh-server sshd
need postgresql '/usr/lib/postgresql/*/bin/initdb'
need postgresql-client psql
need nginx-light nginx
need python3-scapy /usr/lib/python3/dist-packages/scapy   # hostile packets
rotel="${CARGO_TARGET_DIR:-target}/${PROFILE:-debug}/rotel"     # an OTLP collector, from PyPI
mock="${CARGO_TARGET_DIR:-target}/${PROFILE:-debug}/provider-mock"   # a second OpenID provider, from PyPI
[ -x "$rotel/bin/python3" ] && [ -x "$mock/bin/python3" ] || /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
need nodejs node                                   # starts npm; the tests' Node.js is one of its packages
need npm npm
need chromium chromium google-chrome-stable
need fonts-dejavu-core '/usr/share/fonts/truetype/*'
need libnss3-tools certutil
need libfaketime '/usr/lib/*/faketime/libfaketimeMT.so.1'
[ "${1:-}" != fuzz ] || need g++ c++                # libFuzzer comes as C++ source

if [ ${#missing[@]} -gt 0 ]; then
  if [[ " ${missing[*]} " = *" chromium "* ]] && grep -qsx ID=ubuntu /etc/os-release; then
    stop "Ubuntu's Chromium is a snap, which tests cannot drive in a namespace; install google-chrome-stable, then run this again"
  fi
  command -v apt-get >/dev/null || stop "no apt-get here; install by hand: ${missing[*]}"
  echo "set-up: installing ${missing[*]}"
  # policy-rc.d answers 101, "not allowed", to every package that would start its server
  # (invoke-rc.d(8)); what was not enabled before is not enabled after.
  # shellcheck disable=SC2016
  as_root env DEBIAN_FRONTEND=noninteractive sh -euc '
    quiet=/usr/sbin/policy-rc.d
    if [ ! -e $quiet ]; then
      trap "rm -f $quiet" EXIT
      printf "#!/bin/sh\nexit 101\n" >$quiet && chmod 0755 $quiet
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    for package; do
      case $package in nginx-light) units=nginx;; postgresql) units=postgresql;; nftables) units=nftables;;
        openssh-server) units="ssh.service ssh.socket";; *) continue;; esac
      if [ -d /run/systemd/system ]; then systemctl disable --quiet $units 2>/dev/null || true; fi
    done' set-up "${missing[@]}"
fi

# openresolv writes the test devices' resolv.conf, as wg-quick wants it. Installed, it would replace
# systemd-resolved; so it is unpacked beside the binaries, where only the tests look.
tools="${CARGO_TARGET_DIR:-target}/${PROFILE:-debug}/openresolv"
if [ ! -x "$tools/sbin/resolvconf" ]; then
  echo "set-up: unpacking openresolv into $tools"
  mkdir -p "$tools"
  tools=$(cd "$tools" && pwd)
  (
    cd "$tools"
    apt-get download -qq openresolv 2>/dev/null || { as_root apt-get update -qq && apt-get download -qq openresolv; }
    dpkg-deb --extract ./openresolv_*.deb .
    rm ./openresolv_*.deb
    library=$(find . -path '*/resolvconf/libc' -type f | head -n 1)
    [ -n "$library" ] || stop "this openresolv has no libc subscriber: $tools"
    [ -d sbin ] || ln -s usr/sbin sbin
    sed -i "s|^LIBEXECDIR=.*|LIBEXECDIR=\${0%/sbin/resolvconf}/$(dirname "${library#./}")|" sbin/resolvconf
  )
fi

# What the audit log's heads are sent to in tests.
if ! compgen -G "$rotel/lib/python3*/site-packages/rotel/rotel-agent" >/dev/null; then
  echo "set-up: installing rotel into $rotel"
  python3 -m venv "$rotel"
  "$rotel/bin/pip" install -q --disable-pip-version-check rotel==0.0.1a15
fi

# Real sign-ins: an OpenID provider, a driver for the browser and a Node.js that both are made for.
provider="${CARGO_TARGET_DIR:-target}/${PROFILE:-debug}/provider"
if ! cmp -s tests/provider/package-lock.json "$provider/installed"; then
  echo "set-up: installing the tests' provider into $provider"
  mkdir -p "$provider"
  cp tests/provider/package.json tests/provider/package-lock.json "$provider"
  npm ci --prefix "$provider" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
  cp tests/provider/package-lock.json "$provider/installed"
fi
if ! cmp -s tests/provider/requirements.txt "$mock/installed"; then
  echo "set-up: installing oidc-provider-mock into $mock"
  /usr/bin/python3 -m venv --clear "$mock"           # it runs as nobody, who may not enter a home
  "$mock/bin/pip" install -q --disable-pip-version-check -r tests/provider/requirements.txt
  cp tests/provider/requirements.txt "$mock/installed"
fi

# --- the kernel ------------------------------------------------------------------------------------
if [ ! -c /dev/net/tun ]; then
  as_root sh -c 'modprobe tun 2>/dev/null || true; [ -c /dev/net/tun ] || { mkdir -p /dev/net && mknod /dev/net/tun c 10 200; }'
fi
# 0666 is what udev gives it: opening it grants nothing without rights in a network namespace.
[ "$(stat -c %a /dev/net/tun)" = 666 ] || as_root chmod 0666 /dev/net/tun

as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(setpriv --reuid 64990 --regid 64990 --clear-groups)
if ! (cd / && "${as_nobody[@]}" unshare --user --map-root-user --net true) 2>/dev/null; then
  remedies=()
  must() { # setting, comparison, bound, a value that will do; settings this kernel lacks forbid nothing
    local now
    now=$(sysctl -n "$1" 2>/dev/null) || return 0
    [ "$now" "$2" "$3" ] || remedies+=("  sudo sysctl -w $1=$4")
  }
  must kernel.apparmor_restrict_unprivileged_userns -eq 0 0
  must kernel.unprivileged_userns_clone -eq 1 1
  must user.max_user_namespaces -gt 0 10000
  must user.max_net_namespaces -gt 0 10000
  [ ${#remedies[@]} -gt 0 ] || remedies=("  (no setting: a chroot, where it never works, or a container: start it with" \
    "   --security-opt seccomp=unconfined --security-opt apparmor=unconfined --device /dev/net/tun)")
  stop "unprivileged users may not make namespaces here; the remedy:" "${remedies[@]}"
fi

# --- Rust ------------------------------------------------------------------------------------------
command -v cargo >/dev/null || stop "Rust is missing; get it from https://rustup.rs:" \
  "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt"
