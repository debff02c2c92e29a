# Set-up shared by ./run and ./test, which source it: after it, $venv holds the project and all that
# it needs. The first time takes minutes, the next a fraction of a second. Nothing is asked.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.complete  # says for which pins and which folder the environment is complete
unfinished=$venv/.unfinished

say() { echo "set-up: $*" >&2; }

# Print the first Python 3.11 or 3.12 that really runs (a pyenv shim may exist and not run), or the
# one that PYTHON names.
find_python() {
  local candidate installed=${PYENV_ROOT:-$HOME/.pyenv}/versions
  local candidates=("${PYTHON:-}")
  [[ -n ${PYTHON:-} ]] || candidates=(
    $(type -ap python3.11 python3.12 python3 python)
    "$installed"/3.11*/bin/python3.11 "$installed"/3.12*/bin/python3.12
  )
  for candidate in "${candidates[@]}"; do
    if [[ $(version "$candidate") == 3.1[12] ]]; then
      echo "$candidate"
      return
    fi
  done
  if [[ -n ${PYTHON:-} ]]; then
    say "PYTHON=$PYTHON is no Python 3.11 or 3.12; name one, or none to have it found"
  else
    say "Python 3.11 or 3.12 is needed and was not found; install one (apt-get install python3" \
      "python3-venv, or pyenv install 3.12) and start again"
  fi
  return 2
}

# Print the version of a Python, such as 3.12; nothing if it does not run.
version() { "$1" -c 'import sysconfig; print(sysconfig.get_python_version())' 2>/dev/null || true; }

# Say so, and fail, if PYTHON names another Python than the one that the environment was made with.
require_same_python() {
  [[ -n ${PYTHON:-} ]] || return 0
  local ours
  ours=$(version "$venv/bin/python")
  [[ $(version "$PYTHON") != "$ours" ]] || return 0
  say "PYTHON=$PYTHON, but .venv/ has Python $ours; remove .venv/ to have it made anew"
  return 2
}

# Name the Debian packages that are missing: GL to render without a screen, what OpenCV loads, a
# compiler for evdev, which robosuite's keyboard support pulls in and which comes as source only, and
# for the tests a browser.
missing_packages() {
  local libraries
  libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null) || return 0  # no Linux
  has() { [[ $libraries == *"$1"* ]]; }
  { has libEGL.so.1 && { has libEGL_mesa.so || has libEGL_nvidia.so; }; } || has libOSMesa.so ||
    echo libegl1 libgl1-mesa-dri libosmesa6
  has libGL.so.1 || echo libgl1
  has libgthread-2.0.so.0 || echo libglib2.0-0
  [[ -z ${for_tests:-} ]] || command -v chromium chromium-browser >/dev/null || echo chromium
  if [[ ! -e $stamp ]]; then
    command -v cc >/dev/null && [[ -e /usr/include/linux/input.h ]] || echo gcc libc6-dev
    [[ -e $(python_headers) ]] || echo "python$(version "$python")-dev"
  fi
}

python_headers() {
  "$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")'
}

# Install Debian packages if that is possible without asking; else say what to type, and go on.
install_packages() {
  local sudo=() available=() package
  if [[ $(id -u) != 0 ]]; then
    sudo=(sudo -n)
    sudo -n true 2>/dev/null || { advise "$@"; return 0; }
  fi
  command -v apt-get >/dev/null || { advise "$@"; return 0; }
  say "installing $*"
  "${sudo[@]}" apt-get update -qq >&2 || true  # an old list may do
  for package; do  # newer systems have no libosmesa6, and do not need it
    apt-cache show "$package" >/dev/null 2>&1 && available+=("$package")
  done
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${available[@]}" >/dev/null || advise "$@"
}

advise() {
  say "system packages are missing, and may not be installed from here; some things will not work. Type:"
  say "  sudo apt-get update && sudo apt-get install --no-install-recommends $*"
}

# Print what the environment must have been made for.
wanted() { cat "$root/pyproject.toml" "$root/constraints.txt" <(echo "$root") | cksum; }

make_environment() {
  # One that was interrupted may hold half a package: begin again (pip's own cache makes that cheap).
  [[ -e $unfinished ]] && rm -rf "$venv"
  say "making .venv, once; this takes some minutes"
  [[ -x $venv/bin/python ]] || new_environment
  touch "$unfinished"
  rm -f "$stamp"
  # torch first and exactly: asked for as a range, pip takes gigabytes of CUDA packages.
  pip_install "$(grep '^torch==' "$root/constraints.txt")"
  # (metaworld may be there already, and is not content with our mujoco: no warning.)
  pip_install --no-warn-conflicts -c "$root/constraints.txt" -e "$root[dev]"
  install_metaworld
  wanted >"$stamp"
  rm "$unfinished"
  say "done"
}

# Meta-World pins another mujoco, but runs on ours: it can be no dependency. Little needs it, so go
# on without, where it is not to be had.
install_metaworld() {
  local pin
  pin=$(grep '^metaworld==' "$root/constraints.txt")
  pip_install --no-deps "$pin" && return
  say "Meta-World was not installed, and its tests are skipped. To try again, type:"
  say "  $venv/bin/python -m pip install --no-deps $pin"
}

# Debian's Python may come without ensurepip: then its own pip serves the environment.
new_environment() {
  mkdir -p "$venv" && touch "$unfinished"
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$venv"
  else
    "$python" -m venv --without-pip "$venv"
    "$python" -m pip --python "$venv/bin/python" install -q pip
  fi
}

pip_install() { "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@" >&2; }

is_complete() { [[ -e $stamp && $(<"$stamp") == $(wanted) ]]; }

set_up() {
  local packages
  [[ -e $unfinished || ! -x $venv/bin/python ]] || require_same_python
  if is_complete; then
    packages=$(missing_packages)
    [[ -z $packages ]] || advise $packages
    return 0
  fi
  exec 9<"$root/tools/setup.sh"  # two at once: the second waits, and finds it done
  ! command -v flock >/dev/null || flock 9
  if ! is_complete; then
    python=$(find_python)
    packages=$(missing_packages)
    [[ -z $packages ]] || install_packages $packages
    make_environment
  fi
  exec 9<&-
}

set_up
