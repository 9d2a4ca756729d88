title "Containers: started, looked at, stopped, removed"

play run --name nap busybox sleep 1
is ''
play ps
sees '^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$'
sees_not nap
play ps -a
sees '[0-9a-f]{12} +busybox +"sleep 1" +.* ago +Exited \(0\) .* ago +nap$' "$hub/busybox +\"echo hello world\".* first$"
ends 3 run --name three busybox sh -c 'exit 3'
play ps -a --filter name=three
sees 'Exited \(3\)'
ends 127 run --rm busybox nosuch
hears 'executable file not found'
ends 126 run --rm busybox /etc
ends 125 run --nosuch busybox
hears 'unknown flag|unexpected argument'

say 'Made, but not started; then in the background.'
play create --name quiet busybox sleep 1000
sees '^[0-9a-f]{64}$'
play ps -a --filter name=quiet
sees '"sleep 1000" .* Created +quiet$'
play start quiet
is quiet
play run -d --name sleeper busybox sleep 1000
sees '^[0-9a-f]{64}$'
sleeper=$out
play ps
sees "^${sleeper:0:12} +busybox +\"sleep 1000\" .* Up (Less than a second|.*second.*|.*minute.*) +sleeper$"
ends 125 run --name sleeper busybox
hears 'Conflict. The container name "?/?sleeper"? is already in use by container'
play pause sleeper
play ps --format '{{.Names}} {{.Status}}' --filter name=sleeper
sees '^sleeper Up .* \(Paused\)$'
play unpause sleeper

say 'A program that ignores being asked is killed in the end: 128 and 9.'
play stop -t 1 sleeper
is sleeper
play ps -a --filter name=sleeper
sees 'Exited \(137\) '
play run -d --name polite busybox sh -c 'trap "exit 4" TERM; while :; do sleep 0.1; done'
play stop polite
play wait polite
is 4

say 'What runs is not removed, unless one insists.'
play restart -t 0 sleeper
ends 1 rm sleeper
hears 'container is running: stop the container before removing or force remove'
play rm -f sleeper
is sleeper
ends 1 inspect sleeper
hears 'no such object: sleeper'
play rm polite three nap
is "$(printf 'polite\nthree\nnap')"

say 'Another name.'
play rename quiet still
ends 1 stop quiet
hears 'No such container: quiet'
play rm -f still

say 'Output: kept in a log, followed, attached to.'
play run -d --name talker busybox sh -c 'echo oops >&2; for i in 1 2 3; do sleep 0.3; echo line $i; done; exit 6'
ends 6 attach talker
sees 'line 3'
play logs talker
sees '^line 1$' '^line 2$' '^line 3$'
hears oops
play logs --tail 1 -t talker
sees '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z line 3$'
play start talker
play logs -f talker
[ "$(grep -c 'line 3' <<< "$out")" = 2 ] || fault 'both runs are in the log'

say 'Input from a pipe, and from somebody at a terminal.'
typed $'one\ntwo\n' play run -i --rm busybox wc -l
is 2
typed $'echo from $0\n' play run -i --rm busybox
is 'from sh'
ends 1 run -it --rm busybox
hears 'the input device is not a TTY'

on_terminal run -it --name shell busybox
appears '# '
types 'tty; hostname; echo $((40+2))\n'
appears '42'
grep -q /dev/pts/0 "$typescript" || fault 'a shell at a terminal has one'
types 'exit 5\n'
leaves_with 5
play ps -a --filter name=shell
sees 'Exited \(5\)'

on_terminal start -ai shell
appears '# '
types 'echo still $((6*7))\n'
appears 'still 42'
types '\x10\x11'
leaves_with 0
play ps --filter name=shell
sees ' Up .*shell$'
on_terminal attach shell
appears '# '
types 'exit\n'
leaves_with 0
