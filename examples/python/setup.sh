#!/usr/bin/env bash
# Makes the virtual environment of the examples: setup.sh [DIR], by default .venv beside this file.
# Does nothing where it is made already from the same requirements and the same proto files.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
proto=$here/../../proto
venv=${1:-$here/.venv}
protos=("$proto"/assent/v1/*.proto)

wanted=$(python3 --version; cat "$here/setup.sh" "$here/requirements.txt" "${protos[@]}" | sha256sum)
stamp=$venv/assent-stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed, $(python3 --version) was found" >&2
    exit 1
}
if [ -n "$(ls -A "$venv" 2>/dev/null)" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
    echo "$venv is not empty and no virtual environment: it is left alone" >&2
    exit 1
fi
rm -f "$stamp"
python3 -m venv --clear "$venv" || {
    echo "python3 -m venv does not work; on Debian: apt-get install python3-venv" >&2
    exit 1
}
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
mkdir -p "$venv/generated"
"$venv/bin/python" -m grpc_tools.protoc --proto_path "$proto" \
    --python_out "$venv/generated" --grpc_python_out "$venv/generated" "${protos[@]}"
echo "$wanted" >"$stamp"
