"""Rules that only count, one match each (or a few): the families they are for, and their words."""

SETS = """create ip1 hash:ip
add ip1 10.1.0.2
add ip1 10.2.0.3
create net1 hash:net
add net1 10.1.0.0/24
add net1 10.1.0.2/31 nomatch
add net1 10.1.0.3
create ipport1 hash:ip,port
add ipport1 10.2.0.2,tcp:80
add ipport1 10.2.0.2,udp:53
add ipport1 10.2.0.2,icmp:8/0
add ipport1 10.2.0.2,47:0
create ipportip1 hash:ip,port,ip
add ipportip1 10.2.0.2,udp:53,10.1.0.2
create ipportnet1 hash:ip,port,net
add ipportnet1 10.2.0.2,tcp:80,10.1.0.0/24
add ipportnet1 10.2.0.2,tcp:80,10.1.0.3/32 nomatch
create netport1 hash:net,port
add netport1 10.2.0.0/24,tcp:80
add netport1 10.2.0.2/32,tcp:80 nomatch
create netiface1 hash:net,iface
add netiface1 10.1.0.0/24,left
add netiface1 10.1.0.2/32,other
create netiface2 hash:net,iface
add netiface2 10.1.0.0/24,le wildcard
add netiface2 10.1.0.3/32,left nomatch
create bitip1 bitmap:ip range 10.1.0.0/24
add bitip1 10.1.0.2
create bitport1 bitmap:port range 0-1024
add bitport1 80
add bitport1 53
create bitmac1 bitmap:ip,mac range 10.1.0.0/24
add bitmac1 10.1.0.2,02:aa:00:00:00:01
create masked1 hash:ip netmask 24
add masked1 10.2.0.9
create list1 list:set
add list1 bitip1
add list1 netport1
create six1 hash:net family inet6
add six1 fd01::/64
add six1 fd01::3/128 nomatch
create six2 hash:ip,port family inet6
add six2 fd02::2,tcp:80
add six2 fd02::2,icmpv6:128/0
create count1 hash:ip counters
add count1 10.1.0.2
create list6 list:set
add list6 ip1
add list6 six1"""

