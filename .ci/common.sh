# Shared by run and matrix, which source it from the repository's root.

# The test command of README.md, in this one place.
TEST_COMMAND=(pytest -n 2)

heading() { printf '\n=== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# usable PYTHON [MINOR]: whether it runs, can make an environment, and is 3.11 or newer (or exactly 3.MINOR).
# It is run, not only looked up: a version manager's shim exists on PATH for versions that are switched off.
usable() {
    "$1" - "${2:-}" >/dev/null 2>&1 <<'PYTHON'
import ensurepip, sys, venv
minor = sys.argv[1]
sys.exit(not (sys.version_info[:2] == (3, int(minor)) if minor else sys.version_info[:2] >= (3, 11)))
PYTHON
}

# install PYTHON FOLDER [PIP OPTIONS]: makes an environment there, with plait (editable) and all that its tests need, and
# activates it.
install() {
    heading "Installing for $("$1" --version) in a new environment"
    "$1" -m venv --clear "$2"
    # shellcheck disable=SC1091  # the file does not exist before this runs
    source "$2/bin/activate"
    python -m pip install --quiet --disable-pip-version-check --editable '.[test]' "${@:3}"
    install_recipes "$2"
    python -m pip list --disable-pip-version-check 2>/dev/null |
        grep -E '^(arviz|blackjax|jax|jaxlib|numpyro) ' || true
}

# install_recipes FOLDER: the packages of docs/samplers.md's recipes, as far as they install beside what is there.
install_recipes() {
    python -m pip freeze --disable-pip-version-check --exclude-editable 2>/dev/null >"$1/installed.txt"
    local package
    while read -r package; do
        python -m pip install --quiet --disable-pip-version-check --constraint "$1/installed.txt" "$package" ||
            echo "does not install, so that its recipe is not run: $package"
    done < <(python -c 'import tomllib; [print(p) for p in
        tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["recipes"]]')
}

# install_chromium: the browser in which pictures and the explorer's page are tested, where the machine has none.
install_chromium() {
    [[ -n "${PLAIT_CHROMIUM:-}" ]] || command -v chromium chromium-browser google-chrome >/dev/null && return
    heading "Installing Chromium"
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -qq -y chromium; } >/dev/null ||
        echo "Chromium does not install: the tests that need it will say how to get it"
}

# build_page: the explorer's page from its sources, which has to be the one that is committed; and what its tests need.
build_page() {
    heading "Explorer: npm ci, types, build"
    command -v npm >/dev/null || die "npm is not on PATH: the explorer's page is built with node 20 or newer"
    (cd explorer && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check && npm run --silent build)
    git diff --exit-code --stat -- runtime/explore/page.html || die "runtime/explore/page.html is not what explorer/ builds"
}

run_tests() {
    heading "Tests: ${TEST_COMMAND[*]}"
    "${TEST_COMMAND[@]}"
}
