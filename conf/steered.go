package conf

import (
	"net/netip"
	"regexp"
	"strings"
)

// maxPerWorker bounds the requests that a worker is given at once.
const maxPerWorker = 10000

// optionsRE is what may stand on a server line that is sent over HAProxy's runtime API: words without signs that mean something
// to its command line.
var optionsRE = regexp.MustCompile(`^[A-Za-z0-9 _.:,/%=()@+*-]{0,1000}$`)

// steered takes what else of a server than its state and weight is given to tidegate: its maxconn, its address, its being there.
func (s *source) steered(key string, raw *rawApp, a *App) {
	p := &a.Policy
	for _, k := range []struct {
		name, value string
		given       bool
	}{{"drain_then", raw.DrainThen, raw.DrainThen != ""}, {"maxconn", "{...}", raw.MaxConn != nil}, {"readdress", "true", raw.Readdress}, {"dynamic", "{...}", raw.Dynamic != nil}, {"weights", raw.Weights, raw.Weights != ""}} {
		if k.given && !p.Proxied {
			s.fail(key+"."+k.name, k.value, "nothing, as long as the app has no haproxy_backend")
		}
	}
	p.WeightsElsewhere = s.oneOf(key+".weights", raw.Weights, "tidegate", "tidegate", "agent-check") == "agent-check"
	if m := raw.MaxConn; m != nil {
		p.MaxConnPerWorker = s.int(key+".maxconn.per_worker", m.PerWorker, 1, 1, maxPerWorker)
		if !allManaged(p) {
			s.fail(key+".maxconn", "{...}", "nothing, as long as not every server has a `node`, whose agent counts the ready workers")
		}
	}
	if d := raw.Dynamic; d != nil {
		p.Dynamic, a.AddOptions = true, strings.Join(strings.Fields(d.Options), " ")
		if !optionsRE.MatchString(d.Options) {
			s.fail(key+".dynamic.options", d.Options, "at most 1000 letters, digits, spaces and _ . : , / %% = ( ) @ + * -, as on a server line")
		}
		for _, word := range strings.Fields(d.Options) {
			if word == "enabled" || word == "disabled" || word == "backup" {
				s.fail(key+".dynamic.options", word, "other words (a new server begins in maintenance, and is no backup)")
			}
		}
	}
	if raw.Readdress || raw.Dynamic != nil {
		s.addresses(key, raw, a)
	}
}

// addresses gives the addresses of tidegate's file to the core, where they are the truth. A name's is known later.
func (s *source) addresses(key string, raw *rawApp, a *App) {
	a.Readdress = raw.Readdress
	steered := 0
	for i := range raw.Servers {
		if a.Upstream != nil && a.Upstream.Lines[i].Spare() {
			continue
		}
		addr := a.Servers[steered].Address
		if strings.HasPrefix(addr, "unix:") {
			s.fail(index(key+".servers", i)+".address", addr, "an IP address or a name, and a port, where tidegate sets addresses (readdress, dynamic)")
		}
		// HAProxy's way of writing addresses, so that they can be compared.
		if ap, err := netip.ParseAddrPort(addr); err == nil && raw.Readdress {
			a.Policy.Servers[steered].Address = ap.String()
		}
		steered++
	}
}
