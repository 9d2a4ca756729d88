#!/usr/bin/env bash
# Waits until the suite that started it has ended, however it did, and then puts away
# what is left of data roots: their containers, networks and files. The suite
# does that by itself, so there is something to do only when it was killed.
#
# guard.sh PROGRAM HOMES: the program under test, and the file in which the tests
# note their directories. Standard input ends with the suite.
set -u
program=$1 homes=$2
cat > /dev/null

while read -r home _; do
  case $home in */rbuild-test-*) ;; *) continue ;; esac
  [ -d "$home" ] || continue
  if [ -e "$home/data/index.sqlite" ]; then
    run=("$program" --root "$home/data" --run-root "$home/run")
    "${run[@]}" ps -aq | while read -r container; do
      "${run[@]}" rm -f -v "$container" < /dev/null
    done
    "${run[@]}" network prune -f
    "${run[@]}" system prune -f
  fi
  rm -rf "$home"
done < "$homes" > /dev/null 2>&1
