#!/bin/sh
# Builds the Debian package with dpkg-deb: build.sh PROGRAMS DIRECTORY
#
# PROGRAMS is the directory of registry, replicator and admin; the package is written into DIRECTORY, and its path to standard output.
# Needs no root. Arguments for dpkg-deb, such as -Zgzip, may be in DPKG_DEB_ARGUMENTS.
set -eu

if [ "$#" -ne 2 ]; then
    echo "usage: build.sh PROGRAMS DIRECTORY" >&2
    exit 2
fi
programs=$1
directory=$2
here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../..")

version=$("$programs/registry" --version | cut -d ' ' -f 2)
architecture=$(dpkg --print-architecture)
# The oldest C library that has all that the programs ask for.
libc=$(for program in registry replicator admin; do objdump -T "$programs/$program"; done |
    sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -1)
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
chmod 0755 "$staged"

install -d "$staged/DEBIAN" "$staged/etc/default" "$staged/etc/roadstead" "$staged/usr/bin" "$staged/usr/lib/systemd/system" \
    "$staged/usr/share/doc/roadstead/examples"
# `registry`, `replicator` and `admin` are other people's words, too.
for program in registry replicator admin; do
    install -m 0755 "$programs/$program" "$staged/usr/bin/roadstead-$program"
    strip --strip-debug "$staged/usr/bin/roadstead-$program"
done
install -m 0644 "$project"/deploy/systemd/*.service "$staged/usr/lib/systemd/system/"
install -m 0644 "$here/default" "$staged/etc/default/roadstead"
install -m 0644 "$here/copyright" "$project"/docs/*.md "$staged/usr/share/doc/roadstead/"
gzip -9n <"$project/CHANGELOG.md" >"$staged/usr/share/doc/roadstead/changelog.gz"
install -m 0644 "$project/deploy/compose/config/config.yaml" "$staged/usr/share/doc/roadstead/examples/config.yaml"
cp -r "$project/deploy/haproxy" "$project/deploy/nginx" "$staged/usr/share/doc/roadstead/examples/"
install -m 0755 "$here/postinst" "$here/prerm" "$here/postrm" "$staged/DEBIAN/"
echo /etc/default/roadstead >"$staged/DEBIAN/conffiles"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@LIBC@/$libc/" \
    -e "s/@SIZE@/$(du -sk --exclude DEBIAN "$staged" | cut -f 1)/" "$here/control" >"$staged/DEBIAN/control"

package="$directory/roadstead_${version}_$architecture.deb"
# They are words, to be split.
# shellcheck disable=SC2086
dpkg-deb ${DPKG_DEB_ARGUMENTS:-} --root-owner-group --build "$staged" "$package" >/dev/null
echo "$package"
