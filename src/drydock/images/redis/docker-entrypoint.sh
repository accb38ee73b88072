#!/bin/sh
# Start redis-server as the user redis with what follows; run any other command as it is.
set -eu

REDIS_UID=999
REDIS_GID=1000

become_redis() {
    # -h: a link in the data folder changes hands itself, never what it points to.
    find /data ! -user "$REDIS_UID" -exec chown -h "$REDIS_UID" {} +
    export HOME=/home/redis
    exec setpriv --reuid="$REDIS_UID" --regid="$REDIS_GID" --clear-groups "$0" "$@"
}

# The official server is compiled with protected mode off, this one with it on: it is switched off unless the
# configuration may have a word on it. An argument wins over a file, so one that includes others stays untouched, and so
# does standard input, which can be read only once: Redis's own default is the safe one, and a password ends it as well.
leaves_protection_open() {
    for word in "$@"; do
        case $word in
            - | --protected-mode | -v | --version | -h | --help | --test-memory | --sentinel) return 1 ;;
        esac
    done
    case ${1:-} in
        '' | -*) return 0 ;;
    esac
    ! grep -Eiq '^[[:space:]]*(protected-mode|include)[[:space:]]' "$1"
}

serve() {
    shift
    # Dumps and append-only files are nobody else's to read.
    [ "$(umask)" != 0022 ] || umask 0077
    if leaves_protection_open "$@"; then
        set -- "$@" --protected-mode no
    fi
    exec redis-server "$@"
}

case ${1:-} in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "${1:-}" = redis-server ]; then
    [ "$(id -u)" != 0 ] || become_redis "$@"
    serve "$@"
fi
exec "$@"
