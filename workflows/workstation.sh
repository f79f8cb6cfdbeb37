#!/usr/bin/env bash
# A whole archive on one machine: check, run, try failed slides once more, script for QuPath.
#
#   workflows/workstation.sh ARCHIVE OUT [JOB.toml]
#
# ARCHIVE: a folder, a glob in quotes or a list. Start it again after an interruption: it goes on.
# Exit code: that of the last run; 0 only if every slide is whole.
set -uo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
archive=$1
out=$2
job=${3:-$(dirname "$0")/nuclei-he.toml}
mkdir -p "$out"

# Odd and unreadable slides are told before the night begins; the others run all the same.
wsiseg check "$archive" -o "$out/check.csv"

wsiseg run "$archive" --job "$job" -o "$out"
code=$?
if [ "$code" -eq 1 ]; then
    # What failed for want of memory, or because storage was away, may pass now.
    wsiseg run "$archive" --job "$job" -o "$out" --retry-failed
    code=$?
fi

wsiseg qupath "$out"
exit "$code"
