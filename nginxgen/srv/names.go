package srv

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// zone ends every name that is answered.
	zone = "tidegate."
	// addressZone ends the names of addresses.
	addressZone = ".ip." + zone
	// Service is what nginx's parameter `service` must be.
	Service = "http"
	// maxName is the longest upstream name: with the rest, a DNS name of at most 253 characters.
	maxName = 200
)

// Host is the name that an upstream's `server` line has. It is good when CheckName has no objection.
func Host(upstream string) string { return upstream + "." + strings.TrimSuffix(zone, ".") }

// question is the name that nginx asks for, in lower case.
func question(upstream string) string {
	return "_" + Service + "._tcp." + strings.ToLower(upstream) + "." + zone
}

// CheckName tells why an upstream's name cannot be part of a DNS name, nil when it can.
func CheckName(upstream string) error {
	good := upstream != "" && len(upstream) <= maxName
	for label := range strings.SplitSeq(upstream, ".") {
		good = good && label != "" && len(label) <= 63
	}
	for _, c := range upstream {
		good = good && (c == '.' || c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
	}
	if !good {
		return fmt.Errorf("the name %q cannot be asked for through DNS: at most %d letters, digits, '-' and '_', in parts of at most 63 between dots", upstream, maxName)
	}
	return nil
}

// addressName is the name of an address: 10-0-0-1.ip.tidegate., and 32 hexadecimal digits for IPv6.
func addressName(a netip.Addr) string {
	if a.Is4() {
		return strings.ReplaceAll(a.String(), ".", "-") + addressZone
	}
	b := a.As16()
	return hex.EncodeToString(b[:]) + addressZone
}

// addressOf is the address of a name in lower case; false when it is not a name that addressName makes.
func addressOf(name string) (netip.Addr, bool) {
	text, ok := strings.CutSuffix(name, addressZone)
	if !ok || len(text) > 2*16 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(text, "-", "."))
	if err != nil {
		b, _ := hex.DecodeString(text)
		a, _ = netip.AddrFromSlice(b)
	}
	return a, a.IsValid() && addressName(a) == name
}

// Address is what a server's address must be here: an IP address and a port.
func Address(address string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("the address %s cannot be told through DNS: an IP address and a port (an SRV record has no place for a unix socket)", strconv.Quote(address))
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}
