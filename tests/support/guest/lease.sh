#!/bin/sh
# Called by udhcpc with what it learned; see udhcpc's own documentation for the variables.

case "$1" in
    deconfig)
        ip -4 addr flush dev "$interface"
        ip link set "$interface" up
        ;;
    bound | renew)
        ip -4 addr flush dev "$interface"
        ip addr add "$ip/${mask:-24}" dev "$interface"
        for address in $router; do
            ip route replace default via "$address" dev "$interface"
        done
        : >/etc/resolv.conf
        [ -n "$domain" ] && echo "search $domain" >>/etc/resolv.conf
        for address in $dns; do
            echo "nameserver $address" >>/etc/resolv.conf
        done
        echo "LEASE ip=$ip mask=$mask router=$router name=$hostname iface=$interface" >/dev/ttyS0
        ;;
esac
