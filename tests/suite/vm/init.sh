#!/bin/busybox sh
# The first process of the virtual machine, twice: to leave the root file system
# that the kernel started with, from which no container could change its root,
# and to set the machine up. With a Debian on its disk, systemd goes on from here.
export PATH=/bin HOME=/root NO_COLOR=1
if [ "$1" != again ]; then
  /bin/busybox --install -s /bin
  mount -t proc proc /proc
  for module in /modules/*; do
    insmod "$module" || echo "cannot load $module"
  done
  if grep -q systemd.unit /proc/cmdline; then
    mount -t devtmpfs dev /dev
    mount -t ext4 /dev/vda /debian
    cp /bin/rbuild /debian/usr/bin/rbuild
    cp /agent /busybox.tar /debian/
    printf '[Service]\nExecStart=/agent\nEnvironment=NO_COLOR=1 HOME=/root\n' \
      > /debian/etc/systemd/system/agent.service
    mount --move /dev /debian/dev
    umount /proc
    exec switch_root /debian /lib/systemd/systemd
  fi
  umount /proc
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
ip link set lo up
hostname machine
/agent
poweroff -f
