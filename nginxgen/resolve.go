package nginxgen

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tufanbarisyildirim/gonginx/config"
)

// Resolve makes nginx (1.27.3 and later) ask a DNS server for an upstream's servers, again and again: SRV records of
// _Service._tcp.Host tell addresses, weights and priorities, so that a change of them needs no reload. The zero value leaves the
// servers to the file.
type Resolve struct {
	// Resolver is the DNS server, "ip:port" or "[ipv6]:port".
	Resolver string
	// Host is at most 253 letters, digits, `_`, `.` and `-`; Service at most 15 letters, digits and `-`.
	Host, Service string
	// NoIPv6 spares the questions for IPv6 addresses.
	NoIPv6 bool
}

const (
	// resolveValid is how long an answer holds; nginx then waits for another second.
	resolveValid = "1s"
	// resolveTimeout is how long nginx waits for answers, and also how long it waits after a failure until it asks again. It repeats
	// a question within six seconds; one that it gives up before that costs it the server.
	resolveTimeout = "8s"
)

var (
	hostRE    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$`)
	serviceRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,14}$`)
)

// on tells whether the servers come from DNS.
func (r Resolve) on() bool { return r != Resolve{} }

// validate checks what goes with servers from DNS: a zone, where nginx keeps them, and in the file none but backups.
func (r Resolve) validate(u Upstream) error {
	if !r.on() {
		return nil
	}
	ap, err := netip.ParseAddrPort(r.Resolver)
	switch {
	case err != nil || ap.Port() == 0 || ap.Addr().Zone() != "":
		return fmt.Errorf("the resolver %s is not allowed: ip:port or [ipv6]:port", shown(r.Resolver))
	case !hostRE.MatchString(r.Host):
		return fmt.Errorf("the host %s is not allowed: 1 to 253 letters, digits, '_', '.' and '-', not beginning with '.' or '-'", shown(r.Host))
	case !serviceRE.MatchString(r.Service):
		return fmt.Errorf("the service %s is not allowed: 1 to 15 letters, digits and '-', not beginning with '-'", shown(r.Service))
	case u.Stream:
		return fmt.Errorf("servers from DNS are not allowed in a stream upstream: they are for http alone here")
	case u.Zone == "":
		return fmt.Errorf("servers from DNS need a zone")
	}
	for _, s := range u.Servers {
		if !s.Backup {
			return fmt.Errorf("server %s is not a backup: beside servers from DNS the file may only have backups", shown(s.Address))
		}
	}
	return nil
}

// directives are the lines that stand before the servers, with their parameters.
func (r Resolve) directives() [][]string {
	if !r.on() {
		return nil
	}
	line := []string{"resolver", r.Resolver, "valid=" + resolveValid}
	if r.NoIPv6 {
		line = append(line, "ipv6=off")
	}
	return [][]string{line, {"resolver_timeout", resolveTimeout}}
}

func (r Resolve) tree() *config.UpstreamServer {
	return &config.UpstreamServer{Address: r.Host, Parameters: map[string]string{"service": r.Service}, Flags: []string{"resolve"}}
}

// fromDirective reads a line of directives back. What it overlooks, Parse sees when it compares the bytes.
func (r *Resolve) fromDirective(words []string) {
	if len(words) > 1 {
		r.Resolver = words[0]
		r.NoIPv6 = slices.Contains(words, "ipv6=off")
	}
}

func (r *Resolve) fromTree(t *config.UpstreamServer) {
	r.Host, r.Service = t.Address, t.Parameters["service"]
}

func fromDNS(t *config.UpstreamServer) bool { return slices.Contains(t.Flags, "resolve") }

var versionRE = regexp.MustCompile(`(?m)^nginx version: ([A-Za-z]+)/(\d+)\.(\d+)\.(\d+)`)

// firstResolving is the first nginx with `resolve` and `service` outside the commercial one.
var firstResolving = [3]int{1, 27, 3}

// TooOldError says that the installed nginx cannot do what is configured.
type TooOldError struct{ Binary, Version string }

func (e TooOldError) Error() string {
	return fmt.Sprintf("weights through DNS need nginx 1.27.3 or later, and %s is %s: use \"weights: reload\", or a newer nginx", e.Binary, e.Version)
}

// CheckResolve tells whether the nginx of o can take servers from DNS: nil, a TooOldError, or why it cannot be told. It runs
// `nginx -v`, nothing else.
func CheckResolve(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	text, err := o.nginx().run(ctx, 4096, "-v")
	if err != nil {
		return fmt.Errorf("find out nginx's version: %w", err)
	}
	return resolves(o.Binary, text)
}

// resolves judges what `nginx -v` says. The name before the slash may be a relative's, such as openresty, with nginx's numbers.
func resolves(binary, text string) error {
	g := versionRE.FindStringSubmatch(text)
	if g == nil {
		return fmt.Errorf("find out nginx's version: %s -v says %s", binary, shown(strings.TrimSpace(text)))
	}
	var have [3]int
	for i := range have {
		have[i], _ = strconv.Atoi(g[2+i])
	}
	if slices.Compare(have[:], firstResolving[:]) < 0 {
		return TooOldError{Binary: binary, Version: strings.Join(g[2:], ".")}
	}
	return nil
}
