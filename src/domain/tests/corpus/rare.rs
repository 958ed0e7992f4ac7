//! What libvirt's schema knows besides [`super::pieces`]: together there is a piece for every kind of device, of source
//! and of back end. The marks in capitals are those of `pieces`.

/// Directly in `<domain>`.
pub(super) const TOP: &[&str] = &[
    "<metadata><k:domain xmlns:k='urn:KEEP'><domain xmlns='urn:other'><uuid>KEEP</uuid><devices><disk type='file'>\
     <source file='/KEEP'/></disk><emulator>KEEP</emulator></devices></domain></k:domain></metadata>",
    "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type><firmware><feature enabled='yes' name='enrolled-keys'/>\
     <feature enabled='yes' name='secure-boot'/></firmware></os>",
    "<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='rom'>/KEEP/bios</loader>\
     <acpi><table type='slic'>/KEEP/slic.dat</table></acpi><bios useserial='yes' rebootTimeout='0'/><smbios mode='host'/></os>",
    "<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash' stateless='yes'>/KEEP/code</loader></os>",
    "<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>/KEEP/code</loader>\
     <nvram type='file'><source file='/HOSTONLY/VARS'/></nvram></os>",
    "<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>/KEEP/code</loader>\
     <nvram type='network'><source protocol='iscsi' name='iqn.HOSTONLY/0'><host name='HOSTONLY' port='6000'/>\
     <auth username='HOSTONLY'><secret type='iscsi' usage='HOSTONLY'/></auth></source></nvram></os>",
    "<os><type arch='x86_64'>exe</type><init>/KEEP/init</init><initarg>KEEP</initarg><initenv name='A'>KEEP</initenv>\
     <initdir>/KEEP</initdir><inituser>KEEP</inituser><initgroup>1000</initgroup></os>",
    "<vcpus><vcpu id='0' enabled='yes' hotpluggable='no' order='1'/></vcpus>",
    "<iothreadids><iothread id='2' thread_pool_min='8' thread_pool_max='16'/><iothread id='4'/></iothreadids>\
     <defaultiothread thread_pool_min='8' thread_pool_max='16'/>",
    "<cputune><shares>2048</shares><period>1000000</period><quota>-1</quota><global_period>1000000</global_period>\
     <emulator_period>1000000</emulator_period><iothreadpin iothread='2' cpuset='5,6'/>\
     <vcpusched vcpus='0-4' scheduler='fifo' priority='1'/><iothreadsched iothreads='2' scheduler='batch'/>\
     <emulatorsched scheduler='idle'/><cachetune vcpus='0-3'><cache id='0' level='3' type='both' size='3' unit='MiB'/>\
     <monitor level='3' vcpus='1'/></cachetune><memorytune vcpus='0-3'><node id='0' bandwidth='60'/></memorytune></cputune>",
    "<numatune><memory mode='interleave' placement='auto'/><memnode cellid='0' mode='strict' nodeset='1'/></numatune>",
    "<memtune><soft_limit unit='MiB'>128</soft_limit><swap_hard_limit unit='G'>2</swap_hard_limit>\
     <min_guarantee unit='bytes'>67108864</min_guarantee></memtune>",
    "<memoryBacking><source type='memfd'/><access mode='shared'/><allocation mode='immediate' threads='8'/><discard/></memoryBacking>",
    "<resource><partition>/machine</partition><fibrechannel appid='KEEP'/></resource>",
    "<sysinfo type='smbios'><chassis><entry name='asset'>KEEP</entry></chassis><oemStrings><entry>KEEP: a, b</entry>\
     <entry>KEEP</entry></oemStrings></sysinfo>",
    "<sysinfo type='fwcfg'><entry name='opt/com.example/file' file='/KEEP/file'/></sysinfo>",
    "<features><gic version='3'/><ioapic driver='qemu'/><hap state='on'/><viridian/><privnet/></features>",
    "<features><apic/><hyperv mode='passthrough'/><pmu state='off'/><vmcoreinfo state='on'/><msrs unknown='ignore'/>\
     <pvspinlock state='on'/><tcg><tb-cache unit='MiB'>128</tb-cache></tcg><xen><e820_host state='on'/>\
     <passthrough state='on' mode='share_pt'/></xen></features>",
    "<features><hpt resizing='required'><maxpagesize unit='MiB'>1</maxpagesize></hpt><htm state='on'/><nested-hv state='off'/>\
     <cfpc value='workaround'/><sbbc value='broken'/><ibs value='fixed-na'/><ccf-assist state='on'/></features>",
    "<features><capabilities policy='deny'><mknod state='on'/><sys_chroot state='off'/></capabilities></features>",
    "<cpu mode='maximum' check='full'><maxphysaddr mode='emulate' bits='42'/></cpu>",
    "<cpu match='minimum'><model fallback='forbid' vendor_id='KEEP-vendor-'>core2duo</model><vendor>Intel</vendor>\
     <topology sockets='1' dies='1' cores='2' threads='1'/><cache level='3' mode='emulate'/>\
     <feature policy='require' name='lahf_lm'/><feature policy='forbid' name='vmx'/></cpu>",
    "<cpu><numa><cell id='0' cpus='0' memory='512' unit='MiB' memAccess='shared' discard='yes'><distances>\
     <sibling id='0' value='10'/><sibling id='1' value='21'/></distances><cache level='1' associativity='direct' \
     policy='writeback'><size value='8' unit='KiB'/><line value='5' unit='B'/></cache></cell>\
     <cell id='1' cpus='1' memory='512' unit='MiB'/><interconnects><latency initiator='0' target='0' type='access' value='5'/>\
     <bandwidth initiator='0' target='1' type='access' value='204800' unit='KiB'/></interconnects></numa></cpu>",
    "<clock offset='timezone' timezone='KEEP/Zone'/>",
    "<clock offset='localtime'><timer name='pit' tickpolicy='delay'/><timer name='kvmclock' present='yes'/>\
     <timer name='tsc' frequency='3504000000' mode='native'/></clock>",
    "<clock offset='absolute' start='1607346000'/>",
    "<on_lockfailure>poweroff</on_lockfailure>",
    "<keywrap><cipher name='aes' state='on'/><cipher name='dea' state='off'/></keywrap>",
    "<launchSecurity type='s390-pv'/>",
    "<launchSecurity type='sev' kernelHashes='yes'><policy>0x0001</policy></launchSecurity>",
    "<seclabel type='dynamic' model='selinux' relabel='yes'><label>HOSTONLY</label><imagelabel>HOSTONLY</imagelabel></seclabel>",
    "<lxc:namespace xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><lxc:sharenet type='netns' value='KEEP'/>\
     <lxc:shareuts type='name' value='KEEP'/></lxc:namespace>",
    "<qemu:capabilities xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:add capability='KEEP'/>\
     <qemu:del capability='KEEP'/></qemu:capabilities>",
    "<q:deprecation xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0' behavior='crash'/>",
    "<qemu:override xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:device alias='ua-KEEP'><qemu:frontend>\
     <qemu:property name='KEEP' type='bool' value='true'/></qemu:frontend></qemu:device></qemu:override>",
    "<xen:commandline xmlns:xen='http://libvirt.org/schemas/domain/xen/1.0'><xen:arg value='KEEP'/></xen:commandline>",
    "<bhyve:commandline xmlns:bhyve='http://libvirt.org/schemas/domain/bhyve/1.0'><bhyve:arg value='KEEP'/></bhyve:commandline>",
    "<vmware:datacenterpath xmlns:vmware='http://libvirt.org/schemas/domain/vmware/1.0'>KEEP</vmware:datacenterpath>",
];

