#!/usr/bin/env bash
# Unpacks Debian's rustc, its LLVM and its library source into target/ptx-rustc: a compiler for the kernels
# where rustup has no rust-src. Installs nothing and needs no root; `apt-get update` must have run once.
# Prints the path of the rustc to use. A second run finds the first one's work; delete the folder to refetch.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=${1:-$top/target/ptx-rustc}
least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$top/Cargo.toml")

fail() { printf '[ERROR] ptx-rustc: %s\nHint: %s\n' "$1" "$2" >&2; exit 1; }
works() { "$dest/rustc" -vV >/dev/null 2>&1; }

if works; then echo "$dest/rustc"; exit 0; fi
for tool in apt-cache apt-get dpkg dpkg-deb tar; do
    command -v "$tool" >/dev/null || fail "$tool is not here: this script is for Debian and its kin" \
        "elsewhere run 'rustup component add rust-src', or set NEMOTRON_PTX_RUSTC to a rustc with its library source"
done

version() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '^(none)$' || true; }
# The packages that `$1` needs, itself included, all the way down.
closure() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" |
        grep -E '^[a-z0-9]' | sort -u
}

# Debian's browsers need a newer Rust than the release has; that one is packaged beside it under names with -web.
packages=()
for pair in "rustc rust-src" "rustc-web rust-web-src"; do
    read -r compiler source <<<"$pair"
    found=$(version "$compiler")
    if [ -n "$found" ] && dpkg --compare-versions "$found" ge "$least"; then
        mapfile -t packages < <(closure "$compiler" | grep -E "^(${compiler}|libstd-rust-.*|libllvm[0-9].*)$")
        packages+=("$source")
        break
    fi
done
[ ${#packages[@]} -gt 0 ] || fail "apt knows no rustc from $least on" "run 'apt-get update' as root, then this script again"

unpack() {
    (cd "$dest/debs" && apt-get download "$@" >&2) || fail "apt-get could not download: $*" "run 'apt-get update' as root, then this script again"
    for deb in "$dest"/debs/*.deb; do
        # Of the source package only the library is wanted; the rest is 400 MB.
        case $deb in
            */rust-*src_*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dest" --wildcards --no-wildcards-match-slash './usr/src/*/library' './usr/lib/rustlib/src' ;;
            *) dpkg -x "$deb" "$dest" ;;
        esac
        rm "$deb"
    done
}

mkdir -p "$dest/debs"
unpack "${packages[@]}"

driver=$(echo "$dest"/usr/lib/*/librustc_driver-*.so)
libraries=$(dirname "$driver")
missing() { LD_LIBRARY_PATH=$libraries ldd "$driver" | grep -q 'not found'; }
if missing; then
    # The C library is never taken from elsewhere: a second one in the path would break every program.
    mapfile -t shared < <(for p in "${packages[@]}"; do closure "$p"; done | sort -u |
        grep -E '^lib' | grep -vE '^(libc6|libc-|libgcc|libstdc\+\+|libcrypt|libstd-rust|libllvm|lib.*-dev)')
    unpack "${shared[@]}"
fi
rm -r "$dest/debs"

cat >"$dest/rustc" <<'WRAPPER'
#!/bin/sh
# Runs the unpacked rustc with its own shared libraries.
here=$(dirname "$(readlink -f "$0")")
WRAPPER
printf 'LD_LIBRARY_PATH=$here/%s exec "$here/usr/bin/rustc" "$@"\n' "${libraries#"$dest"/}" >>"$dest/rustc"
chmod +x "$dest/rustc"

works || fail "the unpacked rustc does not run: $("$dest/rustc" -vV 2>&1 | head -1)" "delete $dest and set NEMOTRON_PTX_RUSTC to another rustc"
echo "$dest/rustc"
