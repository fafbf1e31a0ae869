#!/bin/sh
# What the container does: the modes of Quay's entry point. The programs are executed, so that they are the process that signals reach.
set -eu

# Where Quay's image takes the client certificate for PostgreSQL from, under the names of PostgreSQL's own clients.
client_certificate() {
    directory=/run/secrets/postgresql
    [ ! -r "$directory/postgresql.crt" ] || export PGSSLCERT="${PGSSLCERT:-$directory/postgresql.crt}"
    [ ! -r "$directory/postgresql.key" ] || export PGSSLKEY="${PGSSLKEY:-$directory/postgresql.key}"
    [ ! -r "$directory/root.crt" ] || export PGSSLROOTCERT="${PGSSLROOTCERT:-$directory/root.crt}"
}

usage() {
    cat <<'EOF'
Usage: podman run [...] IMAGE [MODE] [ARGUMENTS]

  registry              serve, and bring the database's schema up to date first (what happens without a MODE)
  registry-nomigrate    serve once another container has brought the schema up to date
  migrate [head]        bring the schema up to date and end
  replicator            copy between locations, without serving
  admin ...             operate a registry: admin --help
  shell                 a shell
  help                  this text

Anything else is executed. QUAYENTRY in the environment is a MODE, too, and comes first. The configuration is expected in
/conf/stack/config.yaml; a registry without one is `registry --data-dir /datastorage`.
EOF
}

# As in Quay's image: the variable comes first, since the image always has an argument.
if [ -n "${QUAYENTRY:-}" ]; then
    mode=$QUAYENTRY
    case ${1:-} in
    registry | "$mode") shift ;;
    esac
    unset QUAYENTRY
else
    mode=${1:-registry}
    [ "$#" -eq 0 ] || shift
fi
client_certificate
case $mode in
registry) exec registry serve "$@" ;;
registry-nomigrate) exec registry registry-nomigrate "$@" ;;
migrate) exec registry migrate "${@:-${MIGRATION_VERSION:-head}}" ;;
shell) exec bash "$@" ;;
help) usage ;;
repomirror | repomirror-nomigrate)
    echo "error: this image does not mirror other registries: leave the mirroring to a container of Quay on the same configuration" >&2
    exit 2
    ;;
config)
    echo "error: there is no configuration editor in this image: edit config.yaml, and try it with \`admin config check /conf/stack\`" >&2
    exit 2
    ;;
*) exec "$mode" "$@" ;;
esac
