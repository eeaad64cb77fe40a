"""Netlink and rtnetlink (linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h)."""

from __future__ import annotations

from struct import Struct

NETLINK_ROUTE = 0
NETLINK_KOBJECT_UEVENT = 15
NETLINK_GENERIC = 16
#: Protocols from here on are EINVAL to socket(2).
MAX_LINKS = 32

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
#: Message types from here on are a protocol's own.
NLMSG_MIN_TYPE = 16

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_GETNEIGH = 30
RTM_NEWRULE, RTM_GETRULE = 32, 34
RTM_GETQDISC = 38
RTM_GETNETCONF = 82
RTM_MAX = 127

IFLA_ADDRESS = 1
IFLA_BROADCAST = 2
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_QDISC = 6
IFLA_STATS = 7
IFLA_TXQLEN = 13
IFLA_OPERSTATE = 16
IFLA_LINKMODE = 17
IFLA_STATS64 = 23
IFLA_GROUP = 27
IFLA_PROMISCUITY = 30
IFLA_NUM_TX_QUEUES = 31
IFLA_NUM_RX_QUEUES = 32
IFLA_CARRIER = 33
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_LABEL = 3
IFA_BROADCAST = 4
IFA_CACHEINFO = 6
IFA_FLAGS = 8
IFA_F_PERMANENT = 0x80
RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_PREFSRC = 7
RTA_CACHEINFO = 12
RTA_TABLE = 15
RTA_PREF = 20
RTA_UID = 25
#: Flags of an answer to "how do I get there": it was looked up, and leads here.
RTM_F_CLONED = 0x200
RTCF_LOCAL = 0x80000000
FRA_PRIORITY = 6
FRA_SUPPRESS_PREFIXLEN = 14
FRA_TABLE = 15
FR_ACT_TO_TBL = 1

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_DROP_MEMBERSHIP = 2
NETLINK_PKTINFO = 3
NETLINK_BROADCAST_ERROR = 4
NETLINK_NO_ENOBUFS = 5
NETLINK_LIST_MEMBERSHIPS = 9
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

#: struct nlmsghdr: length, type, flags, sequence number, port.
NLMSGHDR = Struct("<IHHII")
#: struct nlattr: length, type.
NLATTR = Struct("<HH")
#: struct sockaddr_nl: family, pad, port, groups.
SOCKADDR_NL = Struct("<HHII")
#: struct ifinfomsg: family, pad, type, index, flags, change.
IFINFOMSG = Struct("<BBHiII")
#: struct ifaddrmsg: family, prefix length, flags, scope, index.
IFADDRMSG = Struct("<BBBBI")
#: struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
RTMSG = Struct("<BBBBBBBBI")
#: struct fib_rule_hdr: family, lengths of destination and source, tos, table, two reserved, action, flags.
FIB_RULE_HDR = Struct("<BBBBBBBBI")
