package names

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// dnsServer answers A and AAAA questions over UDP, so that the system's own resolver is what is tested.
type dnsServer struct {
	conn net.PacketConn

	mu      sync.Mutex
	records map[string][]string
	broken  bool
	asked   int
}

func startDNS(t *testing.T) *dnsServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dnsServer{conn: conn, records: map[string][]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := d.answer(buf[:n]); reply != nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return d
}

// set gives a name its addresses; none is NXDOMAIN.
func (d *dnsServer) set(host string, addrs ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records[host] = addrs
}

// fail makes every question end in SERVFAIL.
func (d *dnsServer) fail(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

func (d *dnsServer) answer(q []byte) []byte {
	if len(q) < 17 {
		return nil
	}
	var labels []string
	i := 12
	for i < len(q) && q[i] != 0 {
		n := int(q[i])
		if i+1+n > len(q) {
			return nil
		}
		labels = append(labels, string(q[i+1:i+1+n]))
		i += 1 + n
	}
	if i+5 > len(q) {
		return nil
	}
	kind, question := binary.BigEndian.Uint16(q[i+1:]), q[12:i+5]
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	addrs, known := d.records[strings.ToLower(strings.Join(labels, "."))]
	rcode := byte(0)
	switch {
	case d.broken:
		rcode = 2
	case !known || len(addrs) == 0:
		rcode = 3
	}
	var body []byte
	count := uint16(0)
	for _, a := range addrs {
		ip := netip.MustParseAddr(a)
		if rcode != 0 || ip.Is4() != (kind == 1) || kind != 1 && kind != 28 {
			continue
		}
		raw := ip.AsSlice()
		body = append(body, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 1, 0, byte(len(raw)))
		body = append(body, raw...)
		count++
	}
	head := []byte{q[0], q[1], 0x84 | q[2]&1, 0x80 | rcode, 0, 1, byte(count >> 8), byte(count), 0, 0, 0, 0}
	return append(append(head, question...), body...)
}

// lookup asks this server with Go's own resolver.
func (d *dnsServer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "udp", d.conn.LocalAddr().String())
	}}
	// The dot keeps the machine's own search list out.
	return r.LookupNetIP(ctx, "ip", host+".")
}