/// Disks, whose targets differ from each other and from those of `pieces`. All are packed.
pub(super) const DISKS: &[&str] = &[
    "<disk type='network' device='disk'><driver name='qemu' type='raw'/><auth username='HOSTONLY'>\
     <secret type='iscsi' usage='HOSTONLY'/></auth><source protocol='iscsi' name='iqn.HOSTONLY/1'>\
     <host name='HOSTONLY' port='3260'/><initiator><iqn name='iqn.HOSTONLY'/></initiator></source><target dev='vdl' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='nbd' name='HOSTONLY' tls='yes' tlsHostname='HOSTONLY'>\
     <host transport='unix' socket='/HOSTONLY.sock'/></source><target dev='vdm' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='gluster' name='HOSTONLY/image'><host name='HOSTONLY' port='24007'/>\
     <host transport='rdma' name='HOSTONLY'/></source><target dev='vdn' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='http' name='HOSTONLY' query='k=HOSTONLY'>\
     <host name='HOSTONLY' port='80'/><cookies><cookie name='c'>SECRET</cookie></cookies><readahead size='65536'/>\
     <timeout seconds='6'/></source><target dev='vdo' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='ftps' name='HOSTONLY'><host name='HOSTONLY' port='990'/>\
     <ssl verify='no'/></source><target dev='vdp' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='ftp' name='HOSTONLY'><host name='HOSTONLY' port='21'/></source>\
     <target dev='vdq' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='sheepdog' name='HOSTONLY'><host name='HOSTONLY' port='7000'/></source>\
     <target dev='vdr' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='vxhs' name='c7a5fdbd-edaf-9455-926a-d65c16db1809'>\
     <host name='HOSTONLY' port='9999'/></source><target dev='vds' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='ssh' name='HOSTONLY'><host name='HOSTONLY' port='22'/></source>\
     <target dev='vdt' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='nfs' name='HOSTONLY'><host name='HOSTONLY'/>\
     <identity user='HOSTONLY' group='HOSTONLY'/></source><target dev='vdu' bus='virtio'/></disk>",
    "<disk type='network' device='disk'><source protocol='rbd' name='HOSTONLY/i'><host name='HOSTONLY' port='6789'/>\
     <snapshot name='HOSTONLY'/><config file='/HOSTONLY.conf'/></source><target dev='vdv' bus='virtio'/></disk>",
    "<disk type='dir' device='disk'><driver name='qemu' type='fat'/><source dir='/HOSTONLY'/><target dev='vdw' bus='virtio'/></disk>",
    "<disk type='vhostuser' device='disk'><driver name='qemu' type='raw'/><source type='unix' path='/HOSTONLY.sock'>\
     <reconnect enabled='yes' timeout='10'/></source><target dev='vdx' bus='virtio'/></disk>",
    "<disk type='file' device='disk'><driver name='qemu' type='raw' iothread='1' queues='4' iommu='on' ats='on' packed='on' \
     page_per_vq='on' detect_zeroes='unmap' copy_on_read='on' error_policy='report' rerror_policy='stop' event_idx='on' \
     ioeventfd='on'/><source file='/HOSTONLY/y'><slices><slice type='storage' offset='12345' size='123'/></slices></source>\
     <target dev='vdy' bus='virtio' rotation_rate='7200'/><blockio logical_block_size='512' physical_block_size='4096'/>\
     <vendor>KEEP</vendor><product>KEEP</product></disk>",
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'><metadata_cache><max_size unit='KiB'>1024</max_size>\
     </metadata_cache></driver><source file='/HOSTONLY/z'/><target dev='hdz' bus='ide'/>\
     <geometry cyls='16383' heads='16' secs='63' trans='lba'/><iotune><read_bytes_sec>1</read_bytes_sec>\
     <write_iops_sec>2</write_iops_sec><group_name>KEEP</group_name></iotune></disk>",
    "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/HOSTONLY'/><target dev='sdaa' bus='scsi'/>\
     <encryption format='luks'><secret type='passphrase' usage='KEEP usage'/></encryption></disk>",
    "<disk type='file' device='disk'><source file='/HOSTONLY/ab'/><mirror type='file' job='copy' ready='yes'><format type='qcow2'/>\
     <source file='/HOSTONLY/mirror'/></mirror><target dev='vdab' bus='virtio'/></disk>",
    "<disk type='volume' device='disk' model='virtio-non-transitional'><source pool='HOSTONLY' volume='v' startupPolicy='requisite'>\
     <encryption format='qcow'><secret type='passphrase' uuid='9c7f52f0-31b6-4b2c-9d57-0c7a5fdbdeda'/></encryption></source>\
     <target dev='vdac' bus='virtio'/></disk>",
];

