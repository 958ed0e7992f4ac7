//! Pieces of domain XML, one for each kind of thing that libvirt knows: documents are put together from them. Words in
//! capitals are marks that the tests look for: SECRET and HOSTONLY must not be in a package, KEEP must.

/// Directly in `<domain>`.
pub(super) const TOP: &[&str] = &[
    "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>",
    "<genid>e9392370-2917-565e-692b-d057f46512d6</genid>",
    "<genid/>",
    "<title>KEEP title</title>",
    "<description>KEEP: uuid, &lt;uuid&gt; and a longer\n  text</description>",
    "<metadata><app1:foo xmlns:app1='http://app1.org/app1/'><app1:uuid>KEEP</app1:uuid></app1:foo>\
     <foo xmlns='http://app2.org/'><uuid>KEEP</uuid><seclabel/></foo></metadata>",
    "<metadata><x:guest xmlns:x='https://miniascape.org/xmlns/1' package='HOSTONLY'/>\
     <libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>\
     <libosinfo:os id='http://debian.org/debian/12'/></libosinfo:libosinfo></metadata>",
    "<maxMemory slots='16' unit='GiB'>8</maxMemory>",
    "<currentMemory unit='KiB'>4096</currentMemory>",
    "<vcpu placement='static' cpuset='1-4,^3,6' current='1'>2</vcpu>",
    "<vcpu>4</vcpu>",
    "<iothreads>2</iothreads>",
    "<cputune><vcpupin vcpu='0' cpuset='1'/><emulatorpin cpuset='1-3'/><shares>2048</shares></cputune>",
    "<numatune><memory mode='strict' nodeset='0'/></numatune>",
    "<memtune><hard_limit unit='G'>1</hard_limit></memtune>",
    "<blkiotune><weight>800</weight><device><path>/dev/sda</path><weight>500</weight></device></blkiotune>",
    "<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages><nosharepages/><locked/></memoryBacking>",
    "<resource><partition>/virtualmachines/production</partition></resource>",
    "<sysinfo type='smbios'><bios><entry name='vendor'>KEEP</entry></bios><system>\
     <entry name='manufacturer'>KEEP</entry><entry name='uuid'>c7a5fdbd-edaf-9455-926a-d65c16db1809</entry>\
     <entry name='serial'>KEEP-1</entry></system><baseBoard><entry name='product'>KEEP</entry></baseBoard></sysinfo>",
    "<sysinfo type='fwcfg'><entry name='opt/com.example/name'>KEEP</entry></sysinfo>",
    "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/><boot dev='network'/>\
     <bootmenu enable='yes' timeout='3000'/><smbios mode='sysinfo'/></os>",
    "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type><loader secure='no'/></os>",
    "<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd\
     </loader><nvram template='/usr/share/OVMF/OVMF_VARS.fd'>/HOSTONLY/VARS.fd</nvram></os>",
    "<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd\
     </loader><nvram>/HOSTONLY/VARS.fd</nvram><boot dev='hd'/></os>",
    "<os><type arch='x86_64' machine='q35'>hvm</type><kernel>/KEEP/vmlinuz</kernel><initrd>/KEEP/initrd</initrd>\
     <cmdline>console=ttyS0 ro KEEP=&quot;a b&quot;</cmdline><dtb>/KEEP/dtb</dtb></os>",
    "<features><acpi/><apic eoi='on'/><pae/><hyperv mode='custom'><relaxed state='on'/><spinlocks state='on' retries='4096'/>\
     <vendor_id state='on' value='KEEP'/></hyperv><kvm><hidden state='on'/></kvm><vmport state='off'/><smm state='on'>\
     <tseg unit='MiB'>48</tseg></smm></features>",
    "<cpu mode='custom' match='exact' check='partial'><model fallback='allow'>Skylake-Client-IBRS</model>\
     <topology sockets='1' dies='1' cores='2' threads='1'/><feature policy='disable' name='hle'/>\
     <numa><cell id='0' cpus='0-1' memory='1048576' unit='KiB'/></numa></cpu>",
    "<cpu mode='host-model' check='none'/>",
    "<cpu mode='host-passthrough' migratable='on'><cache mode='passthrough'/></cpu>",
    "<clock offset='variable' adjustment='123456' basis='utc'><timer name='rtc' tickpolicy='catchup' track='guest'/>\
     <timer name='hpet' present='no'/></clock>",
    "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>coredump-destroy</on_crash>",
    "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='yes'/></pm>",
    "<perf><event name='cmt' enabled='yes'/></perf>",
    "<idmap><uid start='0' target='1000' count='10'/><gid start='0' target='1000' count='10'/></idmap>",
    "<launchSecurity type='sev'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x0001</policy>\
     <dhCert>SECRET</dhCert><session>SECRET</session></launchSecurity>",
    "<seclabel type='static' model='dac' relabel='yes'><label>HOSTONLY:HOSTONLY</label></seclabel>",
    "<seclabel type='dynamic' model='apparmor' relabel='yes'><baselabel>HOSTONLY</baselabel></seclabel>",
    "<seclabel type='none' model='selinux'/>",
    "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:arg value='-newarg'/>\
     <qemu:arg value='KEEP uuid'/><qemu:env name='QEMU_ENV' value='KEEP'/></qemu:commandline>",
];

