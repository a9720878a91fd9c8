#!/bin/sh
# The install steps of the image. Each is a call of its own, so that the dependencies keep their layer while only the
# source changes:
#   install.sh dependencies TARGET    a virtual environment with what runqueue and runqueue-server depend on
#   install.sh packages TARGET        both of them in it, built of this checkout in TARGET-build
# PYTHON names the interpreter (python3; 3.13 or later, with pip). Where files come from is said by pip's own variables.
set -eu
step=$1
target=$2
here=$(cd "$(dirname "$0")" && pwd)

into() { # ENVIRONMENT ARGUMENT...: pip, for an environment that has none
    environment=$1
    shift
    "${PYTHON:-python3}" -m pip --python "$environment/bin/python" "$@"
}

case $step in
dependencies)
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 13))' ||
        { echo "install.sh: PYTHON: expected Python 3.13 or later, which the locks are made for" >&2; exit 1; }
    for environment in "$target" "$target-build"; do
        "${PYTHON:-python3}" -m venv --without-pip "$environment"
    done
    into "$target" install --require-hashes --only-binary :all: --requirement "$here/requirements.lock"
    into "$target-build" install --require-hashes --only-binary :all: --requirement "$here/build.lock"
    ;;
packages)
    into "$target-build" wheel --no-build-isolation --no-index --no-deps --wheel-dir "$target-build/wheels" \
        "$here/../.." "$here/../../runqueue-server"
    into "$target" install --no-index --no-deps "$target-build"/wheels/*.whl
    into "$target" check
    ;;
*)
    echo "install.sh: $step: expected dependencies or packages" >&2
    exit 2
    ;;
esac
