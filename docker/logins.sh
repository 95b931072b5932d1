#!/bin/sh
# Runs once, when the database is made: the login of the server, which may act as cairn_app and as nobody else.
set -eu
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --set=password="$POSTGRES_SERVER_PASSWORD" <<'SQL'
CREATE ROLE cairn_app NOLOGIN;
CREATE ROLE cairn LOGIN PASSWORD :'password' IN ROLE cairn_app;
SQL
