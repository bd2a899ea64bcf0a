#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes a Debian package of what `make install` installs. Run by `make deb`.
#
#   packaging/deb/build.sh VERSION OUTPUT-DIRECTORY
set -eu

version=$1 out=$2
here=packaging/deb
arch=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

umask 022
make --no-print-directory install DESTDIR="$root" PREFIX=/usr >/dev/null
strip --remove-section=.comment --remove-section=.note "$root/usr/bin/refractium"
install -Dm644 refractium.lua "$root/etc/refractium/refractium.lua"

doc=$root/usr/share/doc/refractium
rm "$doc/LICENSE" "$doc/refractium.lua"
gzip -9n "$root"/usr/share/man/man*/*
{
    echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
    echo "Upstream-Name: refractium"
    echo
    echo "Files: *"
    echo "Copyright: $(sed -n 's/^Copyright (c) //p' LICENSE)"
    echo "License: Expat"
    sed -n '/^Permission/,$p' LICENSE | sed 's/^$/./; s/^/ /'
} >"$doc/copyright"
{
    echo "refractium ($version) unstable; urgency=medium"
    echo
    echo "  * What changed is in CHANGELOG.md."
    echo
    echo " -- The Refractium authors <refractium@localhost.localdomain>  $(date -uR -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"
install -m644 CHANGELOG.md "$doc/"

# What it needs, by the libraries it is linked with. dpkg-shlibdeps wants a source package around it.
mkdir -p "$work/debian" "$root/DEBIAN"
printf 'Source: refractium\n\nPackage: refractium\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O root/usr/bin/refractium 2>/dev/null | sed 's/^shlibs:Depends=//')
size=$(du -k -s --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" -e "s/@DEPENDS@/$depends/" \
    "$here/control.in" >"$root/DEBIAN/control"
echo /etc/refractium/refractium.lua >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -exec md5sum {} + | sort -k2 >DEBIAN/md5sums)

mkdir -p "$out"
dpkg-deb --root-owner-group --build "$root" "$out/refractium_${version}_$arch.deb" >/dev/null
echo "$out/refractium_${version}_$arch.deb"
