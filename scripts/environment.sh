# Sourced by the scripts at the top: makes an environment from the requirements of this machine, unless it
# is there and current, and sets PYTHON to it. REQUIREMENTS=FILE chooses the file, EXTRA_REQUIREMENTS a
# second one, BASE_PYTHON=NAME the interpreter it is made with. Ends with status 69 where there is none.

if [[ -z ${REQUIREMENTS:-} ]]; then
  REQUIREMENTS=requirements.txt
  if compgen -G '/dev/accel[0-9]*' >/dev/null; then
    REQUIREMENTS=requirements-tpu.txt
  elif nvidia-smi -L >/dev/null 2>&1; then
    REQUIREMENTS=requirements-gpu.txt
  fi
fi
if [[ $REQUIREMENTS == requirements-addons.txt ]]; then  # beside the other, which it does not replace
  environment=.venv-addons bases="python3.11 python3.10 python3" first=10 last=11
else
  environment=.venv bases="python3 python3.12 python3.11 python3.13" first=11 last=13
fi

usable() {  # an interpreter of a version with wheels for everything, able to make environments
  "$1" -c "import ensurepip, sys, venv; sys.exit(not (3, $first) <= sys.version_info[:2] <= (3, $last))" \
    >/dev/null 2>&1
}

PYTHON=$environment/bin/python
stamp=$environment/installed.$REQUIREMENTS.${EXTRA_REQUIREMENTS:-}
wanted=$(cat requirements*.txt)
if [[ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]]; then
  if ! usable "$PYTHON"; then
    for base in ${BASE_PYTHON:-$bases}; do
      if usable "$base"; then break; fi
    done
    if ! usable "$base"; then
      echo "$REQUIREMENTS needs Python 3.$first to 3.$last with its venv module (on Debian and Ubuntu:" \
           "apt-get install python3-venv); BASE_PYTHON=NAME chooses one." >&2
      exit 69
    fi
    echo "setting up $environment with $("$base" --version)"
    rm -rf "$environment"
    "$base" -m venv "$environment"
    echo '*' >"$environment/.gitignore"  # as that of Python 3.13 does by itself
  fi
  echo "installing $REQUIREMENTS ${EXTRA_REQUIREMENTS:-} into $environment (a minute or two)"
  "$PYTHON" -m pip install --disable-pip-version-check -r "$REQUIREMENTS" \
    ${EXTRA_REQUIREMENTS:+-r "$EXTRA_REQUIREMENTS"}
  if [[ $REQUIREMENTS == requirements-tpu.txt ]]; then
    "$PYTHON" -m pip install --disable-pip-version-check --no-deps -r requirements-tpu-nodeps.txt
  fi
  # What has the extra has the plain set too.
  echo "$wanted" | tee "$environment/installed.$REQUIREMENTS." >"$stamp"
fi
