#!/bin/sh
# The first and only program of a lab guest. It speaks on the serial console in lines that tests read:
#   MARKER base=TEXT guest=TEXT     what the data partition holds ("-" where there is nothing)
#   LEASE ip=A mask=M router=R name=N iface=I     what DHCP gave, at first and at every renewal
#   LEASE6 ip=A dns=A domain=N iface=I            what DHCPv6 gave, where it was asked for; without address ip=-
#   READY                           commands are read from now on, one in a line
#   HASH all=SHA256 base=SHA256     of its file systems, read from the disk anew
# and it obeys: write-marker TEXT, write NAME (half a megabyte of noise), markers, hash, ip, ping ADDRESS, lookup NAME, run COMMAND,
# dhcp6 INTERFACE (from now on router advertisements there are followed: addresses of its own, DHCPv6, or both),
# count, counted (the guest writes a number to both of its disks, one after the other, until it is told to stop), poweroff, reboot.

PATH=/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec <>/dev/ttyS0 >&0 2>&1
stty -F /dev/ttyS0 -echo

while read -r module; do insmod "/modules/$module"; done </modules/order

# The power button: any event from it is a wish to be off.
watch_button() {
    for name in /sys/class/input/event*/device/name; do
        [ -e "$name" ] && grep -q "Power Button" "$name" || continue
        event=${name#/sys/class/input/}
        ( head -c 24 "/dev/input/${event%%/*}" >/dev/null && echo BUTTON && kill -USR1 1 ) &
    done
}

stop() {
    echo "$1"
    killall -q udhcpc dhcpcd
    sync
    umount /data
    "$1" -f
}
trap 'stop poweroff' USR1
watch_button

markers() {
    base=-
    guest=-
    [ -e /data/base-marker ] && read -r base </data/base-marker
    [ -e /data/guest-marker ] && read -r guest </data/guest-marker
    echo "MARKER base=$base guest=$guest"
}

disk=
for try in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda2 ] && disk=/dev/vda2 && break
    sleep 0.2
done
if [ -n "$disk" ] && mount -t ext4 "$disk" /data; then
    markers
else
    echo "NODISK"
fi

ip link set lo up
name=guest
[ -e /data/hostname ] && read -r name </data/hostname
hostname "$name"
for net in /sys/class/net/eth*; do
    [ -e "$net" ] || continue
    iface=${net##*/}
    ip link set "$iface" up
    udhcpc -i "$iface" -f -t 60 -T 1 -A 1 -s /lease.sh -x "hostname:$name" >/dev/null 2>&1 &
done

# A link that was down asks anew, as the network managers of real systems do. A process costs an emulated processor much, so
# the shell reads by itself, and waits for what never comes.
mkfifo /tmp/never
watch_link() {
    exec 8<>/tmp/never
    cd "/sys/class/net/$1" && read -r seen <carrier_down_count
    until read -r -t 0.2 nothing <&8; do
        read -r now <carrier_down_count && [ "$now" != "$seen" ] || continue
        read -r carrier <carrier && [ "$carrier" = 1 ] || continue
        seen=$now
        killall -USR2 udhcpc
        killall -USR1 udhcpc
    done
}
for net in /sys/class/net/eth*; do
    [ -e "$net" ] && watch_link "${net##*/}" &
done

# The agent, where there is one and a channel for it.
for port in /sys/class/virtio-ports/*; do
    [ -e /bin/qemu-ga ] && [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] || continue
    qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run -F/freeze-hook.sh >/tmp/agent.log 2>&1 &
done

# A digest of names, kinds, modes, owners and content below /data; more arguments are for find.
tree() {
    find /data "$@" | sort >/tmp/tree
    { xargs stat -c '%n %f %u %g' </tmp/tree; while read -r file; do [ -f "$file" ] && sha256sum "$file"; done </tmp/tree; } |
        sha256sum | head -c 64
}

# What came with the base is also in the partition that nobody mounts. Nothing is taken from memory.
digests() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    boot=$(sha256sum </dev/vda1)
    echo "HASH all=$(tree) base=$(tree -type f ! -name guest-marker ! -path '/data/own/*')-${boot%% *}"
}

# Hundredths of a second since the boot.
now() {
    read -r up _ </proc/uptime
    now=${up%.*}${up#*.}
}

# Writes 10000001, 10000002, … to a file on the first disk, then to the second disk, each safely. How long the longest
# round took, in hundredths of a second, is in /tmp/longest, and counted anew from the moment that /tmp/anew is there.
count() {
    number=10000000
    longest=0
    now
    while [ ! -e /tmp/stop ]; do
        last=$now
        number=$((number + 1))
        echo $number | dd of=/data/counter conv=fsync,notrunc 2>/dev/null
        echo $number | dd of=/dev/vdb conv=fsync,notrunc 2>/dev/null
        now
        if [ -e /tmp/anew ]; then rm /tmp/anew; longest=0
        elif [ $((now - last)) -gt $longest ]; then longest=$((now - last)); fi
        echo $number >/tmp/number
        echo $longest >/tmp/longest
    done
    rm /tmp/stop
    echo "COUNTED number=$number"
}

echo READY
while true; do
    read -r verb rest || { sleep 1; continue; }
    case "$verb" in
        write-marker) echo "$rest" >/data/guest-marker && sync && echo "WROTE $rest" ;;
        write) mkdir -p /data/own && dd if=/dev/urandom of="/data/own/$rest" bs=64k count=8 conv=fsync 2>/dev/null && echo "WROTE $rest" ;;
        markers) markers ;;
        hash) digests ;;
        count) echo 10000000 >/data/counter && sync && echo COUNTING && count & ;;
        counted) echo >/tmp/stop ;;
        ip) ip -4 -o addr show scope global | while read -r _ dev _ addr _; do echo "IP $dev $addr"; done ;;
        ping) if ping -c 1 -W 5 "$rest" >/dev/null 2>&1; then echo "PONG $rest"; else echo "NOPONG $rest"; fi ;;
        lookup) nslookup "$rest" 2>&1 | sed 's/^/LOOKUP /'; echo "LOOKED $rest" ;;
        run) sh -c "$rest"; echo "DONE $?" ;;
        dhcp6) dhcpcd -6 -B -f /dev/null -c /lease6.sh -o dhcp6_name_servers,dhcp6_domain_search "$rest" >/tmp/dhcp6 2>&1 & ;;
        poweroff | reboot) stop "$verb" ;;
        "") ;;
        *) echo "UNKNOWN $verb" ;;
    esac
done