/// Disks, whose targets differ. All are packed.
pub(super) const DISKS: &[&str] = &[
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap'/>\
     <source file='/HOSTONLY/a.qcow2'/><target dev='vda' bus='virtio'/><boot order='1'/>\
     <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>",
    "<disk device='disk'><source file='/HOSTONLY/b'/><target dev='vdb'/></disk>",
    "<disk type='block' device='disk' snapshot='no'><driver name='qemu' type='raw'/><source dev='/dev/HOSTONLY/c'/>\
     <target dev='sdc' bus='scsi'/><serial>KEEP</serial><wwn>5000c50015ea71ad</wwn><iotune>\
     <total_bytes_sec>10000000</total_bytes_sec></iotune></disk>",
    "<disk type='block' device='lun' rawio='yes'><driver name='qemu' type='raw'/>\
     <source dev='/dev/HOSTONLY/d'><reservations managed='no'><source type='unix' path='/HOSTONLY/pr' mode='client'/>\
     </reservations></source><target dev='sdd' bus='scsi'/></disk>",
    "<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='HOSTONLY' volume='e' mode='host'/>\
     <target dev='vde' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><driver name='qemu' type='raw'/><auth username='HOSTONLY'>\
     <secret type='ceph' uuid='0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/></auth><source protocol='rbd' name='HOSTONLY/f'>\
     <host name='mon1.example.org' port='6321'/></source><target dev='vdf' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='https' name='HOSTONLY'><host name='example.org' port='443'/>\
     <ssl verify='yes'/><cookies><cookie name='c'>SECRET</cookie></cookies></source><target dev='vdg' bus='virtio'/></disk>",
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/HOSTONLY/h' index='1'>\
     <encryption format='luks'><secret type='passphrase' uuid='9c7f52f0-31b6-4b2c-9d57-0c7a5fdbdeda'/></encryption></source>\
     <target dev='vdh' bus='virtio'/></disk>",
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/HOSTONLY/i'>\
     <seclabel model='dac' relabel='no'/></source><backingStore type='file'><format type='qcow2'/>\
     <source file='/HOSTONLY/i1'/><backingStore type='block'><format type='raw'/><source dev='/dev/HOSTONLY/i2'/>\
     <backingStore/></backingStore></backingStore><target dev='vdi' bus='virtio'/><shareable/></disk>",
    "<disk type='file' device='disk'><!-- KEEP me --><source file='/HOSTONLY/j' startupPolicy='optional'/>\
     <backingStore/><target dev='hdj' bus='ide'/><transient/><alias name='ua-KEEP-j'/></disk>",
    "<disk type='nvme' device='disk'><driver name='qemu' type='raw'/><source type='pci' managed='yes' namespace='1'>\
     <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source><target dev='vdk' bus='virtio'/></disk>",
];

