# Sourced by the scripts at the top: makes .venv from the requirements of this machine, unless it is
# there and current, and sets PYTHON to it. REQUIREMENTS=FILE chooses the file, EXTRA_REQUIREMENTS a
# second one, BASE_PYTHON=NAME the interpreter it is made with.

usable() {  # an interpreter of a version with wheels for everything, able to make environments
  "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
    >/dev/null 2>&1
}

if [[ -z ${REQUIREMENTS:-} ]]; then
  REQUIREMENTS=requirements.txt
  if compgen -G '/dev/accel[0-9]*' >/dev/null; then
    REQUIREMENTS=requirements-tpu.txt
  elif nvidia-smi -L >/dev/null 2>&1; then
    REQUIREMENTS=requirements-gpu.txt
  fi
fi

PYTHON=.venv/bin/python
stamp=.venv/installed.$REQUIREMENTS.${EXTRA_REQUIREMENTS:-}
wanted=$(cat requirements*.txt)
if [[ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]]; then
  if ! usable "$PYTHON"; then
    for base in ${BASE_PYTHON:-python3 python3.12 python3.11 python3.13}; do
      if usable "$base"; then break; fi
    done
    if ! usable "$base"; then
      echo "Python 3.11, 3.12 or 3.13 with the venv module is needed (on Debian and Ubuntu:" \
           "apt-get install python3 python3-venv); BASE_PYTHON=NAME chooses one." >&2
      exit 1
    fi
    echo "setting up .venv with $("$base" --version)"
    rm -rf .venv
    "$base" -m venv .venv
  fi
  echo "installing $REQUIREMENTS ${EXTRA_REQUIREMENTS:-} into .venv (a minute or two)"
  "$PYTHON" -m pip install --disable-pip-version-check -r "$REQUIREMENTS" \
    ${EXTRA_REQUIREMENTS:+-r "$EXTRA_REQUIREMENTS"}
  if [[ $REQUIREMENTS == requirements-tpu.txt ]]; then
    "$PYTHON" -m pip install --disable-pip-version-check --no-deps -r requirements-tpu-nodeps.txt
  fi
  # What has the extra has the plain set too.
  echo "$wanted" | tee ".venv/installed.$REQUIREMENTS." >"$stamp"
fi