/// Other devices.
pub(super) const DEVICES: &[&str] = &[
    "<hostdev mode='subsystem' type='pci' managed='no'><driver name='vfio'/><source writeFiltering='no'>\
     <address domain='0' bus='3' slot='0' function='0'/></source><teaming type='transient' persistent='ua-HOSTONLY'/></hostdev>",
    "<hostdev mode='subsystem' type='usb'><source guestReset='off'><address bus='1' device='4'/></source></hostdev>",
    "<hostdev mode='subsystem' type='scsi' sgio='unfiltered' rawio='yes'><source><adapter name='scsi_host0'/>\
     <address bus='0' target='0' unit='0'/></source><readonly/><shareable/></hostdev>",
    "<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.HOSTONLY/1'><host name='HOSTONLY' port='3260'/>\
     <auth username='HOSTONLY'><secret type='iscsi' usage='HOSTONLY'/></auth></source></hostdev>",
    "<hostdev mode='subsystem' type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>",
    "<hostdev mode='subsystem' type='mdev' model='vfio-ap' display='on'><source>\
     <address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>",
    "<hostdev mode='capabilities' type='storage'><source><block>/dev/HOSTONLY</block></source></hostdev>",
    "<hostdev mode='capabilities' type='misc'><source><char>/dev/HOSTONLY</char></source></hostdev>",
    "<hostdev mode='capabilities' type='net'><source><interface>HOSTONLY</interface></source></hostdev>",
    "<filesystem type='file' accessmode='mapped'><driver type='loop' format='raw'/><source file='/HOSTONLY'/><target dir='/a'/></filesystem>",
    "<filesystem type='block'><source dev='/dev/HOSTONLY'/><target dir='/b'/><readonly/></filesystem>",
    "<filesystem type='template'><source name='HOSTONLY'/><target dir='/c'/></filesystem>",
    "<filesystem type='ram'><source usage='1024' units='KiB'/><target dir='/d'/><space_hard_limit unit='G'>20</space_hard_limit></filesystem>",
    "<filesystem type='bind' multidevs='remap' fmode='644' dmode='755'><source dir='/HOSTONLY'/><target dir='/e'/></filesystem>",
    "<filesystem type='mount' model='virtio-transitional'><driver type='virtiofs'/><source socket='/HOSTONLY.sock'/>\
     <target dir='f'/></filesystem>",
    "<interface type='mcast'><mac address='52:54:00:5d:c7:b0'/><source address='230.0.0.1' port='5558'/></interface>",
    "<interface type='client'><mac address='52:54:00:5d:c7:b1'/><source address='192.0.2.1' port='5558'/></interface>",
    "<interface type='server'><source address='192.0.2.1' port='5558'/><mac address='52:54:00:5d:c7:b2'/></interface>",
    "<interface type='udp'><mac address='52:54:00:5d:c7:b3'/><source address='127.0.0.1' port='5557'>\
     <local address='127.0.0.1' port='5558'/></source></interface>",
    "<interface type='internal'><source name='KEEP'/><mac address='52:54:00:5d:c7:b4'/></interface>",
    "<interface type='vdpa'><mac address='52:54:00:5d:c7:b5'/><source dev='/dev/vhost-vdpa-KEEP'/><model type='virtio'/></interface>",
    "<interface type='null'><mac address='52:54:00:5d:c7:b6'/></interface>",
    "<interface type='vds'><mac address='52:54:00:5d:c7:b7'/><source switchid='12345678-1234-1234-1234-123456789abc' portid='6' \
     portgroupid='KEEP' connectionid='12345'/></interface>",
    "<interface type='user'><mac address='52:54:00:5d:c7:b8'/><backend type='passt' logFile='/KEEP/passt.log'/>\
     <portForward proto='tcp'><range start='2022' to='22'/></portForward><ip family='ipv4' address='172.17.2.0' prefix='24'/></interface>",
    "<interface type='network' trustGuestRxFilters='yes'><mac address='52:54:00:5d:c7:b9' type='static' check='no'/>\
     <source network='KEEP-net2'/><virtualport type='802.1Qbg'><parameters managerid='11' typeid='1193047' typeidversion='2' \
     instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport><vlan trunk='yes'><tag id='42'/>\
     <tag id='123' nativeMode='untagged'/></vlan><bandwidth><inbound average='1000' peak='5000' floor='200' burst='1024'/>\
     </bandwidth><filterref filter='KEEP-filter'><parameter name='IP' value='10.0.0.1'/></filterref><port isolated='yes'/>\
     <coalesce><rx><frames max='7'/></rx></coalesce></interface>",
    "<interface type='bridge'><mac address='52:54:00:5d:c7:ba'/><source bridge='KEEPbr'/><guest dev='eth7'/>\
     <model type='virtio'/><driver name='vhost' txmode='iothread' queues='5' rx_queue_size='256'><host csum='off'/>\
     <guest csum='off'/></driver><backend tap='/dev/KEEP/tun' vhost='/dev/KEEP/vhost-net'/><tune><sndbuf>1600</sndbuf></tune>\
     <boot order='2'/><rom enabled='no'/><acpi index='4'/></interface>",
    "<interface type='ethernet'><mac address='52:54:00:5d:c7:bb'/><source><ip family='ipv4' address='10.9.9.1' prefix='32' \
     peer='10.9.9.2'/><route family='ipv4' address='10.8.0.0' prefix='16' gateway='10.9.9.2'/></source>\
     <target dev='KEEP1' managed='no'/><script path='/KEEP/up'/><downscript path='/KEEP/down'/></interface>",
    "<interface type='direct'><mac address='52:54:00:5d:c7:bc'/><source dev='KEEP2' mode='passthrough'/>\
     <virtualport type='802.1Qbh'><parameters profileid='KEEP'/></virtualport></interface>",
    "<input type='keyboard' bus='ps2'/>",
    "<input type='mouse' bus='virtio' model='virtio-transitional'/>",
    "<input type='evdev'><source dev='/dev/input/HOSTONLY' grab='all' repeat='on' grabToggle='ctrl-ctrl'/></input>",
    "<graphics type='vnc' websocket='5700' keymap='de' powerControl='yes'><listen type='socket' socket='/KEEP/vnc.sock'/></graphics>",
    "<graphics type='vnc' socket='/KEEP/vnc2.sock'/>",
    "<graphics type='sdl' display=':0.0' xauth='/KEEP' fullscreen='no'><gl enable='yes'/></graphics>",
    "<graphics type='rdp' port='3389' replaceUser='yes' multiUser='yes'/>",
    "<graphics type='desktop' display=':0.0' fullscreen='yes'/>",
    "<graphics type='dbus' address='unix:path=/KEEP'><gl enable='no'/></graphics>",
    "<graphics type='spice' defaultMode='insecure' tlsPort='5901'><listen type='none'/><jpeg compression='auto'/>\
     <zlib compression='auto'/><playback compression='on'/><streaming mode='filter'/><clipboard copypaste='no'/>\
     <mouse mode='client'/><filetransfer enable='no'/><gl enable='yes' rendernode='/dev/dri/KEEP'/></graphics>",
    "<video><driver vgaconf='io'/><model type='virtio' heads='1'><acceleration accel3d='yes' rendernode='/dev/dri/KEEP'/>\
     <resolution x='800' y='600'/></model></video>",
    "<video><driver name='vhostuser'/><model type='virtio'/></video>",
    "<video><model type='none'/></video>",
    "<audio id='2' type='file' path='/KEEP/audio.wav'><input mixingEngine='yes'/></audio>",
    "<audio id='3' type='pulseaudio' serverName='KEEP'><output streamName='KEEP'/></audio>",
    "<audio id='4' type='alsa'><output dev='/dev/KEEP'/></audio>",
    "<audio id='5' type='spice'/>",
    "<sound model='usb'><audio id='2'/></sound>",
    "<serial type='null'><target type='isa-serial' port='0'><model name='isa-serial'/></target></serial>",
    "<serial type='vc'/>",
    "<serial type='stdio'><target port='0'/></serial>",
    "<serial type='dev'><source path='/dev/KEEP'/><target port='2'/></serial>",
    "<serial type='pipe'><source path='/KEEP/pipe'/></serial>",
    "<serial type='udp'><source mode='bind' host='0.0.0.0' service='KEEP'/><source mode='connect' host='KEEP' service='9'/></serial>",
    "<serial type='unix'><source mode='bind' path='/KEEP.sock'><reconnect enabled='no'/><seclabel model='dac' relabel='no'/></source></serial>",
    "<serial type='spiceport'><source channel='KEEP'/></serial>",
    "<serial type='nmdm'><source master='/dev/KEEP' slave='/dev/KEEP'/></serial>",
    "<serial type='tcp'><source mode='connect' host='KEEP' service='9' tls='yes'><reconnect enabled='yes' timeout='5'/></source>\
     <protocol type='telnet'/></serial>",
    "<serial type='dbus'><source channel='KEEP'/></serial>",
    "<console type='pty'><target type='sclp'/></console>",
    "<channel type='pty'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>",
    "<channel type='unix'><target type='xen' name='KEEP'/></channel>",
    "<channel type='qemu-vdagent'><source><clipboard copypaste='yes'/><mouse mode='client'/></source>\
     <target type='virtio' name='com.redhat.spice.0'/></channel>",
    "<smartcard mode='host-certificates'><certificate>HOSTONLY1</certificate><certificate>HOSTONLY2</certificate>\
     <certificate>HOSTONLY3</certificate><database>/HOSTONLY</database></smartcard>",
    "<smartcard mode='passthrough' type='tcp'><source mode='bind' host='127.0.0.1' service='KEEP'/><protocol type='raw'/></smartcard>",
    "<redirfilter><usbdev class='0x08' vendor='0x1234' product='0xBEEF' version='2.56' allow='yes'/><usbdev allow='no'/></redirfilter>",
    "<rng model='virtio-non-transitional'><backend model='builtin'/></rng>",
    "<rng model='virtio'><backend model='egd' type='unix'><source mode='connect' path='/KEEP.sock'/></backend></rng>",
    "<tpm model='tpm-spapr'><backend type='passthrough'/></tpm>",
    "<tpm model='tpm-tis'><backend type='emulator' version='2.0' persistent_state='yes'><active_pcr_banks><sha256/><sha384/>\
     </active_pcr_banks></backend></tpm>",
    "<tpm model='tpm-crb'><backend type='external'><source type='unix' mode='connect' path='/HOSTONLY.sock'/></backend></tpm>",
    "<nvram><address type='spapr-vio' reg='0x3000'/></nvram>",
    "<memory model='dimm' access='private' discard='yes'><source><pagesize unit='KiB'>4096</pagesize><nodemask>1-3</nodemask>\
     </source><target><size unit='KiB'>524287</size><node>0</node></target></memory>",
    "<memory model='nvdimm'><uuid>c3ab7e7b-0000-4000-8000-000000000000</uuid><source><path>/KEEP/nvdimm</path>\
     <alignsize unit='KiB'>2048</alignsize><pmem/></source><target><size unit='KiB'>524288</size><node>1</node><label>\
     <size unit='KiB'>128</size></label><readonly/></target></memory>",
    "<memory model='virtio-pmem' access='shared'><source><path>/KEEP/pmem</path></source><target><size unit='KiB'>524288</size></target></memory>",
    "<memory model='virtio-mem'><target><size unit='KiB'>1048576</size><node>0</node><block unit='KiB'>2048</block>\
     <requested unit='KiB'>1048576</requested><current unit='KiB'>524288</current></target></memory>",
    "<memory model='sgx-epc'><source><nodemask>0-1</nodemask></source><target><size unit='KiB'>16384</size></target></memory>",
    "<shmem name='KEEP_doorbell' role='peer'><model type='ivshmem-doorbell'/><server path='/KEEP/ivshmem.sock'/>\
     <msi vectors='32' ioeventfd='on'/></shmem>",
    "<iommu model='smmuv3'/>",
    "<iommu model='virtio'/>",
    "<vsock model='virtio-transitional'><cid auto='yes'/></vsock>",
    "<panic model='hyperv'/>",
    "<panic><address type='isa' iobase='0x505'/></panic>",
    "<watchdog model='diag288' action='inject-nmi'/>",
    "<memballoon model='none'/>",
    "<crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>",
    "<controller type='usb' index='1' model='ich9-uhci1'><master startport='0'/></controller>",
    "<controller type='virtio-serial' index='0' ports='16' vectors='4'/>",
    "<controller type='ccid' index='0'/>",
    "<controller type='fdc' index='0'/>",
    "<controller type='sata' index='0'/>",
    "<controller type='ide' index='0'/>",
    "<controller type='isa' index='0'/>",
    "<controller type='xenbus' maxGrantFrames='64'/>",
    "<controller type='pci' index='0' model='pci-root'><pcihole64 unit='KiB'>1048576</pcihole64></controller>",
    "<controller type='pci' index='9' model='pcie-expander-bus'><target busNr='180'><node>0</node></target></controller>",
    "<controller type='pci' index='10' model='pcie-root-port'><target hotplug='off'/></controller>",
];
