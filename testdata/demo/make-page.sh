#!/bin/sh
# Makes a page of the title in $1 and of the lines on standard input.
set -eu
echo "<!doctype html><title>$1</title><h1>$1</h1><ul>"
while IFS= read -r line; do
  echo "<li>$line</li>"
done
echo "</ul>"
