title "Images: from a registry, by running them"

# The registry that the world has. It listens on this machine alone.
registry_port=$(free_port)
cat > "$work/registry.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/hub}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$registry_port"}
YAML
docker-registry serve "$work/registry.yml" > "$work/registry.log" 2>&1 &
registry_pid=$!
until_it fetch "http://127.0.0.1:$registry_port/v2/"
hub=127.0.0.1:$registry_port

# What it has comes from this machine's busybox.
tree=$work/tree
mkdir -p "$tree"/{bin,dev,etc,proc,root,sys,tmp,usr/bin}
cp "$(command -v busybox)" "$tree/bin/busybox"
for applet in $(busybox --list); do
  [ "$applet" = busybox ] || ln -sf busybox "$tree/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' > "$tree/etc/passwd"
echo 'root:x:0:' > "$tree/etc/group"
chmod 1777 "$tree/tmp"

say 'An image of a root file system, given to the registry and then forgotten here.'
tar -C "$tree" -c . > "$work/tree.tar"
play import -c 'CMD ["sh"]' -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$work/tree.tar" "$hub/busybox"
sees '^sha256:[0-9a-f]{64}$'
play push "$hub/busybox"
sees 'latest: digest: sha256:[0-9a-f]{64} size: [0-9]+'
play rmi "$hub/busybox"
sees "^Untagged: $hub/busybox:latest" '^Deleted: sha256:'
play images -aq
is ''

say 'Running a name that is not here pulls it.'
play run --name first "$hub/busybox" echo hello world
is 'hello world'
hears "Unable to find image '$hub/busybox:latest' locally"
hears 'Status: Downloaded newer image'
play pull "$hub/busybox"
sees 'Status: Image is up to date' "^$hub/busybox:latest$"
ends 125 run "$hub/nosuch" true
hears "Unable to find image '$hub/nosuch:latest' locally"
ends 1 pull "$hub/busybox:nosuch"
hears 'not found|manifest unknown'

say 'It is here now, and gets a shorter name.'
play images
sees '^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE' "^$hub/busybox +latest +[0-9a-f]{12} +.* ago +[0-9.]+MB"
play tag "$hub/busybox" busybox
play images -q
is "$(printf '%s\n%s' "$(member busybox '{{slice .Id 7 19}}')" "$(member busybox '{{slice .Id 7 19}}')")"
play history busybox
sees '^IMAGE +CREATED +CREATED BY +SIZE +COMMENT' 'Imported from'
play image inspect -f '{{join .RepoTags " "}} {{.Os}}/{{.Architecture}} {{json .Config.Cmd}}' busybox
sees 'busybox:latest.* linux/.* \["sh"\]'
