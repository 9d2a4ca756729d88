# What the chapters are told with: commands that are shown, and looked at.

steps=0
out='' err='' code=0

title() {
  printf '\n\n## %s\n' "$*"
}

say() {
  printf '\n%s\n' "$*"
}

# Runs a command, shows it with what it printed, and keeps `out`, `err`, `code`.
perform() {
  local shown=()
  for word in "${@:$((${#cli[@]} + 1))}"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then shown+=("$word"); else shown+=("'$word'"); fi
  done
  printf '\n$ %s %s\n' "$name" "${shown[*]}"
  steps=$((steps + 1))
  code=0
  "$@" > "$work/stdout" 2> "$work/stderr" < "${input:-/dev/null}" || code=$?
  # As a shell takes output: without the line breaks at its end.
  out=$(tr -d '\0' < "$work/stdout")
  err=$(tr -d '\0' < "$work/stderr")
  [ -z "$out" ] || printf '%s\n' "$out"
  [ -z "$err" ] || printf '%s\n' "$err"
}

# A command that succeeds.
play() {
  perform "${cli[@]}" "$@"
  [ "$code" = 0 ] || fault "it ended with $code"
}

# A command that ends with this code.
ends() {
  local wanted=$1
  shift
  perform "${cli[@]}" "$@"
  [ "$code" = "$wanted" ] || fault "it ended with $code instead of $wanted"
}

# The same with a text on standard input.
typed() {
  printf '%s' "$1" > "$work/stdin"
  shift
  input=$work/stdin "$@"
}

# Output that is exactly this.
is() {
  [ "$out" = "$1" ] || fault "it should have printed \`$1\`"
}

# Output with lines that match these extended expressions.
sees() {
  local wanted
  for wanted in "$@"; do
    grep -qE -- "$wanted" <<< "$out" || fault "no line of its output matches \`$wanted\`"
  done
}

sees_not() {
  ! grep -qE -- "$1" <<< "$out" || fault "a line of its output matches \`$1\`"
}

# An error or a hint that says this, whatever the letters' case.
hears() {
  grep -qiE -- "$1" <<< "$err" || fault "it does not say \`$1\`"
}

# Something that holds outside of the command.
holds() {
  "$@" || fault "\`$*\` does not hold"
}

# Waits until a command of the host succeeds.
until_it() {
  local left=400
  while ! "$@" > /dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || fault "it never came to \`$*\`"
    sleep 0.05
  done
}

fault() {
  printf '\nTHE STORY ENDS HERE: %s\n' "$*" >&2
  printf 'standard error was: %s\n' "$err" >&2
  exit 1
}

# A member of what `inspect` says.
member() {
  "${cli[@]}" inspect -f "$2" "$1"
}

# A port of the host that nobody listens on.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
  done
  echo "$port"
}

# What a web server of the host, or in a container, answers.
fetch() {
  timeout 20 busybox wget -q -O - "$1"
}

# Everything that the story made goes, also when it ended early.
tidy_up() {
  local status=$? ids
  close_terminal
  [ -z "${registry_pid:-}" ] || { kill "$registry_pid" && wait "$registry_pid"; } 2> /dev/null || true
  ids=$("${cli[@]}" ps -aq) || true
  # shellcheck disable=SC2086
  [ -z "$ids" ] || "${cli[@]}" rm -f $ids > /dev/null 2>&1 || true
  "${cli[@]}" system prune -a -f --volumes > /dev/null 2>&1 || true
  "${cli[@]}" volume prune -a -f > /dev/null 2>&1 || true
  rm -rf "$work"
  exit "$status"
}
