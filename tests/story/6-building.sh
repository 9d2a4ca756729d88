title "Building: CMD and ENTRYPOINT, alone and together"

# An image that says this at its end, and what becomes of it.
made_of() {
  printf 'FROM busybox\n%s\n' "$1" > "$work/www/Dockerfile"
  say "$(cat "$work/www/Dockerfile")"
  play build -q -t said "$work/www"
}

made_of 'CMD ["echo", "by default"]'
play run --rm said
is 'by default'
play run --rm said echo instead
is instead

made_of 'ENTRYPOINT ["echo", "always"]'
play run --rm said
is always
play run --rm said and this
is 'always and this'

made_of $'ENTRYPOINT ["echo", "always"]\nCMD ["by default"]'
play run --rm said
is 'always by default'
play run --rm said instead
is 'always instead'
play run --rm --entrypoint cat said /etc/passwd
sees '^root:'
play run --rm --entrypoint echo said
is ''
play inspect -f '{{json .Config.Entrypoint}} {{json .Config.Cmd}}' said
is '["echo","always"] ["by default"]'

made_of $'ENV WHO=shell\nENTRYPOINT echo $WHO $0 $1'
play run --rm said x y
is 'shell x y'
play run --rm -e WHO=you said
is 'you /bin/sh'

cat > "$work/www/Dockerfile" <<'DOCKERFILE'
FROM busybox
WORKDIR /srv
COPY index.html .
RUN sed -i 's/a container/an image/' index.html
EXPOSE 80
ENTRYPOINT ["httpd", "-f", "-h", "/srv"]
DOCKERFILE
say "$(cat "$work/www/Dockerfile")"
play build -t me/site "$work/www"
play history me/site
sees 'ENTRYPOINT \["httpd"' 'EXPOSE' 'RUN .*sed -i' 'COPY index.html' 'WORKDIR /srv'
port=$(free_port)
play run -dp "$port:80" --name site me/site
until_it fetch "http://127.0.0.1:$port/"
holds [ "$(fetch "http://127.0.0.1:$port/")" = 'hello from an image' ]
