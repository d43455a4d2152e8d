# shellcheck shell=bash
# Getting what a broker needs: Debian packages by name, Maven artifacts by a small pom.

# is_there THING: a command's name, or a glob of a path.
is_there() {
  if [[ $1 == */* ]]; then
    compgen -G "$1" >/dev/null
  else
    command -v "$1" >/dev/null
  fi
}

# install_missing NAME...: each broker's `_needs` are words THING:PACKAGE.
install_missing() {
  local name need packages=()
  for name in "$@"; do
    for need in $("${name}_needs") setsid:util-linux flock:util-linux; do
      is_there "${need%:*}" || packages+=("${need#*:}")
    done
  done
  ((${#packages[@]} == 0)) || apt_install "${packages[@]}"
}

apt_install() {
  local root=() wanted
  wanted=$(printf '%s\n' "$@" | sort -u | tr '\n' ' ')
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "missing: $wanted; install them as root, for sudo is not here"
    root=(sudo)
  fi
  command -v apt-get >/dev/null || die "missing: $wanted (Debian's names); install them, for apt-get is not here"
  say "installing $wanted"
  mkdir -p "$RUN"
  (
    # Debian starts a service as it installs it; this says no for the time of the install.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
      trap '"${root[@]}" rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
      "${root[@]}" chmod 755 "$policy"
    fi
    "${root[@]}" apt-get update -qq
    # shellcheck disable=SC2086
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted
  ) </dev/null >"$RUN/install.log" 2>&1 || {
    tail -n 15 "$RUN/install.log" | sed 's/^/    /' >&2
    die "apt-get could not install $wanted; see $RUN/install.log"
  }
}

# into_cache FOLDER COMMAND...: runs the command in a fresh folder, which takes its name only when whole.
into_cache() {
  local target=$CACHE/$1 draft
  shift
  [[ ! -d $target ]] || return 0
  mkdir -p "$CACHE"
  draft=$(mktemp -d "$CACHE/draft.XXXXXX")
  if ! (cd "$draft" && "$@") >"$draft/download.log" 2>&1; then
    tail -n 15 "$draft/download.log" | sed 's/^/    /' >&2
    die "the download failed; see $draft/download.log"
  fi
  # Another checkout may have been faster: its copy is as good.
  mv -T "$draft" "$target" 2>/dev/null || rm -rf "$draft"
}

# maven_jars: the runtime jars of the pom on standard input, into ./libs. One Maven at a time, for two would
# write the same files of ~/.m2.
maven_jars() {
  cat >pom.xml
  flock "$CACHE/maven.lock" mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$PWD/libs"
}
