title "Inside: programs, variables, limits"

play run -d --name box -e COLOUR=blue -e PLACE=here -h boxhost --cpus=.5 --memory=100m busybox sleep 1000
box=$out
play exec box cat /etc/hosts
sees '^127.0.0.1\s+localhost' 'boxhost'
play exec -e MORE=1 -w /tmp box sh -c 'pwd; echo $COLOUR $MORE'
is "$(printf '/tmp\nblue 1')"
ends 7 exec box sh -c 'exit 7'
ends 127 exec box nosuch
play exec -d box touch /tmp/made
until_it "${cli[@]}" exec box test -e /tmp/made
on_terminal exec -it box sh
appears '# '
types 'stty size; exit\n'
appears '24 100'
leaves_with 0

say 'One process, two numbers: its own in the container, another on the host.'
play exec box ps
sees '^ *1 +root .*sleep 1000'
play inspect -f '{{.State.Pid}}' box
pid=$out
holds [ "$pid" -gt 1 ]
holds grep -qE "^NSpid:.*$pid.*\b1$" "/proc/$pid/status"
play top box
sees '^UID +PID +PPID +C +STIME +TTY +TIME +CMD' "^root +$pid .*sleep 1000$"

say 'What inspect knows.'
play inspect box
sees "\"Id\": \"$box\"" '"IPAddress": "[0-9.]+"' '"COLOUR=blue"' '"Status": "running"' '"Memory": 104857600' '"NanoCpus": 500000000'
play inspect -f '{{.NetworkSettings.IPAddress}}' box
sees '^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$'
play inspect -f '{{range .Config.Env}}{{println .}}{{end}}' box
sees '^COLOUR=blue$' '^PLACE=here$' '^PATH=/usr/local/sbin:'

say 'The limits, as the kernel has them.'
# The file of a controller in the group of the process, by version.
limit() {
  local path
  path=$(sed -n "s/^[0-9]*:\([^:]*,\)\?$1\(,[^:]*\)\?://p" "/proc/$pid/cgroup")
  if [ -n "$path" ]; then
    cat "/sys/fs/cgroup/$1$path/$2"
  else
    cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")/$3"
  fi
}
limit memory memory.limit_in_bytes memory.max
holds [ "$(limit memory memory.limit_in_bytes memory.max)" = 104857600 ]
limit cpu cpu.cfs_quota_us cpu.max
holds [ "$(limit cpu cpu.cfs_quota_us cpu.max | cut -d' ' -f1)" = 50000 ]
play stats --no-stream box
sees '^CONTAINER ID +NAME +CPU % +MEM USAGE / LIMIT +MEM % +NET I/O +BLOCK I/O +PIDS' "^${box:0:12} +box .* / 100MiB"
play update --memory=200m --memory-swap=200m box
is box
holds [ "$(limit memory memory.limit_in_bytes memory.max)" = 209715200 ]