/// Other devices.
pub(super) const DEVICES: &[&str] = &[
    "<emulator>/HOSTONLY/qemu-system-x86_64</emulator>",
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/HOSTONLY/x.iso'/>\
     <target dev='sdx' bus='sata' tray='open'/><readonly/></disk>",
    "<disk type='block' device='cdrom'><source dev='/dev/HOSTONLY'/><target dev='sdy' bus='sata'/><readonly/></disk>",
    "<disk type='file' device='floppy'><source file='/HOSTONLY/f.img'/><target dev='fda' bus='fdc'/></disk>",
    "<disk type='file' device='cdrom'><target dev='sdz' bus='sata'/><readonly/></disk>",
    "<controller type='usb' index='0' model='qemu-xhci' ports='15'/>",
    "<controller type='pci' index='1' model='pcie-root-port'><model name='pcie-root-port'/><target chassis='1' port='0x8'/>\
     </controller>",
    "<controller type='scsi' index='0' model='virtio-scsi'><driver queues='4'/></controller>",
    "<lease><lockspace>somearea</lockspace><key>somekey</key><target path='/KEEP/lease' offset='1024'/></lease>",
    "<filesystem type='mount' accessmode='passthrough'><source dir='/HOSTONLY/share'/><target dir='tag'/></filesystem>",
    "<filesystem type='mount'><driver type='virtiofs' queue='1024'/><binary path='/HOSTONLY/virtiofsd'/>\
     <source dir='/HOSTONLY'/><target dir='mount_tag'/></filesystem>",
    "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x06' slot='0x02' \
     function='0x0'/></source><rom bar='off' file='/HOSTONLY/rom'/></hostdev>",
    "<hostdev mode='subsystem' type='usb'><source startupPolicy='optional'><vendor id='0x1234'/><product id='0xbeef'/>\
     </source></hostdev>",
    "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source>\
     <address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>",
    "<redirdev bus='usb' type='tcp'><source mode='connect' host='HOSTONLY' service='4000'/></redirdev>",
    "<redirdev bus='usb' type='spicevmc'/>",
    "<smartcard mode='host'/>",
    "<smartcard mode='passthrough' type='spicevmc'/>",
    "<interface type='network'><mac address='52:54:00:5d:c7:9e'/><source network='KEEP-net' portgroup='one' \
     portid='5b7a9e1f-0000-4000-8000-aaaaaaaaaaaa' bridge='HOSTONLY'/><target dev='vnet7'/><model type='virtio'/></interface>",
    "<interface type='bridge'><source bridge='br0'/><mac address='52:54:00:5d:c7:9f'/><virtualport type='openvswitch'>\
     <parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport><target dev='KEEP0'/>\
     <script path='/KEEP/script'/><link state='up'/><mtu size='1492'/></interface>",
    "<interface type='user'><mac address='52:54:00:5d:c7:a0'/><model type='e1000'/></interface>",
    "<interface type='ethernet'><mac address='52:54:00:5d:c7:a1'/><target dev='tap3'/><script path=''/></interface>",
    "<interface type='direct'><source dev='eth0' mode='vepa'/><target dev='macvtap12'/></interface>",
    "<interface type='hostdev' managed='yes'><mac address='52:54:00:6d:90:02'/><source><address type='pci' domain='0x0000' \
     bus='0x00' slot='0x07' function='0x0'/></source></interface>",
    "<interface type='vhostuser'><mac address='52:54:00:3b:83:1a'/><source type='unix' path='/KEEP/vhost1.sock' \
     mode='server'/><model type='virtio'/></interface>",
    "<input type='tablet' bus='usb'/>",
    "<input type='passthrough' bus='virtio'><source evdev='/dev/input/HOSTONLY'/></input>",
    "<graphics type='vnc' port='5904' autoport='no' sharePolicy='allow-exclusive' passwd='SECRET' \
     passwdValidTo='2030-04-09T15:51:00'><listen type='address' address='0.0.0.0'/></graphics>",
    "<graphics type='spice' autoport='yes' passwd=\"SECRET\" connected='keep'><channel name='main' mode='secure'/>\
     <listen type='network' network='KEEP'/><image compression='auto_glz'/></graphics>",
    "<graphics type='egl-headless'><gl rendernode='/dev/dri/KEEP'/></graphics>",
    "<video><model type='qxl' ram='65536' vram='65536' heads='1' primary='yes'/></video>",
    "<sound model='ich9'><codec type='micro'/></sound>",
    "<audio id='1' type='none'/>",
    "<serial type='pty'><source path='/dev/pts/3'/><log file='/HOSTONLY/log' append='on'/><target port='0'/></serial>",
    "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='KEEP'/><protocol type='raw'/><target port='1'/></serial>",
    "<console type='pty' tty='/dev/pts/2'><source path='/dev/pts/2'/><target type='virtio' port='0'/></console>",
    "<parallel type='file'><source path='/KEEP/parallel'/><target port='0'/></parallel>",
    "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-3-HOSTONLY/org.qemu.guest_agent.0'/>\
     <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>",
    "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>",
    "<hub type='usb'/>",
    "<watchdog model='i6300esb' action='poweroff'/>",
    "<memballoon model='virtio' autodeflate='on'><stats period='10'/></memballoon>",
    "<rng model='virtio'><rate period='2000' bytes='1234'/><backend model='random'>/dev/KEEP</backend></rng>",
    "<rng model='virtio'><backend model='egd' type='udp'><source mode='bind' service='1234'/>\
     <source mode='connect' host='KEEP' service='1234'/></backend></rng>",
    "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/HOSTONLY'/></backend></tpm>",
    "<tpm model='tpm-crb'><backend type='emulator' version='2.0'>\
     <encryption secret='9c7f52f0-0000-4000-8000-bbbbbbbbbbbb'/></backend></tpm>",
    "<panic model='isa'/>",
    "<shmem name='KEEP_shmem'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>",
    "<iommu model='intel'><driver intremap='on'/></iommu>",
    "<vsock model='virtio'><cid auto='no' address='3'/></vsock>",
];
