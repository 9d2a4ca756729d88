title "Cleaning up"

play system df
sees '^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE' '^Images +[0-9]+ +[0-9]+ ' '^Containers +[0-9]+ +3 ' '^Local Volumes +3 +1 ' '^Build Cache +'
play system df -v
sees '^Images space usage:' '^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE +SHARED SIZE +UNIQUE SIZE +CONTAINERS' \
  '^Containers space usage:' '^CONTAINER ID +IMAGE +COMMAND +LOCAL VOLUMES +SIZE +CREATED +STATUS +NAMES' \
  '^Local Volumes space usage:' '^VOLUME NAME +LINKS +SIZE' '^store +0 ' '^Build cache usage: '

say 'What is stopped, and only that.'
play container prune -f
sees '^Deleted Containers:$' '^[0-9a-f]{64}$' '^Total reclaimed space: [0-9.]+k?M?B$'
play ps -aq
holds [ "$(wc -l <<< "$out")" = 3 ]

say 'An image that a container uses stays.'
ends 1 rmi registry:2
hears 'conflict: unable to remove repository reference "registry:2" \(must force\) - container [0-9a-f]+ is using its referenced image [0-9a-f]+'

say 'Everything at once.'
# shellcheck disable=SC2046
play stop -t 1 $("${cli[@]}" ps -aq)
holds [ "$(wc -l <<< "$out")" = 3 ]
play ps -q
is ''
# shellcheck disable=SC2046
ends 1 rmi $("${cli[@]}" images -aq)
hears 'container [0-9a-f]+|stopped container'
# shellcheck disable=SC2046
play rm $("${cli[@]}" ps -aq)
play ps -aq
is ''
# Several names of one image need force.
# shellcheck disable=SC2046
play rmi -f $("${cli[@]}" images -aq | sort -u)
sees '^Untagged: busybox:latest$' '^Deleted: sha256:'
play images -aq
is ''

say 'The prunes, each for its kind.'
play pull -q "$hub/busybox"
play tag "$hub/busybox" busybox
play network create unused
play network prune -f
sees '^Deleted Networks:$' '^unused$'
play run --name over -v /anonymous busybox true
play rm over
typed n play volume prune
sees 'WARNING! This will remove anonymous local volumes not used by at least one container'
sees_not 'Total reclaimed space'
typed y play volume prune
sees 'Deleted Volumes:$' '^[0-9a-f]{64}$' '^Total reclaimed space: '
play volume ls -q
sees '^store$' '^other$'
play volume prune -a -f --filter label=of=story
sees '^other$'
play volume rm store
play build -q -t gone "$work/www"
play rmi gone
play image prune -f
play image prune -a -f
sees '^Deleted Images:$' '^[Uu]ntagged: busybox:latest$' '^[Dd]eleted: sha256:'
play network create unused
play run --name over "$hub/busybox" true
typed y play system prune -a
sees 'WARNING! This will remove:' 'all stopped containers' 'all networks not used by at least one container' \
  'all images without at least one container associated to them|all images not used' 'build cache' \
  'Deleted Containers:$' '^Deleted Networks:$' '^Deleted Images:$' '^Total reclaimed space: '
play ps -aq
is ''
play images -aq
is ''
play network ls --filter type=custom -q
is ''
