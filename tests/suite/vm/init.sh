#!/bin/busybox sh
# The first process of the virtual machine, twice: to leave the root file system
# that the kernel started with, from which no container could change its root,
# and to do what it is told over the second serial line.
export PATH=/bin HOME=/root NO_COLOR=1
if [ "$1" != again ]; then
  /bin/busybox --install -s /bin
  mkdir /.root
  mount --bind / /.root
  cd /.root
  mount --move . /
  exec chroot . /init again
fi

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /var/lib/rbuild
mount -t devpts devpts /dev/pts
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
for place in /dev/shm /run /tmp /var/lib/rbuild; do
  mount -t tmpfs tmpfs "$place"
done
for module in /modules/*; do
  insmod "$module" || echo "cannot load $module"
done
ip link set lo up
hostname machine

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
poweroff -f
