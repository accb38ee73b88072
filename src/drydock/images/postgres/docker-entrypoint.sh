#!/bin/sh
# Start postgres as the user postgres, initialising an empty PGDATA first; run any other command as it is.
set -eu
# /bin/sh is bash in this image: a damaged archive must fail the pipe it is unpacked through.
# shellcheck disable=SC3040
set -o pipefail

POSTGRES_UID=999
POSTGRES_GID=999
SOCKETS=/var/run/postgresql
SCRIPTS=/docker-entrypoint-initdb.d

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# setting NAME DEFAULT: NAME from its variable or from the file that NAME_FILE names, then without NAME_FILE, because
# the file may be root's and this script runs a second time as postgres.
setting() {
    value='' file=''
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    [ -z "$value" ] || [ -z "$file" ] || fail "$1 and $1_FILE are both set: they exclude each other"
    [ -z "$file" ] || value=$(cat "$file")
    export "$1=${value:-$2}"
    unset "$1_FILE"
}

settings() {
    setting POSTGRES_PASSWORD ''
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS ''
    export POSTGRES_INITDB_WALDIR="${POSTGRES_INITDB_WALDIR:-}" POSTGRES_HOST_AUTH_METHOD="${POSTGRES_HOST_AUTH_METHOD:-}"
}

# Under --user none of the folders needs to be ours: initdb says which one it cannot use.
folders() {
    mkdir -p "$PGDATA" "$SOCKETS" ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"}
    chmod 0700 "$PGDATA" ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} 2> /dev/null || :
    chmod 3777 "$SOCKETS" 2> /dev/null || :
}

become_postgres() {
    for folder in "$PGDATA" "$SOCKETS" ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"}; do
        # -h: a link in the data folder changes hands itself, never what it points to.
        find "$folder" ! -user "$POSTGRES_UID" -exec chown -h "$POSTGRES_UID" {} +
    done
    export HOME=/var/lib/postgresql
    # By number: the user's name is not asked for, wherever /etc/passwd comes from.
    exec setpriv --reuid="$POSTGRES_UID" --regid="$POSTGRES_GID" --clear-groups "$0" postgres "$@"
}

check_password() {
    if [ "$POSTGRES_HOST_AUTH_METHOD" = trust ]; then
        echo 'warning: POSTGRES_HOST_AUTH_METHOD=trust lets anyone in who reaches the port, without a password' >&2
    elif [ -z "$POSTGRES_PASSWORD" ]; then
        fail 'the database is not initialised and has no superuser password: set POSTGRES_PASSWORD or' \
            'POSTGRES_PASSWORD_FILE (or POSTGRES_HOST_AUTH_METHOD=trust, for anyone to connect)'
    fi
}

# initdb asks for the name of its user, and under --user there may be none. It is given one in a file that only the
# C library in LD_LIBRARY_PATH reads: /etc/passwd would have to be writable to the server's user, who could then become
# root in the next `docker exec -u postgres`.
nameless() {
    if id -un > /dev/null 2>&1; then
        return 1
    fi
    printf 'postgres:x:%s:%s::%s:/bin/sh\n' "$(id -u)" "$(id -g)" "$HOME" > /dev/shm/pw
}

run_initdb() {
    eval "set -- $POSTGRES_INITDB_ARGS"
    [ -z "$POSTGRES_INITDB_WALDIR" ] || set -- --waldir="$POSTGRES_INITDB_WALDIR" "$@"
    printf '%s\n' "$POSTGRES_PASSWORD" | {
        if nameless; then
            export LD_LIBRARY_PATH=/usr/lib/drydock/passwd
        fi
        initdb --username="$POSTGRES_USER" --pwfile=/dev/stdin "$@"
    }
    rm -f /dev/shm/pw
}

# add_hba_line METHOD: replication is not among "all", which is why the official image's line does not cover it either.
add_hba_line() {
    printf '\nhost all all all %s\n' "$1" >> "$PGDATA/pg_hba.conf"
}

# Reached through the socket only, so that no client takes a server for ready which is about to stop.
start_temporary_server() {
    export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}" PGHOST="$SOCKETS"
    postgres "$@" -c listen_addresses= -c unix_socket_directories="$SOCKETS" -c port="${PGPORT:-5432}" &
    server=$!
    trap stop_temporary_server EXIT
    trap 'exit 130' INT TERM
    until pg_isready -q -U "$POSTGRES_USER" -d postgres; do
        kill -0 "$server" 2> /dev/null || fail 'the temporary server for the initialisation did not start'
        sleep 0.05
    done
}

stop_temporary_server() {
    trap - EXIT INT TERM
    kill -INT "$server" 2> /dev/null || :
    wait "$server"
    unset PGPASSWORD
}

# Initialisation scripts that are sourced know it by this name.
docker_process_sql() {
    psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password -U "$POSTGRES_USER" -d "$POSTGRES_DB" "$@"
}

create_database() {
    found=$(echo "SELECT 1 FROM pg_database WHERE datname = :'name'" |
        docker_process_sql -d postgres -v name="$POSTGRES_DB" -qAt)
    [ -n "$found" ] || echo 'CREATE DATABASE :"name"' | docker_process_sql -d postgres -v name="$POSTGRES_DB"
}

# unpack PROGRAM FILE
unpack() {
    command -v "$1" > /dev/null || fail "$2 needs $1, which this image does not have"
    "$1" -dc "$2"
}

run_shell_script() {
    if [ -x "$1" ]; then
        "$1"
        return
    fi
    # Scripts are written for a shell that takes an unset variable for an empty one.
    set +u
    # shellcheck disable=SC1090
    . "$1"
    set -u
}

run_scripts() {
    for script in "$SCRIPTS"/*; do
        [ -e "$script" ] || continue
        case $script in
            *.sh | *.sql | *.sql.gz | *.sql.xz | *.sql.zst) printf '%s: running %s\n' "$0" "$script" ;;
            *) printf '%s: ignoring %s\n' "$0" "$script" ;;
        esac
        case $script in
            *.sh) run_shell_script "$script" ;;
            *.sql) docker_process_sql -f "$script" ;;
            *.sql.gz) unpack gzip "$script" | docker_process_sql ;;
            *.sql.xz) unpack xz "$script" | docker_process_sql ;;
            *.sql.zst) unpack zstd "$script" | docker_process_sql ;;
        esac
    done
}

initialise() {
    check_password
    # Before initdb: a folder that cannot be read would leave a database that was never filled.
    ls "$SCRIPTS" > /dev/null
    run_initdb
    add_hba_line "${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption "$@")}"
    start_temporary_server "$@"
    create_database
    run_scripts
    stop_temporary_server
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

serve() {
    shift
    settings
    folders
    [ "$(id -u)" != 0 ] || become_postgres "$@"
    if [ -s "$PGDATA/PG_VERSION" ]; then
        printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    else
        initialise "$@"
    fi
    # Whoever may run a program on the server would read it in the environment.
    unset POSTGRES_PASSWORD
    # The wheel's own default; a folder that is configured stays.
    if [ "$(postgres -C unix_socket_directories "$@" 2> /dev/null)" = /tmp ]; then
        set -- -c unix_socket_directories="$SOCKETS" "$@"
    fi
    exec postgres "$@"
}

asks_for_help() {
    for word in "$@"; do
        case $word in
            '-?' | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

case ${1:-} in
    -*) set -- postgres "$@" ;;
esac
if [ "${1:-}" = postgres ] && ! asks_for_help "$@"; then
    serve "$@"
fi
exec "$@"
