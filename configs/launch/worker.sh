#!/bin/sh
# One worker of several: sets TF_CONFIG, and runs a command.
#
#     worker.sh INDEX HOST0:PORT,HOST1:PORT,... -- COMMAND...
set -eu
if [ $# -lt 4 ] || [ "$3" != -- ]; then
  echo "Usage: worker.sh INDEX HOST0:PORT,HOST1:PORT,... -- COMMAND..." >&2
  exit 2
fi
addresses=$(printf '%s' "$2" | sed 's/,/", "/g')
TF_CONFIG="{\"cluster\": {\"worker\": [\"$addresses\"]}, \"task\": {\"type\": \"worker\", \"index\": $1}}"
export TF_CONFIG
shift 3
exec "$@"
