#!/bin/sh
# The workload: connects with the account in a file, as {"username": …, "password": …}, and does its work.
set -eu
PGUSER=$(jq -r .username "$1") PGPASSWORD=$(jq -r .password "$1")
export PGUSER PGPASSWORD
exec psql --no-password --command 'SELECT sum(amount) FROM payments'
