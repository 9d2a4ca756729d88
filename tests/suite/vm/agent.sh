#!/bin/sh
# Does what it is told over the second serial line of the virtual machine, one
# script after the other, and answers with the code and the output of each.
line=/dev/ttyS1
stty -F "$line" raw -echo 115200
exec 3<> "$line"
echo ready >&3
while IFS= read -r order <&3; do
  echo "$order" | base64 -d > /tmp/order
  timeout -s KILL 120 sh /tmp/order < /dev/null > /tmp/stdout 2> /tmp/stderr
  code=$?
  echo "$code $(base64 -w 0 /tmp/stdout) $(base64 -w 0 /tmp/stderr)" >&3
done
