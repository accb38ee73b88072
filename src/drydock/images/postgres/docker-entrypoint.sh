#!/bin/sh
set -eu
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"; chmod 700 "$PGDATA"; find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
  [ -n "${POSTGRES_PASSWORD_FILE:-}" ] && POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") && export POSTGRES_PASSWORD && unset POSTGRES_PASSWORD_FILE
  exec setpriv --reuid postgres --regid postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/pw
  initdb -U "${POSTGRES_USER:-postgres}" --pwfile=/tmp/pw ${POSTGRES_INITDB_ARGS:-}
  PGPASSWORD=$POSTGRES_PASSWORD; export PGPASSWORD
  pg_ctl -D "$PGDATA" -w start -o "$(shift; printf "%s " "$@") -c listen_addresses='' -p 5432"
  for f in /docker-entrypoint-initdb.d/*; do case "$f" in *.sql) echo "running $f"; psql -v ON_ERROR_STOP=1 -U postgres -f "$f";; esac; done
  pg_ctl -D "$PGDATA" -m fast -w stop
  echo "PostgreSQL init process complete; ready for start up."
fi
exec "$@"
