title "Networks: ports, links, names"

# A page, and a server for it: busybox' own.
mkdir "$work/www"
echo 'hello from a container' > "$work/www/index.html"
port=$(free_port)
play run -d --name web -p "$port:5000" -v "$work/www:/www" busybox httpd -f -p 5000 -h /www
until_it fetch "http://127.0.0.1:$port/"
[ "$(fetch "http://127.0.0.1:$port/")" = 'hello from a container' ] || fault 'the port leads elsewhere'
play ps --filter name=web
sees "0\.0\.0\.0:$port->5000/tcp.* web$"
play port web
sees "^5000/tcp -> 0\.0\.0\.0:$port$"
play port web 5000/tcp
sees "^0\.0\.0\.0:$port$"
address=$(member web '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
holds [ "$(fetch "http://$address:5000/")" = 'hello from a container' ]
ends 125 run -d --name late -p "$port:5000" busybox sleep 1000
hears 'port is already allocated|address already in use'
play rm late

second=$(free_port)
play run -dp "127.0.0.1:$second:80" --name site -v "$work/www:/www:ro" busybox httpd -f -h /www
until_it fetch "http://127.0.0.1:$second/"
play ps --filter name=site
sees "127\.0\.0\.1:$second->80/tcp"
play rm -f site web

say 'A link: the old way to tell one container of another.'
cat > "$work/Dockerfile.redis" <<'DOCKERFILE'
FROM busybox
EXPOSE 6379
CMD ["sh", "-c", "while :; do echo +PONG | nc -l -p 6379; done"]
DOCKERFILE
play build -q -t redis -f "$work/Dockerfile.redis" "$work/www"
play run -d --name redis redis
until_it "${cli[@]}" exec redis sh -c 'netstat -ltn | grep -q :6379'
play run --rm --link redis:redis busybox sh -c 'nc redis 6379 < /dev/null; echo $REDIS_PORT_6379_TCP_PORT; grep redis /etc/hosts'
sees '^\+PONG$' '^6379$' "redis"
play rm -f redis

say 'The new way: a network where names are known.'
play network create backend
sees '^[0-9a-f]{64}$'
play network ls
sees '^NETWORK ID +NAME +DRIVER +SCOPE$' ' bridge +bridge +local$' ' host +host +local$' ' none +null +local$' ' backend +bridge +local$'
play run -d --name redis --network backend --network-alias db redis
until_it "${cli[@]}" exec redis sh -c 'netstat -ltn | grep -q :6379'
play run --rm --network backend busybox nc db 6379
is '+PONG'
ends 1 network rm backend
hears 'has active endpoints'
play run -d --name visitor busybox sleep 1000
play network connect backend visitor
until_it "${cli[@]}" exec visitor nc redis 6379
play network disconnect backend visitor
ends 1 exec visitor nslookup redis
play rm -f redis visitor
play network rm backend
is backend
play run --rm --network none busybox ip -o link
sees_not eth0