FORWARD: tuple[tuple[str, str], ...] = (
    ("46", "-p tcp"), ("46", "! -p tcp"), ("46", "-i left"), ("46", "! -i le+"), ("46", "-o right -i lef+"), ("46", "! -o right"),
    ("4", "-s 10.1.0.2/31"), ("4", "! -s 10.1.0.0/16 -d 10.2.0.2"), ("4", "-d 10.2.0.3"), ("4", "-f"), ("4", "! -f"),
    ("6", "-s fd01::2"), ("6", "! -d fd02::/126"), ("6", "-s fd00::/ff00::"), ("4", "-s 10.0.0.2/255.0.0.255"),
    *(("46", f"-p tcp -m tcp {words}") for words in (
        "--sport 1024:30000", "! --sport 1024:30000", "--dport 80", "! --dport 22:80", "--syn", "! --syn",
        "--tcp-flags SYN,ACK SYN", "! --tcp-flags ALL SYN", "--tcp-flags ALL NONE", "--tcp-option 2", "! --tcp-option 2",
        "--tcp-option 8", "! --tcp-option 8", "--tcp-option 24", "! --tcp-option 19", "--tcp-option 3 --dport 80", "--dport 1000:",
        "! --sport 0:65535",
    )),
    *(("46", f"-p udp -m udp {words}") for words in ("--dport 53", "! --dport 53", "--sport 30000:", "--dport :80")),
    ("4", "-p icmp -m icmp --icmp-type 8"), ("4", "-p icmp -m icmp ! --icmp-type 8"), ("4", "-p icmp -m icmp --icmp-type any"),
    ("4", "-p icmp -m icmp --icmp-type 3/1"), ("4", "-p icmp -m icmp --icmp-type 3/4"), ("4", "-p icmp -m icmp ! --icmp-type any"),
    ("6", "-p ipv6-icmp -m icmp6 --icmpv6-type 128"), ("6", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/4"),
    ("6", "-p ipv6-icmp -m icmp6 --icmpv6-type 255"),
    ("46", "-p tcp -m multiport --dports 22,53:80"), ("46", "-p udp -m multiport ! --ports 53,80"),
    ("46", "-p tcp -m multiport --sports 1024:30000,40000:65535"), ("46", "-p sctp -m multiport --dports 80,22"),
    ("46", "-p udplite -m multiport --dports 80,22,53"),
    ("46", "-p sctp -m sctp --dport 80"), ("46", "-p sctp -m sctp ! --dport 22:80 --sport 1024:30000"),
    ("46", "-p tcp -m tcpmss --mss 1460"), ("46", "-p tcp -m tcpmss ! --mss 1460"), ("46", "-p tcp -m tcpmss --mss 0:2000"),
    ("46", "-p tcp -m tcpmss ! --mss 0:536"),
    ("46", "-p tcp -m ecn --ecn-tcp-ece"), ("46", "-p tcp -m ecn ! --ecn-tcp-cwr"), ("46", "-m ecn --ecn-ip-ect 1"),
    ("46", "-m ecn ! --ecn-ip-ect 2"), ("46", "-p tcp -m ecn ! --ecn-tcp-cwr --ecn-tcp-ece --ecn-ip-ect 0"),
    *(("46", f"-m conntrack {words}") for words in (
        "--ctstate NEW", "! --ctstate NEW", "--ctstate RELATED,ESTABLISHED", "--ctstate INVALID", "! --ctstate INVALID,UNTRACKED",
        "--ctstate SNAT,DNAT", "--ctproto tcp", "! --ctproto tcp", "--ctdir ORIGINAL", "--ctdir REPLY", "--ctstatus NONE",
        "! --ctstatus NONE", "--ctstatus ASSURED", "! --ctstatus SEEN_REPLY,CONFIRMED", "--ctorigdstport 80",
        "! --ctorigsrcport 1024:30000", "--ctreplsrcport 22:80", "! --ctrepldstport 1024:30000", "--ctstate NEW --ctproto udp",
    )),
    ("4", "-m conntrack --ctorigsrc 10.1.0.2"), ("4", "-m conntrack ! --ctorigdst 10.2.0.0/31"), ("4", "-m conntrack --ctreplsrc 10.2.0.2"),
    ("4", "-m conntrack ! --ctrepldst 10.1.0.0/24 --ctstate NEW"), ("6", "-m conntrack --ctorigsrc fd01::2"), ("6", "-m conntrack ! --ctrepldst fd01::/64"),
    ("46", "-m state --state NEW"), ("46", "-m state --state INVALID"), ("46", "-m state ! --state NEW"),
    ("46", "-m mark --mark 0"), ("46", "-m mark ! --mark 0"), ("46", "-m mark --mark 1/1"), ("46", "-m connmark --mark 0"),
    ("46", "-m connmark ! --mark 0"), ("46", "-m connmark --mark 1/0xff"),
    ("46", "-m addrtype --dst-type LOCAL"), ("46", "-m addrtype ! --dst-type LOCAL"), ("46", "-m addrtype --src-type UNICAST"),
    ("4", "-m addrtype --src-type LOCAL,UNICAST"), ("6", "-m addrtype --src-type LOCAL,UNICAST"), ("46", "-m addrtype ! --src-type MULTICAST"),
    ("46", "-m addrtype --src-type UNICAST --limit-iface-in"), ("46", "-m addrtype --src-type UNSPEC"), ("6", "-m addrtype --src-type UNREACHABLE"),
    ("6", "-m addrtype ! --src-type UNREACHABLE,UNICAST"), ("4", "-m addrtype --src-type BROADCAST,BLACKHOLE ! --dst-type MULTICAST"),
    ("4", "-m iprange --src-range 10.1.0.3-10.1.0.9"), ("4", "-m iprange ! --src-range 10.1.0.3-10.1.0.9 --dst-range 10.2.0.2-10.2.0.2"),
    ("6", "-m iprange --src-range fd01::3-fd01::9"), ("6", "-m iprange ! --dst-range fd02::3-fd02::9"),
    ("46", "-m mac --mac-source 02:aa:00:00:00:01"), ("46", "-m mac ! --mac-source 02:aa:00:00:00:01"),
    *(("46", f"-m physdev {words}") for words in (
        "--physdev-in left", "! --physdev-in left", "--physdev-is-bridged", "! --physdev-is-bridged", "--physdev-is-in",
        "! --physdev-is-in ! --physdev-is-out", "--physdev-out right",
    )),
    ("46", "-m length --length 0:40"), ("46", "-m length ! --length 41:60"), ("46", "-m length --length 60:"), ("46", "-m length --length 51"),
    ("4", "-m ttl --ttl-eq 63"), ("4", "-m ttl ! --ttl-eq 63"), ("4", "-m ttl --ttl-lt 63"), ("4", "-m ttl --ttl-gt 63"),
    ("6", "-m hl --hl-eq 63"), ("6", "-m hl ! --hl-eq 63"), ("6", "-m hl --hl-lt 63"), ("6", "-m hl --hl-gt 63"),
    ("46", "-m dscp --dscp 0x2e"), ("46", "-m dscp ! --dscp 0"), ("46", "-m tos --tos 0x10/0x3f"), ("46", "-m tos ! --tos 0x10"),
    ("46", "-m pkttype --pkt-type unicast"), ("46", "-m pkttype ! --pkt-type unicast"), ("46", "-m pkttype --pkt-type multicast"),
    ("46", "-m comment --comment hello"), ("46", "-m policy --dir in --pol none"), ("46", "-m policy --dir in --pol ipsec"),
    ("46", "-m policy --dir in --pol ipsec --proto esp"), ("46", "-m helper --helper ftp"), ("46", "-m helper ! --helper ftp"), ("46", '-m helper --helper ""'),
    ("46", "-m devgroup --src-group 5"), ("46", "-m devgroup ! --src-group 0x5"), ("46", "-m devgroup --dst-group 0/1 --src-group 1/1"),
    ("46", "-m devgroup ! --dst-group 0"),
    ("4", '-m u32 --u32 "6&0xFF=6"'), ("4", '-m u32 --u32 "6&0xFF=17&&0>>22&0x3C@0&0xFFFF=53"'), ("4", '-m u32 ! --u32 "6&0xFF=1"'),
    ("4", '-m u32 --u32 "12=0x0a010002,0x0a010009:0x0a0100ff"'), ("4", '-m u32 --u32 "8>>24=63"'), ("4", '-m u32 --u32 "0&0xFFFF=0x28:0x3c"'),
    ("4", '-m u32 --u32 "1000=0"'), ("4", '-m u32 ! --u32 "1000=0"'), ("4", '-m u32 --u32 "6&0xFF=6&&0>>22&0x3C@12>>26&0x3C@0&0xFF000000=0x47000000"'),
    ("4", '-m u32 --u32 "0>>22&0x3C@0>>16=1024:30000"'), ("4", '-m u32 --u32 "28=0x68656c6c"'), ("4", '-m u32 --u32 "0<<8=0:0xffffffff"'),
    ("6", '-m u32 --u32 "4&0xFF00=0x600"'), ("6", '-m u32 ! --u32 "8=0xfd010000"'), ("6", '-m u32 --u32 "40&0xffff=80"'),
    ("4", '-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"'), ("4", '-m bpf --bytecode "1,6 0 0 0"'),
    ("4", '-m bpf --bytecode "6,48 0 0 9,21 0 3 17,177 0 0 0,72 0 0 2,21 0 0 53,22 0 0 0"'),
    ("4", '-m bpf --bytecode "7,128 0 0 0,37 0 4 50,48 0 0 8,53 0 2 63,6 0 0 1,6 0 0 1,6 0 0 0"'),
    ("4", '-m bpf --bytecode "6,32 0 0 12,84 0 0 255,4 0 0 1,21 0 1 3,6 0 0 1,6 0 0 0"'),
    ("4", '-m bpf --bytecode "3,32 0 0 2000,6 0 0 1,6 0 0 1"'), ("46", '-m bpf --bytecode "4,40 0 0 4294963200,21 0 1 2048,6 0 0 1,6 0 0 0"'),
    ("6", '-m bpf --bytecode "4,48 0 0 6,21 0 1 6,6 0 0 1,6 0 0 0"'),
    ("46", '-m string --algo bm --string "hello"'), ("46", '-m string --algo kmp ! --string "hello"'), ("46", '-m string --algo kmp --string "hello" --icase'),
    ("46", '-m string --algo bm --string "HTTP/1.1" --from 20 --to 100'), ("46", '-m string --algo bm --string "GET" --from 60'),
    ("46", '-m string --algo kmp --hex-string "|0001ff|" --to 65'), ("46", '-m string --algo kmp --string "world" --to 40'), ("46", '-m string --algo bm --string "hello" --to 33'),
    ("4", '-m string --algo bm --hex-string "|0a020002|"'),
    ("46", "-m statistic --mode random --probability 1"), ("46", "-m statistic --mode random --probability 0"), ("46", "-m statistic --mode nth --every 1 --packet 0"),
    ("46", "-m statistic --mode random ! --probability 1"), ("46", "-m statistic --mode nth --every 3 --packet 0"), ("46", "-m statistic --mode random --probability 0.5"),
    ("46", "-m quota --quota 10"), ("46", "-m quota ! --quota 10"), ("46", "-m quota --quota 2000"), ("46", "-m quota --quota 18446744073709551615"),
    ("46", "-m connlimit --connlimit-above 0"), ("46", "-m connlimit --connlimit-upto 0"), ("46", "-m connlimit --connlimit-above 5"),
    ("46", "-m connbytes --connbytes 2: --connbytes-mode packets --connbytes-dir original"), ("46", "-m connbytes --connbytes 1: --connbytes-mode packets --connbytes-dir reply"),
    ("46", "-m connbytes --connbytes 100: --connbytes-mode bytes --connbytes-dir both"), ("46", "-m connbytes ! --connbytes 0:70 --connbytes-mode avgpkt --connbytes-dir both"),
    ("46", "-m connbytes --connbytes 0: --connbytes-mode bytes --connbytes-dir both"),
    ("46", "-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 1"), ("46", "-m cluster --cluster-total-nodes 3 ! --cluster-local-node 2 --cluster-hash-seed 0xdeadbeef"),
    ("46", "-m limit --limit 1/sec"), ("46", "-m hashlimit --hashlimit-upto 1/sec --hashlimit-name x"), ("46", "-m cpu --cpu 0"),
    ("46", "-m time --timestart 00:00 --timestop 23:59:59"), ("46", "-m time --weekdays Mon"), ("46", "-m recent --name fw --set"),
    ("46", "-m recent --name never --rcheck"),
    ("4", "-m set --match-set ip1 src"), ("4", "-m set ! --match-set ip1 dst"), ("4", "-m set --match-set net1 src"), ("4", "-m set ! --match-set net1 src"),
    ("4", "-m set --match-set net1 src --return-nomatch"), ("4", "-m set --match-set ipport1 dst,dst"), ("4", "-m set ! --match-set ipport1 dst,src"),
    ("4", "-m set --match-set ipportip1 dst,dst,src"), ("4", "-m set --match-set ipportnet1 dst,dst,src"), ("4", "-m set --match-set netport1 dst,dst"),
    ("4", "-m set --match-set netiface1 src,src"), ("4", "-m set ! --match-set netiface1 src,dst"), ("4", "-m set --match-set netiface2 src,src"), ("4", "-m set --match-set netiface2 src,dst"), ("4", "-m set --match-set bitip1 src"), ("4", "-m set --match-set bitport1 dst"),
    ("4", "-m set --match-set bitmac1 src,src"), ("4", "-m set --match-set masked1 dst"), ("4", "-m set --match-set list1 src,dst"), ("4", "-m set ! --match-set list1 dst,dst"),
    ("6", "-m set --match-set six1 src"), ("6", "-m set --match-set six2 dst,dst"), ("46", "-m set --match-set list6 src"), ("4", "-m set --match-set count1 src ! --update-counters"),
    ("46", "-m set --match-set bitport1 dst"),
    ("6", "-m eui64"), ("6", "-m frag"), ("6", "-m hbh"), ("6", "-m dst --dst-len 4"), ("6", "-m rt --rt-type 0"), ("6", "-m srh"), ("6", "-m ah"),
    ("6", "-m ipv6header --header ipv6-nonxt"), ("6", "-m ipv6header ! --header hop-by-hop"), ("6", "-m ipv6header ! --header hop-by-hop --soft"),
    ("4", "-p ah -m ah"), ("46", "-p esp -m esp --espspi 1"),
)  # fmt: skip

PREROUTING: tuple[tuple[str, str], ...] = (
    ("46", "-m rpfilter"), ("46", "-m rpfilter --invert"), ("46", "-m rpfilter --loose"), ("46", "-m rpfilter --validmark --accept-local"),
    ("46", "-m conntrack --ctstate INVALID"), ("46", "-m conntrack ! --ctstate NEW"), ("46", "-m conntrack --ctdir ORIGINAL"), ("46", "-m state --state INVALID"),
    ("46", "-m connmark ! --mark 5"), ("46", "-m connbytes --connbytes 0: --connbytes-mode bytes --connbytes-dir both"),
    ("46", "-m helper ! --helper ftp"), ("46", "-m cluster --cluster-total-nodes 2 ! --cluster-local-node 1 --cluster-hash-seed 1"),
    ("46", "-m socket"), ("46", "-m socket --nowildcard"), ("46", "-m pkttype --pkt-type unicast"), ("46", "-m mac --mac-source 02:aa:00:00:00:02"),
    ("4", "-m ttl --ttl-eq 64"), ("46", "-m addrtype --src-type LOCAL --limit-iface-in"), ("46", "-i left"), ("46", "! -i left"),
    ("46", "-m connlimit --connlimit-above 0"),
)  # fmt: skip

UNFORESEEABLE = frozenset(
    ("statistic", "quota", "connlimit", "connbytes", "limit", "hashlimit", "cpu", "time", "recent", "socket", "hidden")
)  # fmt: skip
"""Those that count, draw lots or look at the clock; and sockets for ICMP errors, whose inner packet is not modelled."""

HIDDEN = ("|0001ff|", "|0a020002|", "0x28&0xffff=0x50")
"""Patterns short enough to be found in a checksum, an identity or a sequence number."""
