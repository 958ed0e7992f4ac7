#!/bin/sh
# Called by dhcpcd with what it learned; see dhcpcd-run-hooks(8) for the variables. dhcpcd sets addresses and routes itself.

case "$reason" in
    BOUND6 | RENEW6 | REBIND6 | INFORM6)
        echo "LEASE6 ip=${new_dhcp6_ia_na1_ia_addr1:--} dns=${new_dhcp6_name_servers:--} domain=${new_dhcp6_domain_search:--} iface=$interface" >/dev/ttyS0
        ;;
esac
