#!/bin/sh
# Builds the container image with buildah, without a daemon: build.sh ROOT PROGRAMS IMAGE
#
# ROOT is a directory with a Debian system of the smallest kind that has curl and ca-certificates (`cargo xtask image` makes one with
# debootstrap), PROGRAMS the directory of registry, replicator and admin. Needs root, or `buildah unshare` around it. Arguments for every
# buildah command, such as --root, may be in BUILDAH_ARGUMENTS. The image has two layers, so that an upgrade carries the programs only.
set -eu

if [ "$#" -ne 3 ]; then
    echo "usage: build.sh ROOT PROGRAMS IMAGE" >&2
    exit 2
fi
root=$1
programs=$2
image=$3
here=$(dirname "$(readlink -f "$0")")

buildah() {
    # They are words, to be split.
    # shellcheck disable=SC2086
    command buildah ${BUILDAH_ARGUMENTS:-} "$@"
}

commit() {
    if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
        set -- --timestamp "$SOURCE_DATE_EPOCH" "$@"
    fi
    buildah commit --quiet --rm --format "${IMAGE_FORMAT:-oci}" "$@" >/dev/null
}

container=
trap '[ -z "$container" ] || buildah rm "$container" >/dev/null' EXIT

# The system, without what nobody reads in a container, and without a program that gives anybody other rights.
container=$(buildah from scratch)
mounted=$(buildah mount "$container")
cp -a "$root/." "$mounted/"
rm -rf "$mounted/debootstrap" "$mounted"/usr/share/doc/* "$mounted"/usr/share/man/* "$mounted"/usr/share/locale/* \
    "$mounted"/var/lib/apt/lists/* "$mounted"/var/cache/apt/* "$mounted"/var/cache/debconf/* "$mounted"/var/log/* "$mounted"/dev/*
find "$mounted" -xdev -type f -perm /6000 -exec chmod a-s {} +
echo 'roadstead:x:1001:0:Roadstead:/quay-registry:/bin/bash' >>"$mounted/etc/passwd"
# The places of Quay's image. Group 0 may do what the user may: OpenShift takes any user, always of that group.
mkdir -p "$mounted/quay-registry/conf/stack" "$mounted/datastorage/registry" "$mounted/run/secrets"
ln -s /quay-registry/conf "$mounted/conf"
chown -R 1001:0 "$mounted/quay-registry" "$mounted/datastorage"
chmod -R g=u "$mounted/quay-registry" "$mounted/datastorage"
chmod 1777 "$mounted/tmp"
buildah umount "$container" >/dev/null
commit "$container" "$image-base"
container=

container=$(buildah from --pull-never "$image-base")
mounted=$(buildah mount "$container")
for program in registry replicator admin; do
    install -m 0755 "$programs/$program" "$mounted/usr/bin/$program"
    strip --strip-debug "$mounted/usr/bin/$program"
done
install -m 0755 "$here/quay-entrypoint.sh" "$mounted/quay-registry/quay-entrypoint.sh"
install -m 0755 "$here/scl" "$here/python" "$mounted/usr/bin/"
ln -s python "$mounted/usr/bin/python3"
buildah umount "$container" >/dev/null
buildah config \
    --user 1001 \
    --workingdir /datastorage \
    --entrypoint '["/quay-registry/quay-entrypoint.sh"]' \
    --cmd registry \
    --port 8080/tcp --port 8443/tcp --port 7443/tcp --port 9091/tcp \
    --volume /datastorage --volume /tmp --volume /conf/stack \
    --stop-signal SIGTERM \
    --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env HOME=/quay-registry \
    --env QUAYCONF=/quay-registry/conf \
    --env ROADSTEAD_LISTEN=0.0.0.0:8080 \
    --env ROADSTEAD_METRICS_LISTEN=0.0.0.0:9091 \
    --env MALLOC_TRIM_THRESHOLD_=131072 \
    --label org.opencontainers.image.title=Roadstead \
    --label org.opencontainers.image.description="A geo-replicated OCI container registry" \
    --label org.opencontainers.image.licenses=Apache-2.0 \
    --label org.opencontainers.image.version="$("$programs/registry" --version | cut -d ' ' -f 2)" \
    "$container"
commit "$container" "$image"
container=
buildah rmi "$image-base" >/dev/null 2>&1 || true
