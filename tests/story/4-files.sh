title "Files: copied, compared, kept"

echo 'from the host' > "$work/note"
play cp "$work/note" box:/tmp/note
play exec box cat /tmp/note
is 'from the host'
play exec box sh -c 'echo from inside > /root/answer; rm /etc/group'
play cp box:/root/answer "$work/answer"
holds [ "$(cat "$work/answer")" = 'from inside' ]
play diff box
sees '^A /tmp/note$' '^C /tmp$' '^A /root/answer$' '^D /etc/group$'
play commit -m 'with a note' -c 'CMD ["cat", "/tmp/note"]' box noted
sees '^sha256:[0-9a-f]{64}$'
play run --rm noted
is 'from the host'
play history --format '{{.Comment}}' noted
sees '^with a note$'

say 'A directory of the host.'
mkdir "$work/shared"
echo kept > "$work/shared/file"
play run --rm -v "$work/shared:/data" busybox sh -c 'cat /data/file; echo more > /data/new'
is kept
holds [ "$(cat "$work/shared/new")" = more ]
ends 1 run --rm -v "$work/shared:/data:ro" busybox touch /data/refused
hears 'Read-only file system'
play run --rm --mount "type=bind,source=$work/shared,target=/data" busybox ls /data
is "$(printf 'file\nnew')"
ends 125 run --rm --mount "type=bind,source=$work/nosuch,target=/data" busybox true
hears 'bind source path does not exist'
play run --rm -v "$work/made:/data" busybox true
holds [ -d "$work/made" ]

say 'A volume with a name, made as it is used, outlives its containers.'
play run --rm -v store:/data busybox sh -c 'echo precious > /data/f'
play volume ls
sees '^DRIVER +VOLUME NAME$' '^local +store$'
play run --rm -v store:/elsewhere busybox cat /elsewhere/f
is precious
play run -d --name keeper -v store:/data -v /anonymous busybox sleep 1000
play run --rm --volumes-from keeper busybox cat /data/f
is precious
ends 1 volume rm store
hears 'volume is in use'
play inspect -f '{{range .Mounts}}{{println .Type .Name .Destination}}{{end}}' keeper
sees '^volume store /data$' '^volume [0-9a-f]{64} /anonymous$'
play rm -f -v keeper
play volume ls -q
is store
play volume create --label of=story other
is other
play volume inspect -f '{{.Driver}} {{.Labels.of}}' other
is 'local story'
