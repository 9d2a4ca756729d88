# Somebody who sits at a terminal: `script` of util-linux makes it, and what is
# typed comes once the text before it is there.

terminal_pid=''
typescript=''

# Starts a command on a terminal.
on_terminal() {
  local words
  printf '\n$ %s %s\n' "$name" "$*"
  steps=$((steps + 1))
  printf -v words '%q ' "${cli[@]}" "$@"
  rm -f "$work/keys"
  mkfifo "$work/keys"
  typescript=$work/typescript
  : > "$typescript"
  script -qefc "stty rows 24 cols 100; exec $words" "$typescript" < "$work/keys" > /dev/null 2>&1 &
  terminal_pid=$!
  # Kept open, or the first line would be the last.
  exec 7> "$work/keys"
  seen=0
}

# Waits until the terminal shows this, after what was waited for before.
appears() {
  local left=400 rest
  while :; do
    rest=$(tail -c +$((seen + 1)) "$typescript" | tr -d '\0')
    ! grep -qE -- "$1" <<< "$rest" || break
    left=$((left - 1))
    if [ $left = 0 ] || ! kill -0 "$terminal_pid" 2> /dev/null; then
      fault "the terminal never showed \`$1\`, but: $rest"
    fi
    sleep 0.05
  done
  printf '%s\n' "$rest" | tr -d '\r'
  seen=$(stat -c %s "$typescript")
}

# Types, as it is to `printf`.
types() {
  # shellcheck disable=SC2059
  printf "$1" >&7
}

# Waits for the end of the command, which has this exit code.
leaves_with() {
  local ended=0
  wait "$terminal_pid" || ended=$?
  terminal_pid=''
  exec 7>&-
  [ "$ended" = "$1" ] || fault "it ended with $ended instead of $1: $(tail -c 500 "$typescript")"
}

close_terminal() {
  [ -n "$terminal_pid" ] || return 0
  kill "$terminal_pid" 2> /dev/null || true
  terminal_pid=''
}
