title "A registry, run as a container from its image"

# Debian's program with the libraries that it needs.
context=$work/registry
program=$(command -v docker-registry)
mkdir -p "$context/root"
{ ldd "$program" 2> /dev/null || true; } | grep -oE '/[^ ]+' > "$work/libraries" || true
while read -r file; do
  install -D "$file" "$context/root$file"
done < <(printf '%s\n' "$program"; cat "$work/libraries")
mkdir -p "$context/root/etc" "$context/root/tmp"
cat > "$context/root/etc/config.yml" <<'YAML'
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ":5000"}
YAML
cat > "$context/Dockerfile" <<DOCKERFILE
FROM scratch
COPY root/ /
VOLUME ["/var/lib/registry"]
EXPOSE 5000
ENTRYPOINT ["$program"]
CMD ["serve", "/etc/config.yml"]
DOCKERFILE
say "$(cat "$context/Dockerfile")"
play build -t registry:2 "$context"
port=$(free_port)
play run -d -p "$port:5000" --restart=always --name registry registry:2
until_it fetch "http://localhost:$port/v2/"

play tag me/site "localhost:$port/me/site:1"
play push "localhost:$port/me/site:1"
sees '1: digest: sha256:[0-9a-f]{64} size: [0-9]+'
pushed=$(grep -oE 'sha256:[0-9a-f]{64}' <<< "$out" | head -1)
holds [ "$(fetch "http://localhost:$port/v2/me/site/tags/list" | tr -d ' \n')" = '{"name":"me/site","tags":["1"]}' ]
play rmi "localhost:$port/me/site:1"
ends 1 image inspect "localhost:$port/me/site:1"
play pull "localhost:$port/me/site:1"
sees "Digest: $pushed" "^localhost:$port/me/site:1$"
play run --rm --entrypoint cat "localhost:$port/me/site:1" /srv/index.html
is 'hello from an image'

say 'It comes back by itself, with what it keeps in its volume.'
pid=$(member registry '{{.State.Pid}}')
kill -9 "$pid"
restarted() { [ "$(member registry '{{.RestartCount}} {{.State.Running}}')" = '1 true' ]; }
until_it restarted
until_it fetch "http://localhost:$port/v2/"
play pull -q "localhost:$port/me/site:1"
is "localhost:$port/me/site:1"
